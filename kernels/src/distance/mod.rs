//! Mean squared difference of rows, as hidden states are distilled: `Σ_c (x − y)² / C` of each row that counts.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::cross_entropy::IGNORED;
use crate::expect_len;

/// The rows and which of them count.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// C.
    pub hidden: usize,
    /// `[T, C]`.
    pub x: &'a [f32],
    /// What `x` is compared with `[T, C]`; it gets no gradient.
    pub y: &'a [f32],
    /// A row with −100 is left out `[T]`.
    pub targets: &'a [i32],
    /// Factor of the gradient: 1 ÷ counted rows of the whole step for a mean over rows.
    pub grad_scale: f32,
}

/// Overwrites `losses` `[T]` (0 where a row does not count) and `dx` `[T, C]`.
pub fn run(job: &Job, losses: &mut [f32], dx: &mut [f32]) {
    let rows = job.targets.len();
    expect_len("losses", losses.len(), rows);
    for (name, len) in [("x", job.x.len()), ("y", job.y.len()), ("dx", dx.len())] {
        expect_len(name, len, rows * job.hidden);
    }
    cpu::run(job, losses, dx);
}

fn counts(target: i32) -> bool {
    target != IGNORED
}

#[cfg(test)]
mod tests {
    use super::{Job, reference, run};
    use crate::conformance::{Random, cast, close};

    #[test]
    fn rows_that_count_follow_the_formula() {
        for (rows, hidden) in [(1, 1), (5, 33), (130, 64)] {
            let mut random = Random::new(rows as u64);
            let (x, y) = (random.normal(rows * hidden), random.normal(rows * hidden));
            let targets: Vec<i32> = (0..rows).map(|row| if row % 3 == 1 { -100 } else { row as i32 }).collect();
            let job = Job { hidden, x: &x, y: &y, targets: &targets, grad_scale: 0.25 };
            let (mut losses, mut dx) = (vec![f32::NAN; rows], vec![f32::NAN; rows * hidden]);
            run(&job, &mut losses, &mut dx);
            let (plain, plain_dx) = reference::run(hidden, &x, &y, &targets, 0.25);
            let (exact, exact_dx) = reference::run(hidden, &cast::<f64>(&x), &cast(&y), &targets, 0.25);
            close("losses", &losses, &plain, &exact, 2.0);
            close("dx", &dx, &plain_dx, &exact_dx, 3.0);
        }
    }
}
