//! Multiple choice: the answer whose tokens are the most likely on average, given the question.

use std::fs;
use std::path::{Path, PathBuf};

use kernels::device::Device;
use recipe_core::Text;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::data::{Batch, Encoder};
use crate::engine::Engine;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ChoiceQuestion {
    /// What stands before each choice.
    pub question: String,
    /// At least two answers.
    pub choices: Vec<String>,
    /// Which of them is right, from 0.
    pub answer: usize,
    /// Its line in the file, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// Right answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The file.
    pub path: PathBuf,
    /// Questions answered right.
    pub correct: usize,
    /// Questions asked.
    pub questions: usize,
    /// The share of right answers.
    pub accuracy: f64,
    /// What guessing would come to.
    pub chance: f64,
    /// How a choice is scored.
    pub protocol: Text,
}

/// How a choice is scored, in results.
const PROTOCOL: &str = "zero-shot: question, a space, choice; the highest mean log-probability per token of the choice wins, the first of equals";

/// The questions of a JSONL file; empty lines are skipped.
///
/// # Errors
/// A file that cannot be read or holds no question, or a line that is none; the line is named.
pub fn read_choices(path: &Path) -> Result<Vec<ChoiceQuestion>, Error> {
    let text = fs::read_to_string(path)
        .map_err(|error| Error::File { path: path.to_owned(), reason: format!("cannot be read: {error}") })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let questions: Vec<ChoiceQuestion> = lines
        .map(|(index, line)| {
            parse(line, index + 1).map_err(|reason| Error::Line { path: path.to_owned(), line: index + 1, reason })
        })
        .collect::<Result<_, _>>()?;
    if questions.is_empty() {
        return Err(Error::File { path: path.to_owned(), reason: format!("holds no question; {SHAPE}") });
    }
    Ok(questions)
}

const SHAPE: &str = r#"a line is {"question": "…", "choices": ["…", "…"], "answer": 0}"#;

fn parse(line: &str, number: usize) -> Result<ChoiceQuestion, String> {
    let question: ChoiceQuestion = serde_json::from_str(line).map_err(|error| format!("{error}; {SHAPE}"))?;
    let count = question.choices.len();
    if count < 2 {
        return Err(format!("{count} choices; there have to be at least two"));
    }
    if question.answer >= count {
        return Err(format!("answer {} of {count} choices; answers count from 0", question.answer));
    }
    if question.question.trim().is_empty() {
        return Err("an empty question".to_owned());
    }
    if let Some(empty) = question.choices.iter().position(|choice| choice.trim().is_empty()) {
        return Err(format!("choice {empty} is empty"));
    }
    Ok(ChoiceQuestion { line: number, ..question })
}

/// Answers every question; each choice is read behind the question, in a pass of its own of at most `longest` tokens.
///
/// # Errors
/// A question too long for the model, named by its line, or a failure of the engine.
pub fn choice<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    path: &Path,
    questions: &[ChoiceQuestion],
    longest: usize,
    on_question: &mut dyn FnMut(usize),
) -> Result<Choice, Error> {
    let (mut correct, mut chance) = (0, 0.0);
    for (index, question) in questions.iter().enumerate() {
        let at = |reason| Error::Line { path: path.to_owned(), line: question.line, reason };
        let mut scores = Vec::with_capacity(question.choices.len());
        for text in &question.choices {
            let read = Read::new(encoder, &question.question, text)?;
            if read.tokens.len() > longest {
                return Err(at(format!(
                    "{} tokens with a choice; the recipe's target is {longest}",
                    read.tokens.len()
                )));
            }
            scores.push(read.score(engine)?.ok_or_else(|| at(format!("{text:?} adds no token to the question")))?);
        }
        correct += usize::from(best(&scores) == question.answer);
        chance += 1.0 / question.choices.len() as f64;
        on_question(index + 1);
    }
    let count = questions.len();
    let (accuracy, chance) = (correct as f64 / count as f64, chance / count as f64);
    Ok(Choice { path: path.to_owned(), correct, questions: count, accuracy, chance, protocol: PROTOCOL.into() })
}

/// A question with one of its choices.
struct Read {
    tokens: Vec<u32>,
    /// The first token that is the choice's.
    choice: usize,
}

impl Read {
    /// Both are encoded together, as the model reads them; the choice begins where the question's own tokens end.
    fn new(encoder: &Encoder, question: &str, choice: &str) -> Result<Self, Error> {
        let alone = encoder.encode(question)?;
        let whole = encoder.encode(&format!("{question} {}", choice.trim()))?;
        let shared = alone.iter().zip(&whole).take_while(|(one, other)| one == other).count();
        let begin: Vec<u32> = encoder.bos().into_iter().collect();
        // Without a token before it, a first token has no probability.
        let choice = (begin.len() + shared).max(1);
        Ok(Self { tokens: [begin, whole].concat(), choice })
    }

    /// Mean log-probability of the choice's tokens; nothing where there is none.
    fn score<D: Device>(&self, engine: &mut Engine<D>) -> Result<Option<f64>, Error> {
        if self.tokens.len() <= self.choice {
            return Ok(None);
        }
        let nll = engine.score(&Batch::sequence(self.tokens.clone(), &[0])?)?.nll;
        let rows = &nll[self.choice - 1..self.tokens.len() - 1];
        Ok(Some(-rows.iter().map(|&nll| f64::from(nll)).sum::<f64>() / rows.len() as f64))
    }
}

/// The place of the highest score, the first of equals.
fn best(scores: &[f64]) -> usize {
    let later = |best: usize, next: usize| if scores[next] > scores[best] { next } else { best };
    (1..scores.len()).fold(0, later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_questions_say_why() {
        let says = |line: &str| parse(line, 1).unwrap_err();
        assert!(says("{").contains("a line is {\"question\""));
        assert!(says(r#"{"question": "a", "choices": ["b", "c"]}"#).contains("missing field `answer`"));
        assert!(says(r#"{"question": "a", "choices": ["b"], "answer": 0}"#).contains("1 choices"));
        assert!(says(r#"{"question": "a", "choices": ["b", "c"], "answer": 2}"#).contains("answer 2 of 2 choices"));
        assert!(says(r#"{"question": "a", "choices": ["b", "c"], "answer": -1}"#).contains("-1"));
        assert!(says(r#"{"question": " ", "choices": ["b", "c"], "answer": 1}"#).contains("empty question"));
        assert!(says(r#"{"question": "a", "choices": ["b", " "], "answer": 1}"#).contains("choice 1 is empty"));
    }

    #[test]
    fn the_line_is_named_and_empty_ones_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.jsonl");
        let good = r#"{"question": "a", "choices": ["b", "c"], "answer": 1, "id": 7}"#;
        fs::write(&path, format!("\n{good}\n\n")).unwrap();
        let read = read_choices(&path).unwrap();
        assert_eq!((read.len(), read[0].line, read[0].answer), (1, 2, 1));
        fs::write(&path, format!("{good}\n\n[]\n")).unwrap();
        let said = read_choices(&path).unwrap_err().to_string();
        assert!(said.contains("q.jsonl:3: "), "{said}");
        fs::write(&path, "\n").unwrap();
        assert!(read_choices(&path).unwrap_err().to_string().contains("holds no question"));
        let nowhere = read_choices(&dir.path().join("nowhere")).unwrap_err().to_string();
        assert!(nowhere.contains("nowhere") && nowhere.contains("cannot be read"), "{nowhere}");
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(best(&[-1.0, -0.5, -0.5]), 1);
        assert_eq!(best(&[-1.0, -2.0]), 0);
    }
}
