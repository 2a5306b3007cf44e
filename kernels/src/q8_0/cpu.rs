//! Packing and unpacking in parallel, and the product of a few rows with blocks.

use super::{BLOCK, BYTES};
use crate::linear::{self, Dims, Write};
use crate::simd::{Isa, multiversion, vector::Vector};
use half::f16;
use rayon::prelude::*;

/// Blocks of one task.
const TASK: usize = 1 << 9;

pub(crate) fn pack(isa: Isa, values: &[f32], to: &mut [u8]) {
    let tasks = to.par_chunks_mut(TASK * BYTES).zip(values.par_chunks(TASK * BLOCK));
    tasks.for_each(|(to, values)| pack_some(isa, values, to));
}

multiversion!(fn pack_some(values: &[f32], to: &mut [u8]) => pack_body);

/// As ggml's reference (`quantize_row_q8_0_ref`): q = round(x ÷ d), halves away from zero, with d = max |x| ÷ 127 before it
/// is rounded to f16.
#[inline(always)]
fn pack_body<V: Vector>(values: &[f32], to: &mut [u8]) {
    for (values, to) in values.as_chunks::<BLOCK>().0.iter().zip(to.as_chunks_mut::<BYTES>().0) {
        let step = values.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        to[..2].copy_from_slice(&f16::from_f32(step).to_le_bytes());
        for (q, value) in to[2..].iter_mut().zip(values) {
            *q = (value * inverse).round() as i8 as u8;
        }
    }
}

/// Whole blocks to weights.
pub(crate) fn unpack(isa: Isa, blocks: &[u8], out: &mut [f32]) {
    let tasks = out.par_chunks_mut(TASK * BLOCK).zip(blocks.par_chunks(TASK * BYTES));
    tasks.for_each(|(out, blocks)| unpack_some(isa, blocks, out));
}

multiversion!(fn unpack_some(blocks: &[u8], out: &mut [f32]) => unpack_body);

#[inline(always)]
fn unpack_body<V: Vector>(blocks: &[u8], out: &mut [f32]) {
    for (out, block) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks.as_chunks::<BYTES>().0) {
        // SAFETY: `multiversion` enables the instruction set; a block is whole registers.
        unsafe {
            let step = V::splat(step_of(block));
            for at in (0..BLOCK).step_by(V::LANES) {
                V::load_i8(block.as_ptr().add(2 + at).cast()).times(step).store(out.as_mut_ptr().add(at));
            }
        }
    }
}

/// The columns of y for few rows of x.
pub(crate) fn linear(isa: Isa, dims: Dims, x: &[f32], w: &[u8], y: &mut [f32], scale: f32, write: Write) {
    if dims.inputs == 0 {
        return linear::cpu::forward(isa, dims, x, &[], y, scale, write);
    }
    let width = dims.inputs / BLOCK * BYTES;
    let dots = |x: &[f32], w: &[u8], y: &mut [f32]| dots(isa, x, w, y, scale, write == Write::Add);
    linear::cpu::few_rows(dims, 0..dims.outputs, x, (w, width), y, dots);
}

multiversion!(fn dots(x: &[f32], w: &[u8], y: &mut [f32], scale: f32, add: bool) => dots_body);

#[inline(always)]
fn dots_body<V: Vector>(x: &[f32], w: &[u8], y: &mut [f32], scale: f32, add: bool) {
    for (w, y) in w.chunks_exact(x.len() / BLOCK * BYTES).zip(y) {
        let dot = dot_of::<V>(x.as_chunks().0, w.as_chunks().0);
        *y = if add { V::fused(scale, dot, *y) } else { scale * dot };
    }
}

/// Σ d (Σ q x) over the blocks of a row, even and odd ones in sums that do not wait for each other.
#[inline(always)]
fn dot_of<V: Vector>(x: &[[f32; BLOCK]], w: &[[u8; BYTES]]) -> f32 {
    let (x, last_x) = x.as_chunks::<2>();
    let (w, last_w) = w.as_chunks::<2>();
    // SAFETY: `multiversion` enables the instruction set.
    unsafe {
        let (mut even, mut odd) = (V::splat(0.0), V::splat(0.0));
        for (x, w) in x.iter().zip(w) {
            even = add_block(&x[0], &w[0], even);
            odd = add_block(&x[1], &w[1], odd);
        }
        if let ([x], [w]) = (last_x, last_w) {
            even = add_block(x, w, even);
        }
        even.plus(odd).sum()
    }
}

/// `sum` + d (Σ q x) over one block.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn add_block<V: Vector>(x: &[f32; BLOCK], block: &[u8; BYTES], sum: V) -> V {
    let (x, q) = (x.as_ptr(), block[2..].as_ptr().cast::<i8>());
    // SAFETY: the caller's promise; a block is whole registers.
    unsafe {
        let mut inner = V::load_i8(q).times(V::load(x));
        for at in (V::LANES..BLOCK).step_by(V::LANES) {
            inner = V::load_i8(q.add(at)).mul_add(V::load(x.add(at)), inner);
        }
        inner.mul_add(V::splat(step_of(block)), sum)
    }
}

/// The block's step. Bits of an f16 that is not negative, moved to an f32's places, are its value but for the exponents'
/// origins, 2¹¹² apart; that holds for subnormal steps too.
#[inline(always)]
fn step_of(block: &[u8; BYTES]) -> f32 {
    const ORIGINS: f32 = f32::from_bits((127 + 112) << 23);
    f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 13) * ORIGINS
}
