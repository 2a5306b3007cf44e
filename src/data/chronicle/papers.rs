//! The other exams: a key at a given distance, needles, and the first of many topics.

use recipe_core::Needle;

use super::exam::{Draft, Exam, Place, checked};
use super::world::{Fact, Kind, Value};
use super::{Density, Seed};
use crate::data::{Encoder, Error};

/// Tokens per topic; LongEval's conversations have some hundreds.
const TOPIC: usize = 400;
/// There are at least LongEval's fewest topics, and at most as many as there are names for.
const FEWEST_TOPICS: usize = 5;
const MOST_TOPICS: usize = 20;

/// A document of exactly `length` tokens that asks at its end for a key that was said `distance` tokens before the answer;
/// within a sentence, and within what the document's head and the question leave. Nobody else has a key.
///
/// # Errors
/// A length too short to hold the key and the question.
pub fn at_distance(encoder: &Encoder, seed: Seed, length: usize, distance: usize) -> Result<Exam, Error> {
    let mut draft = Draft::new(encoder, seed.stream(3), Density::Keyless, length, 1);
    let fact = draft.key(0);
    let (statement, question) = (draft.writer.world.statement(&fact), draft.writer.world.question(&fact));
    let hidden = draft.hide(Place::Distance(distance), fact, statement)?;
    draft.ask(hidden, question)?;
    draft.write()
}

/// A document of exactly `length` tokens in which nobody but the needles' people has a key. A single needle stands at
/// `depths[asked]`; of several keys, one at each depth, that one is asked for; several values of one person, and several
/// queries, are all asked for: values in the order in which they were said, queries in random order.
///
/// # Errors
/// Depths outside 0 to 1, more than [`MOST_KEYS`](super::MOST_KEYS), or a length too short to hold needles and questions.
pub fn needles(
    encoder: &Encoder,
    seed: Seed,
    length: usize,
    kind: Needle,
    depths: &[f64],
    asked: usize,
) -> Result<Exam, Error> {
    let mut depths = checked(depths)?;
    depths.sort_by(f64::total_cmp);
    if asked >= depths.len() {
        return Err(Error::Depths { what: format!("needle {asked} of {}", depths.len()) });
    }
    let mut draft = Draft::new(encoder, seed.stream(4), Density::Keyless, length, depths.len());
    for (index, depth) in depths.into_iter().enumerate().filter(|(index, _)| kind != Needle::Single || *index == asked)
    {
        let fact = needle(&mut draft, kind, index);
        let world = &draft.writer.world;
        let (statement, question) = match kind {
            Needle::MultiValue => {
                let which = if index == 0 { "first" } else { "next" };
                (world.one_of_several(&fact), world.question_in_order(&fact, which))
            }
            Needle::Single | Needle::MultiKey | Needle::MultiQuery => (world.statement(&fact), world.question(&fact)),
        };
        let hidden = draft.hide(Place::Depth(depth), fact, statement)?;
        if kind != Needle::MultiKey || index == asked {
            draft.ask(hidden, question)?;
        }
    }
    if kind == Needle::MultiQuery { draft.shuffled().write() } else { draft.write() }
}

/// A key of its own person; several values are all the first person's.
fn needle(draft: &mut Draft<'_>, kind: Needle, index: usize) -> Fact {
    let fact = draft.key(index);
    if kind == Needle::MultiValue { Fact { person: draft.first(), ..fact } } else { fact }
}

/// What a question can ask for by way of a friend.
const ASKED: [Kind; 4] = [Kind::Key, Kind::Home, Kind::Trade, Kind::Thing];

/// A document of exactly `length` tokens with a question for each pair of depths at its end, in random order. Half of them
/// ask for a fact that is said at the first depth ("What is the home of Mira?"); the others by way of another one, said at
/// the second ("What is the home of the friend of Mira?").
///
/// # Errors
/// Depths outside 0 to 1, more pairs than [`MOST_KEYS`](super::MOST_KEYS), or a length too short for facts and questions.
pub fn questions(encoder: &Encoder, seed: Seed, length: usize, depths: &[[f64; 2]]) -> Result<Exam, Error> {
    for which in [0, 1] {
        checked(&depths.iter().map(|pair| pair[which]).collect::<Vec<_>>())?;
    }
    let mut draft = Draft::new(encoder, seed.stream(6), Density::Standard, length, 2 * depths.len());
    for (index, [depth, of_friend]) in depths.iter().enumerate() {
        let kind = draft.writer.rng.pick(&ASKED);
        let (person, fact) = (draft.first() + 2 * index + 1, draft.fact(kind, 2 * index));
        let friendship = Fact { kind: Kind::Friend, person, value: Value::Person(fact.person), ..fact };
        let by_friend = draft.writer.rng.chance(50);
        let world = &draft.writer.world;
        let question = if by_friend { world.question_by_friend(&fact, person) } else { world.question(&fact) };
        let (statement, friends) = (world.statement(&fact), world.statement(&friendship));
        let hidden = draft.hide(Place::Depth(*depth), fact, statement)?;
        if by_friend {
            draft.hide(Place::Depth(*of_friend), friendship, friends)?;
        }
        draft.ask(hidden, question)?;
    }
    draft.shuffled().write()
}

/// Topics of a document of `length` tokens.
pub fn topic_count(length: usize) -> usize {
    (length / TOPIC).clamp(FEWEST_TOPICS, MOST_TOPICS)
}

/// A document of exactly `length` tokens that comes to a new topic at even distances and asks for the first at its end
/// (LongEval's topic retrieval). Nothing but its place tells the first from the others.
///
/// # Errors
/// A length too short to hold the topics and the question.
pub fn topics(encoder: &Encoder, seed: Seed, length: usize) -> Result<Exam, Error> {
    let mut draft = Draft::new(encoder, seed.stream(5), Density::Keyless, length, 1);
    let count = topic_count(length);
    for index in 0..count {
        let fact = draft.fact(Kind::Thing, 0);
        let (statement, question) = (draft.writer.world.topic(&fact), draft.writer.world.first_topic(&fact));
        let hidden = draft.hide(Place::Depth(index as f64 / count as f64), fact, statement)?;
        if index == 0 {
            draft.ask(hidden, question)?;
        }
    }
    draft.write()
}
