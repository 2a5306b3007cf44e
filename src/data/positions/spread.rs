//! Gaps between pieces of text that stay whole.

use crate::data::Rng;

/// LongRecipe (arXiv 2409.00509, appendix): segments stand in order at random slots of an array of `reach` cells, the first
/// one at 0. The gaps are a uniform draw of all ways to share the spare positions out.
pub(super) fn segments(lengths: &[usize], reach: usize, rng: &mut Rng) -> Vec<u32> {
    let total: usize = lengths.iter().sum();
    let mut slots = sample(lengths.len(), reach - total + lengths.len(), rng);
    if let Some(first) = slots.first_mut() {
        *first = 0;
    }
    let mut before = 0;
    let mut positions = Vec::with_capacity(total);
    for (slot, length) in slots.into_iter().zip(lengths) {
        let start = slot + before;
        positions.extend((start..start + length).map(|position| position as u32));
        before += length - 1;
    }
    positions
}

/// RPES, "random": a sorted sample of all positions.
pub(super) fn sorted(len: usize, reach: usize, rng: &mut Rng) -> Vec<u32> {
    sample(len, reach, rng).into_iter().map(|position| position as u32).collect()
}

/// PoSE (arXiv 2309.10400): chunks of random lengths, each shifted by a bias that is drawn from the one before it up to all
/// spare positions.
pub(super) fn chunks(len: usize, reach: usize, chunks: usize, rng: &mut Rng) -> Vec<u32> {
    let mut cuts: Vec<usize> = sample((chunks - 1).min(len - 1), len - 1, rng).into_iter().map(|cut| cut + 1).collect();
    cuts.push(len);
    let (mut bias, mut from) = (0, 0);
    let mut positions = Vec::with_capacity(len);
    for to in cuts {
        if from > 0 {
            bias += rng.below(reach - len - bias + 1);
        }
        positions.extend((from..to).map(|row| (row + bias) as u32));
        from = to;
    }
    positions
}

/// PoSE as released: two chunks, of which the first is never longer than half.
pub(super) fn two_chunks(len: usize, reach: usize, rng: &mut Rng) -> Vec<u32> {
    let first = 1 + rng.below(len.div_ceil(2));
    let bias = rng.below(reach - len + 1);
    (0..len).map(|row| (row + if row < first { 0 } else { bias }) as u32).collect()
}

/// `count` of `0..cells`, ascending, each such set equally likely.
fn sample(count: usize, cells: usize, rng: &mut Rng) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(count);
    for cell in 0..cells {
        if rng.below(cells - cell) < count - chosen.len() {
            chosen.push(cell);
        }
    }
    chosen
}
