//! Training documents that are generated: text that asks all along, or an exam at its end.

use std::ops::Range;

use recipe_core::{Loss, Papers};

use super::chronicle::{self, Density, Seed};
use super::{Batch, Encoder, Error, IGNORE, Rng};

/// Depths are drawn in thousandths.
const STEPS: usize = 1000;

/// A source of documents that are as long as they are asked for.
pub(super) enum Generated {
    /// `passkey`.
    Passkey(Papers),
    /// `qa`.
    Qa(Papers),
    /// Text without an exam.
    Chronicle(Density),
}

impl Generated {
    /// The document of a seed as one sequence.
    pub(super) fn sequence(&self, encoder: &Encoder, seed: Seed, length: usize) -> Result<Batch, Error> {
        let (tokens, answers) = self.document(encoder, seed, length)?;
        let mut batch = Batch::sequence(tokens, &[0])?;
        if self.learns_answers_alone() {
            keep(&mut batch.targets, &answers);
        }
        Ok(batch)
    }

    fn learns_answers_alone(&self) -> bool {
        match self {
            Self::Passkey(papers) | Self::Qa(papers) => papers.loss == Loss::Answers,
            Self::Chronicle(_) => false,
        }
    }

    /// Tokens, and which of them answer something.
    fn document(&self, encoder: &Encoder, seed: Seed, length: usize) -> Result<(Vec<u32>, Vec<Range<usize>>), Error> {
        let density = match self {
            Self::Chronicle(density) => *density,
            Self::Passkey(papers) | Self::Qa(papers) => {
                let mut rng = seed.stream(2);
                if rng.chance((100.0 * papers.exams).round() as usize) {
                    match self.exam(encoder, seed, length, papers, &mut rng) {
                        Ok(exam) => return Ok((exam.tokens, exam.questions.into_iter().map(|it| it.answer).collect())),
                        Err(Error::ExamTooShort { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Density::Standard
            }
        };
        let document = chronicle::document(encoder, seed, length, density)?;
        Ok((document.tokens, document.recalls.into_iter().map(|recall| recall.answer).collect()))
    }

    fn exam(
        &self,
        encoder: &Encoder,
        seed: Seed,
        length: usize,
        papers: &Papers,
        rng: &mut Rng,
    ) -> Result<chronicle::Exam, Error> {
        let mut depth = || {
            let share = rng.below(STEPS + 1) as f64 / STEPS as f64;
            papers.shallowest + (papers.deepest - papers.shallowest) * share
        };
        match self {
            Self::Qa(_) => {
                let depths: Vec<[f64; 2]> = (0..papers.asked).map(|_| [depth(), depth()]).collect();
                chronicle::questions(encoder, seed, length, &depths)
            }
            Self::Passkey(_) | Self::Chronicle(_) => {
                let depths: Vec<f64> = (0..papers.asked).map(|_| depth()).collect();
                chronicle::exam(encoder, seed, length, &depths)
            }
        }
    }
}

/// Leaves out of the loss all targets but those that are part of an answer.
fn keep(targets: &mut [i32], answers: &[Range<usize>]) {
    let mut learned = vec![false; targets.len()];
    for answer in answers {
        learned[answer.start.saturating_sub(1)..answer.end.saturating_sub(1)].fill(true);
    }
    let forgotten = targets.iter_mut().zip(learned).filter(|(_, learned)| !learned);
    forgotten.for_each(|(target, _)| *target = IGNORE);
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use tokenizers::Tokenizer;

    use super::*;

    fn encoder() -> Encoder {
        Encoder::new(Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap(), Some(0), Some(1)).unwrap()
    }

    fn papers(loss: Loss) -> Papers {
        Papers { exams: 1.0, asked: 4, shallowest: 0.25, deepest: 0.5, loss }
    }

    #[test]
    fn answers_alone_are_learned_where_that_is_asked_for() {
        let encoder = encoder();
        for make in [Generated::Passkey, Generated::Qa] {
            for index in 0..20 {
                let of = |loss| make(papers(loss)).sequence(&encoder, Seed::train(3, index), 512).unwrap();
                let (all, answers) = (of(Loss::All), of(Loss::Answers));
                assert_eq!((all.tokens.len(), &all.tokens), (512, &answers.tokens));
                assert_eq!(all.counted(), 511);
                assert!((4..=8).contains(&answers.counted()), "{}", answers.counted());
                let first = answers.targets.iter().position(|&target| target != IGNORE).unwrap();
                assert!(first > 400, "answers stand at the end, not at {first}");
            }
        }
    }

    #[test]
    fn what_is_asked_was_said_between_the_depths() {
        let encoder = encoder();
        let said = |text: &str, answer: &str| text.find(answer).unwrap() as f64 / text.len() as f64;
        for index in 0..20 {
            let generated = Generated::Passkey(papers(Loss::All));
            let (tokens, answers) = generated.document(&encoder, Seed::train(1, index), 2048).unwrap();
            for answer in answers {
                // "the key of mira 47", without the "what is" of the question.
                let statement = encoder.tokenizer().decode(&tokens[answer.start - 4..answer.end], true).unwrap();
                let depth = said(&encoder.tokenizer().decode(&tokens, true).unwrap(), &statement[..]);
                assert!((0.2..0.56).contains(&depth), "{statement:?} at {depth}");
            }
        }
    }

    #[test]
    fn a_sequence_too_short_for_an_exam_asks_all_along() {
        let generated = Generated::Qa(papers(Loss::Answers));
        let batch = generated.sequence(&encoder(), Seed::train(0, 0), 48).unwrap();
        assert_eq!(batch.len(), 48);
    }
}
