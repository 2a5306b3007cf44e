//! Ledgers: names with two words each, over and over. Three tokens in four can only be predicted by looking a name up,
//! which is how a small model learns to look back at all (induction heads, arXiv 2209.11895).

use super::lexicon::{COLOURS, NAMES, NUMBERS, OBJECTS, PLACES, TRADES};
use super::sentence::Sentence;
use super::{Document, Recall};
use crate::data::{Encoder, Error, Rng};

/// Percent of lines that are new once there are two.
const NEW: usize = 35;

struct Line {
    name: &'static str,
    words: [&'static str; 2],
    /// The token where its words were last said.
    said: usize,
}

/// Lines until there are `length` tokens; no line comes twice in a row, so that no fixed offset helps.
pub(super) fn write(encoder: &Encoder, rng: &mut Rng, length: usize) -> Result<Document, Error> {
    let mut names = NAMES;
    rng.shuffle(&mut names);
    let mut fresh = names.into_iter();
    let mut document = Document { tokens: encoder.bos().into_iter().collect(), ..Document::default() };
    let mut lines: Vec<Line> = vec![];
    let mut last = usize::MAX;
    while document.tokens.len() < length {
        let new = lines.len() < 2 || rng.chance(NEW);
        let index = match fresh.next().filter(|_| new) {
            Some(name) => {
                lines.push(Line { name, words: [word(rng), word(rng)], said: 0 });
                lines.len() - 1
            }
            None => {
                let other = rng.below(lines.len() - 1);
                if other >= last.min(lines.len() - 1) { other + 1 } else { other }
            }
        };
        last = index;
        let answer = say(encoder, &lines[index], &mut document.tokens)?;
        let said = std::mem::replace(&mut lines[index].said, answer.start);
        match said {
            0 => document.facts.push(answer),
            said => document.recalls.push(Recall { distance: answer.start - said, answer }),
        }
    }
    Ok(document)
}

fn say(encoder: &Encoder, line: &Line, tokens: &mut Vec<u32>) -> Result<std::ops::Range<usize>, Error> {
    let [first, second] = line.words;
    let sentence = Sentence::default().person(line.name).answer(|it| it.word(first).word(second)).word(".");
    let starts = encoder.write(&sentence, tokens)?;
    Ok(starts[sentence.answer.start]..starts[sentence.answer.end])
}

fn word(rng: &mut Rng) -> &'static str {
    match rng.below(5) {
        0 => rng.pick(&NUMBERS),
        1 => rng.pick(&PLACES),
        2 => rng.pick(&TRADES),
        3 => rng.pick(&COLOURS),
        _ => rng.pick(&OBJECTS),
    }
}
