//! What the blocks stand for.

use super::{BLOCK, BYTES};
use crate::conformance::Real;
use half::f16;

/// The weights d · q.
pub(crate) fn unpack<R: Real>(blocks: &[u8]) -> Vec<R> {
    let weights = |block: &[u8]| {
        let step = f64::from(f16::from_le_bytes([block[0], block[1]]));
        block[2..].iter().map(move |&q| R::of(step * f64::from(q as i8))).collect::<Vec<R>>()
    };
    let weights: Vec<R> = blocks.chunks_exact(BYTES).flat_map(weights).collect();
    assert_eq!(weights.len(), blocks.len() / BYTES * BLOCK);
    weights
}
