//! Which source a sequence comes from: sources take turns so that each stays near its share.

use std::sync::{Mutex, PoisonError};

/// Turns between two counts that are kept; finding a turn costs at most as many comparisons of the sources.
const STRIDE: u64 = 256;

/// The order of turns, a function of the shares alone.
#[derive(Debug)]
pub(super) struct Turns {
    shares: Vec<f64>,
    /// How many turns each source had before turn 0, 256, 512, …, as far as it was asked for.
    marks: Mutex<Vec<Vec<u64>>>,
}

impl Turns {
    pub(super) fn new(shares: Vec<f64>) -> Self {
        let marks = Mutex::new(vec![vec![0; shares.len()]]);
        Self { shares, marks }
    }

    /// Whose turn `index` is, and how many turns that source had before.
    pub(super) fn turn(&self, index: u64) -> (usize, u64) {
        let counts = self.counts(index);
        let number = self.next(&counts, index);
        (number, counts[number])
    }

    /// How many of the first `index` turns each source had.
    pub(super) fn counts(&self, index: u64) -> Vec<u64> {
        if self.shares.len() == 1 {
            return vec![index];
        }
        let mark = index / STRIDE;
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for known in marks.len() as u64..=mark {
            let from = (known - 1) * STRIDE;
            let next = self.walk(marks[known as usize - 1].clone(), from, known * STRIDE);
            marks.push(next);
        }
        self.walk(marks[mark as usize].clone(), mark * STRIDE, index)
    }

    fn walk(&self, mut counts: Vec<u64>, from: u64, to: u64) -> Vec<u64> {
        for turn in from..to {
            let number = self.next(&counts, turn);
            counts[number] += 1;
        }
        counts
    }

    /// The source that is farthest behind its share; the first of equals.
    fn next(&self, counts: &[u64], turn: u64) -> usize {
        let behind = |number: usize| self.shares[number] * (turn + 1) as f64 - counts[number] as f64;
        (1..counts.len()).fold(0, |best, number| if behind(number) > behind(best) { number } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The law in its plainest form: every turn from the first.
    fn plainly(shares: &[f64], index: u64) -> Vec<u64> {
        let turns = Turns::new(shares.to_vec());
        turns.walk(vec![0; shares.len()], 0, index)
    }

    #[test]
    fn marks_change_nothing_in_any_order() {
        let shares = [0.61, 0.29, 0.1];
        let turns = Turns::new(shares.to_vec());
        for index in [5000, 3, 255, 256, 257, 0, 1023, 4999, 5001] {
            assert_eq!(turns.counts(index), plainly(&shares, index), "{index}");
            let (number, before) = turns.turn(index);
            let mut after = plainly(&shares, index);
            assert_eq!(before, after[number]);
            after[number] += 1;
            assert_eq!(after, plainly(&shares, index + 1));
        }
    }

    #[test]
    fn every_source_stays_within_two_turns_of_its_share() {
        let shares = [0.5, 0.3, 0.15, 0.05];
        let turns = Turns::new(shares.to_vec());
        for index in (0..3000).step_by(7) {
            for (count, share) in turns.counts(index).into_iter().zip(shares) {
                assert!((count as f64 - share * index as f64).abs() < 2.0);
            }
        }
    }
}
