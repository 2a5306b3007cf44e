//! Quantisation by blocks in parallel, dequantisation of any range.

use super::{BLOCK, Nf4, SCALE_BLOCK, code};
use crate::simd::Isa;
use rayon::prelude::*;

/// Weights of one task.
const CHUNK: usize = 1 << 13;

pub(crate) fn quantize(values: &[f32]) -> Nf4 {
    let absmax: Vec<f32> = values.par_chunks(BLOCK).map(largest).collect();
    let mut packed = vec![0u8; values.len().div_ceil(2)];
    packed.par_chunks_mut(CHUNK / 2).zip(values.par_chunks(CHUNK)).zip(absmax.par_chunks(CHUNK / BLOCK)).for_each(
        |((packed, values), absmax)| {
            let blocks = packed.chunks_mut(BLOCK / 2).zip(values.chunks(BLOCK));
            blocks.zip(absmax).for_each(|((packed, values), &scale)| pack(values, scale, packed));
        },
    );
    let offset = (absmax.iter().map(|&a| f64::from(a)).sum::<f64>() / absmax.len().max(1) as f64) as f32;
    let centred: Vec<f32> = absmax.iter().map(|a| a - offset).collect();
    let absmax_scale: Vec<f32> = centred.chunks(SCALE_BLOCK).map(largest).collect();
    let index = |(i, &value): (usize, &f32)| nearest(code::dynamic(), ratio(value, absmax_scale[i / SCALE_BLOCK]));
    let absmax = centred.iter().enumerate().map(index).collect();
    Nf4 { packed, absmax, absmax_scale, offset, len: values.len() }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// `value / scale`, 0 in a block of zeros.
fn ratio(value: f32, scale: f32) -> f32 {
    if scale > 0.0 { value / scale } else { 0.0 }
}

/// One block in its half-bytes; a missing last partner is stored as 0.0 (index 7).
fn pack(values: &[f32], scale: f32, packed: &mut [u8]) {
    for (byte, pair) in packed.iter_mut().zip(values.chunks(2)) {
        let high = nearest(&code::NF4, ratio(pair[0], scale));
        let low = pair.get(1).map_or(7, |&value| nearest(&code::NF4, ratio(value, scale)));
        *byte = high << 4 | low;
    }
}

/// Index of the nearest value of an ascending code.
fn nearest(code: &[f32], x: f32) -> u8 {
    let above = code.partition_point(|&c| c < x).min(code.len() - 1);
    let below = above.saturating_sub(1);
    (if (x - code[below]).abs() <= (code[above] - x).abs() { below } else { above }) as u8
}

pub(crate) fn dequantize(_isa: Isa, from: &Nf4, start: usize, out: &mut [f32]) {
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, out)| dequantize_chunk(from, start + i * CHUNK, out));
}

fn dequantize_chunk(from: &Nf4, start: usize, out: &mut [f32]) {
    let mut done = 0;
    while done < out.len() {
        let at = start + done;
        let count = (BLOCK - at % BLOCK).min(out.len() - done);
        let scale = from.scale(at / BLOCK);
        for (offset, out) in out[done..done + count].iter_mut().enumerate() {
            let at = at + offset;
            let byte = from.packed[at / 2];
            *out = scale * code::NF4[if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 } as usize];
        }
        done += count;
    }
}
