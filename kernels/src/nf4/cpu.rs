//! Quantisation by blocks in parallel, dequantisation of any range.

use super::{BLOCK, Nf4, SCALE_BLOCK, code};
use crate::simd::{Isa, each_register, multiversion, vector::Vector};
use rayon::prelude::*;

/// Weights of one task, a multiple of [`BLOCK`].
const CHUNK: usize = 1 << 13;

pub(crate) fn quantize(isa: Isa, values: &[f32]) -> Nf4 {
    let absmax: Vec<f32> = values.par_chunks(BLOCK).with_min_len(64).map(largest).collect();
    let mut packed = vec![0u8; values.len().div_ceil(2)];
    let tasks = packed.par_chunks_mut(CHUNK / 2).zip(values.par_chunks(CHUNK)).zip(absmax.par_chunks(CHUNK / BLOCK));
    tasks.for_each(|((packed, values), absmax)| pack(isa, values, absmax, packed));
    let offset = (absmax.iter().map(|&a| f64::from(a)).sum::<f64>() / absmax.len().max(1) as f64) as f32;
    let centred: Vec<f32> = absmax.iter().map(|a| a - offset).collect();
    let absmax_scale: Vec<f32> = centred.chunks(SCALE_BLOCK).map(largest).collect();
    let blocks = centred.par_chunks(SCALE_BLOCK).zip(&absmax_scale);
    let absmax = blocks.flat_map_iter(|(block, &scale)| block.iter().map(move |&v| scale_code(v, scale))).collect();
    Nf4 { packed, absmax, absmax_scale, offset, len: values.len() }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// Index of the value of the dynamic map nearest to `value / scale`.
fn scale_code(value: f32, scale: f32) -> u8 {
    let (code, x) = (code::dynamic(), if scale > 0.0 { value / scale } else { 0.0 });
    let above = code.partition_point(|&c| c < x).min(code.len() - 1);
    let below = above.saturating_sub(1);
    (if (x - code[below]).abs() <= (code[above] - x).abs() { below } else { above }) as u8
}

multiversion!(fn pack(values: &[f32], absmax: &[f32], packed: &mut [u8]) => pack_body);

/// Blocks of weights to half-bytes; a missing last partner is stored as 0.0.
#[inline(always)]
fn pack_body<V: Vector>(values: &[f32], absmax: &[f32], packed: &mut [u8]) {
    let blocks = values.chunks(BLOCK).zip(packed.chunks_mut(BLOCK / 2));
    for ((values, packed), &scale) in blocks.zip(absmax) {
        let mut block = [0f32; BLOCK];
        block[..values.len()].copy_from_slice(values);
        indices::<V>(&mut block, if scale > 0.0 { scale } else { 1.0 });
        for (byte, pair) in packed.iter_mut().zip(block.as_chunks::<2>().0) {
            *byte = (pair[0] as u8) << 4 | pair[1] as u8;
        }
    }
}

/// Replaces weights by the index of their code: the number of midpoints between codes that `weight / scale` exceeds.
#[inline(always)]
fn indices<V: Vector>(block: &mut [f32; BLOCK], scale: f32) {
    // SAFETY: `multiversion` enables the instruction set; a block is whole registers.
    unsafe {
        let (scale, one) = (V::splat(scale), V::splat(1.0));
        each_register!(V, BLOCK, |at| {
            let x = at.get::<V>(block).over(scale);
            let mut index = V::splat(0.0);
            for pair in code::NF4.windows(2) {
                // Not below the next number after the midpoint: above the midpoint.
                let border = ((pair[0] + pair[1]) * 0.5).next_up();
                index = index.plus(one.keep_from(x, V::splat(border)));
            }
            at.put(block, index);
        });
    }
}

pub(crate) fn dequantize(isa: Isa, from: &Nf4, start: usize, out: &mut [f32]) {
    // Tasks begin at block borders, wherever the range does.
    let head = (start.next_multiple_of(BLOCK) - start).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    one_by_one(from, start, first);
    rest.par_chunks_mut(CHUNK).enumerate().for_each(|(i, out)| {
        let start = start + head + i * CHUNK;
        let (whole, last) = out.split_at_mut(out.len() / BLOCK * BLOCK);
        let scales = (start / BLOCK..).map(|block| from.scale(block));
        for (out, (packed, scale)) in
            whole.as_chunks_mut::<BLOCK>().0.iter_mut().zip(from.packed[start / 2..].chunks(BLOCK / 2).zip(scales))
        {
            unpack(isa, packed, scale, out);
        }
        one_by_one(from, start + whole.len(), last);
    });
}

/// Part of a block.
fn one_by_one(from: &Nf4, start: usize, out: &mut [f32]) {
    for (at, out) in (start..).zip(out) {
        let byte = from.packed[at / 2];
        let index = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
        *out = code::NF4[usize::from(index)] * from.scale(at / BLOCK);
    }
}

multiversion!(fn unpack(packed: &[u8], scale: f32, out: &mut [f32; BLOCK]) => unpack_body);

/// One block of weights.
#[inline(always)]
fn unpack_body<V: Vector>(packed: &[u8], scale: f32, out: &mut [f32; BLOCK]) {
    assert!(packed.len() == BLOCK / 2);
    // SAFETY: `multiversion` enables the instruction set; a block is whole registers of half-bytes.
    unsafe {
        let scale = V::splat(scale);
        for at in (0..BLOCK).step_by(V::LANES) {
            let values = V::lookup(&code::NF4, packed.as_ptr().add(at / 2)).times(scale);
            values.store(out.as_mut_ptr().add(at));
        }
    }
}
