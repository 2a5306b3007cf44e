//! Reductions whose result does not depend on the number of threads.

use rayon::prelude::*;

/// Values per partial sum: fixed, so that the order of additions is.
const CHUNK: usize = 1 << 14;

/// Sum of squares in `f64`: fixed chunks in parallel, their sums added in order.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let partial: Vec<f64> = values.par_chunks(CHUNK).map(chunk_sum_of_squares).collect();
    partial.iter().sum()
}

/// Eight running sums, so that the compiler may keep them in vector registers.
fn chunk_sum_of_squares(chunk: &[f32]) -> f64 {
    let mut lanes = [0f64; 16];
    let (body, tail) = chunk.as_chunks::<16>();
    for values in body {
        for (lane, &x) in lanes.iter_mut().zip(values) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    let rest: f64 = tail.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    lanes.iter().sum::<f64>() + rest
}
