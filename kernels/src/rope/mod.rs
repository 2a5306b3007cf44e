//! Rotary position embedding in Hugging Face's rotate-half layout: pair `(i, i + D/2)` turns by
//! `position · inv_freq[i]` (Su et al. 2021, equation 34).

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};
use rayon::prelude::*;

/// Cosines and sines for every token of a batch, `[T, D/2]` each.
#[derive(Clone, Debug)]
pub struct Tables {
    half: usize,
    tokens: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Which way the vectors are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The rotation of queries and keys.
    Forward,
    /// Its transpose, for gradients.
    Backward,
}

impl Tables {
    /// Tables for the given frequencies (`D/2` of them) and one position per token. Phases are formed in `f64`, so that
    /// positions in the millions keep full precision; both tables are multiplied by `attention_factor` (YaRN).
    pub fn new(inv_freq: &[f64], attention_factor: f64, positions: &[u32]) -> Tables {
        let half = inv_freq.len();
        let mut cos = vec![0f32; positions.len() * half];
        let mut sin = vec![0f32; positions.len() * half];
        if half > 0 {
            let rows = cos.par_chunks_mut(half).zip(sin.par_chunks_mut(half)).zip(positions);
            rows.with_min_len(16).for_each(|((cos, sin), &position)| {
                for ((cos, sin), &frequency) in cos.iter_mut().zip(sin).zip(inv_freq) {
                    let (s, c) = (f64::from(position) * frequency).sin_cos();
                    (*sin, *cos) = ((s * attention_factor) as f32, (c * attention_factor) as f32);
                }
            });
        }
        Tables { half, tokens: positions.len(), cos, sin }
    }

    /// Tokens the tables were made for.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Cosines and sines, `[T, D/2]` each.
    pub fn halves(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// Bytes the tables hold.
    pub fn bytes(&self) -> usize {
        (self.cos.len() + self.sin.len()) * size_of::<f32>()
    }
}

/// Turns every head of `x` `[T, heads, D]` in place.
pub fn apply(tables: &Tables, heads: usize, x: &mut [f32], direction: Direction) {
    expect_len("x", x.len(), tables.tokens * heads * tables.half * 2);
    cpu::apply(Isa::best(), tables, heads, x, direction);
}
