//! One exam read once. Every exam is scored here: an answer's token counts when it was the most likely one, given all the
//! text before it.

use std::ops::AddAssign;

use kernels::device::Device;
use recipe_core::Text;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::data::Batch;
use crate::data::chronicle::{Exam, Question};
use crate::engine::Engine;

/// How exams are scored, in results.
pub(super) const COUNTED: &str = "teacher-forced: a token counts when it was the most likely one";

/// What was counted in the answers of one or several exams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Answers of which every token was the most likely one.
    pub correct: usize,
    /// Answers asked for.
    pub trials: usize,
    /// Tokens of the answers that were the most likely ones.
    pub tokens_correct: usize,
    /// Tokens of the answers.
    pub tokens: usize,
}

/// How an exam's figures came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamProtocol {
    /// Documents read for this figure.
    pub documents: usize,
    /// Facts hidden in each.
    pub hidden: usize,
    /// Facts that each asks for at its end.
    pub asked: usize,
    /// What counts.
    pub counted: Text,
}

impl ExamProtocol {
    pub(super) fn new(documents: usize, hidden: usize, asked: usize) -> Self {
        Self { documents, hidden, asked, counted: COUNTED.into() }
    }
}

impl Marks {
    /// The marks of one answer.
    pub(crate) fn of(exam: &Exam, question: &Question, predictions: &[u32]) -> Self {
        let rows = question.answer.clone();
        let tokens = rows.len();
        let tokens_correct = rows.filter(|&row| predictions[row - 1] == exam.tokens[row]).count();
        Self { correct: usize::from(tokens_correct == tokens), trials: 1, tokens_correct, tokens }
    }

    /// The share of answer tokens that were the most likely ones; not a number without one.
    pub fn token_share(&self) -> f64 {
        self.tokens_correct as f64 / self.tokens as f64
    }

    /// The share of whole answers; not a number without one.
    pub fn share(&self) -> f64 {
        self.correct as f64 / self.trials as f64
    }
}

impl AddAssign for Marks {
    fn add_assign(&mut self, other: Self) {
        self.correct += other.correct;
        self.trials += other.trials;
        self.tokens_correct += other.tokens_correct;
        self.tokens += other.tokens;
    }
}

/// Reads an exam in one pass; the marks of each question, in their order.
pub(super) fn sit<D: Device>(engine: &mut Engine<D>, exam: &Exam) -> Result<Vec<Marks>, Error> {
    let batch = Batch::sequence(exam.tokens.clone(), &[0])?;
    let read = engine.score(&batch)?;
    Ok(exam.questions.iter().map(|question| Marks::of(exam, question, &read.predictions)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_predicted_by_the_row_before_it() {
        let question = |answer| Question { depth: 0.5, distance: 3, answer };
        let exam = Exam { tokens: vec![9, 1, 2, 3, 4], questions: vec![question(1..3), question(3..5)] };
        let marks = |predictions: &[u32]| exam.questions.iter().map(|it| Marks::of(&exam, it, predictions)).collect();
        let all: Vec<Marks> = marks(&[1, 2, 3, 4, 0]);
        assert_eq!(all, [Marks { correct: 1, trials: 1, tokens_correct: 2, tokens: 2 }; 2]);
        let some: Vec<Marks> = marks(&[9, 2, 3, 0, 4]);
        assert_eq!(some[0], Marks { correct: 0, trials: 1, tokens_correct: 1, tokens: 2 });
        assert_eq!(some[1], Marks { correct: 0, trials: 1, tokens_correct: 1, tokens: 2 });
        let mut sum = Marks::default();
        some.into_iter().chain(all).for_each(|one| sum += one);
        assert_eq!((sum.share(), sum.token_share()), (0.5, 0.75));
        assert!(Marks::default().share().is_nan());
    }
}
