//! Rotation by tokens in parallel.

use super::{Direction, Tables};
use crate::simd::{Isa, multiversion, vector::Vector};
use rayon::prelude::*;

/// Tokens of one task.
const TOKENS: usize = 32;

pub(crate) fn apply(isa: Isa, tables: &Tables, heads: usize, x: &mut [f32], direction: Direction) {
    let (half, sign) = (tables.half, if direction == Direction::Forward { 1.0 } else { -1.0 });
    if x.is_empty() {
        return;
    }
    let rows = tables.cos.par_chunks(TOKENS * half).zip(tables.sin.par_chunks(TOKENS * half));
    x.par_chunks_mut(TOKENS * heads * half * 2)
        .zip(rows)
        .for_each(|(x, (cos, sin))| turn(isa, heads, half, cos, sin, sign, x));
}

multiversion!(fn turn(heads: usize, half: usize, cos: &[f32], sin: &[f32], sign: f32, x: &mut [f32]) => turn_body);

#[inline(always)]
fn turn_body<V: Vector>(heads: usize, half: usize, cos: &[f32], sin: &[f32], sign: f32, x: &mut [f32]) {
    let tokens = x.chunks_exact_mut(heads * half * 2).zip(cos.chunks_exact(half).zip(sin.chunks_exact(half)));
    for (token, (cos, sin)) in tokens {
        for head in token.chunks_exact_mut(half * 2) {
            let (low, high) = head.split_at_mut(half);
            for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let (x, y, s) = (*a, *b, s * sign);
                *a = V::fused(x, c, -(y * s));
                *b = V::fused(y, c, x * s);
            }
        }
    }
}
