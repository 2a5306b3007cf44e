//! Quantisation by blocks in parallel, dequantisation of any range.

use super::{BLOCK, Nf4, SCALE_BLOCK, code};
use crate::simd::{Isa, each_register, multiversion, vector::Vector};
use rayon::prelude::*;

/// Weights of one task, a multiple of [`BLOCK`].
const CHUNK: usize = 1 << 13;

pub(crate) fn quantize(isa: Isa, values: &[f32]) -> Nf4 {
    let mut absmax = vec![0f32; values.len().div_ceil(BLOCK)];
    let mut packed = vec![0u8; values.len().div_ceil(2)];
    let tasks = packed.par_chunks_mut(CHUNK / 2).zip(values.par_chunks(CHUNK));
    tasks.zip(absmax.par_chunks_mut(CHUNK / BLOCK)).for_each(|((packed, values), absmax)| {
        pack(isa, values, absmax, packed);
    });
    let offset = (absmax.iter().map(|&a| f64::from(a)).sum::<f64>() / absmax.len().max(1) as f64) as f32;
    let mut codes = vec![0u8; absmax.len()];
    let mut absmax_scale = vec![0f32; absmax.len().div_ceil(SCALE_BLOCK)];
    let blocks = codes.par_chunks_mut(SCALE_BLOCK).zip(absmax.par_chunks_mut(SCALE_BLOCK)).zip(&mut absmax_scale);
    blocks.with_min_len(16).for_each(|((codes, absmax), scale)| *scale = scale_codes(absmax, offset, codes));
    Nf4 { packed, absmax: codes, absmax_scale, offset, len: values.len() }
}

/// The codes of a block of scales, and their own scale; the scales lose the offset.
fn scale_codes(absmax: &mut [f32], offset: f32, codes: &mut [u8]) -> f32 {
    absmax.iter_mut().for_each(|a| *a -= offset);
    let scale = absmax.iter().fold(0.0, |max: f32, a| a.abs().max(max));
    codes.iter_mut().zip(&*absmax).for_each(|(code, &value)| *code = scale_code(value, scale));
    scale
}

/// Index of the value of the dynamic map nearest to `value / scale`.
fn scale_code(value: f32, scale: f32) -> u8 {
    code::nearest_dynamic().code(if scale > 0.0 { value / scale } else { 0.0 })
}

multiversion!(fn pack(values: &[f32], absmax: &mut [f32], packed: &mut [u8]) => pack_body);

/// Blocks of weights to half-bytes, and their largest; a missing last partner is stored as 0.0.
#[inline(always)]
fn pack_body<V: Vector>(values: &[f32], absmax: &mut [f32], packed: &mut [u8]) {
    // Not below the next number after a midpoint: above the midpoint.
    let mut borders = [f32::INFINITY; 16];
    borders.iter_mut().zip(code::NF4.windows(2)).for_each(|(b, pair)| *b = ((pair[0] + pair[1]) * 0.5).next_up());
    let blocks = values.chunks(BLOCK).zip(packed.chunks_mut(BLOCK / 2));
    for ((values, packed), absmax) in blocks.zip(absmax) {
        let mut block = [0f32; BLOCK];
        block[..values.len()].copy_from_slice(values);
        *absmax = indices::<V>(&mut block, &borders);
        // SAFETY: indices are whole numbers below 16.
        let codes = block.map(|index| unsafe { index.to_int_unchecked::<i32>() });
        packed.iter_mut().zip(codes.as_chunks::<2>().0).for_each(|(to, pair)| *to = (pair[0] << 4 | pair[1]) as u8);
    }
}

/// Replaces weights by the index of their code, the number of midpoints between codes that `weight / scale` exceeds, and
/// gives the scale: the largest of them.
#[inline(always)]
fn indices<V: Vector>(block: &mut [f32; BLOCK], borders: &[f32; 16]) -> f32 {
    // SAFETY: `multiversion` enables the instruction set; a block is whole registers.
    unsafe {
        let (zero, mut largest) = (V::splat(0.0), V::splat(0.0));
        each_register!(V, BLOCK, |at| {
            let x = at.get::<V>(block);
            largest = x.max(zero.minus(x)).max(largest);
        });
        let absmax = largest.largest();
        let scale = V::splat(if absmax > 0.0 { absmax } else { 1.0 });
        each_register!(V, BLOCK, |at| {
            let index = at.get::<V>(block).over(scale).bucket(borders);
            at.put(block, index);
        });
        absmax
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
