//! SwiGLU over fixed chunks with the polynomial exponential.

use crate::simd::{Isa, math::exp, multiversion};
use rayon::prelude::*;

/// Values of one task.
const CHUNK: usize = 1 << 13;

pub(crate) fn forward(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (gate, up))| forward_chunk(isa, gate, up, out));
}

pub(crate) fn backward(isa: Isa, dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let outputs = gate.par_chunks_mut(CHUNK).zip(up.par_chunks_mut(CHUNK));
    outputs.zip(dout.par_chunks(CHUNK)).for_each(|((gate, up), dout)| backward_chunk(isa, dout, gate, up));
}

multiversion!(fn forward_chunk(gate: &[f32], up: &[f32], out: &mut [f32]) => forward_body);
multiversion!(fn backward_chunk(dout: &[f32], gate: &mut [f32], up: &mut [f32]) => backward_body);

#[inline(always)]
fn forward_body<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *out = g * u / (1.0 + exp::<FMA>(-g));
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((&d, g), u) in dout.iter().zip(gate).zip(up) {
        let s = 1.0 / (1.0 + exp::<FMA>(-*g));
        let silu = *g * s;
        // silu'(g) = s + silu · (1 − s)
        *g = d * *u * (s + silu * (1.0 - s));
        *u = d * silu;
    }
}
