//! SwiGLU over fixed chunks with the polynomial exponential.

use crate::simd::{Isa, each_register, math::sigmoid, multiversion, vector::Vector};
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
fn forward_body<V: Vector>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let len = out.len().min(gate.len()).min(up.len());
    // SAFETY: `multiversion` enables the instruction set; the registers lie inside all three slices.
    unsafe {
        each_register!(V, len, |at| {
            let (g, u): (V, V) = (at.get(gate), at.get(up));
            at.put(out, g.times(u).times(sigmoid(g)));
        });
    }
}

#[inline(always)]
fn backward_body<V: Vector>(dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let len = dout.len().min(gate.len()).min(up.len());
    // SAFETY: as above.
    unsafe {
        each_register!(V, len, |at| {
            let (d, g, u): (V, V, V) = (at.get(dout), at.get(gate), at.get(up));
            let s = sigmoid(g);
            let silu = g.times(s);
            // silu' = s + silu · (1 − s)
            let slope = silu.mul_add(V::splat(1.0).minus(s), s);
            at.put(gate, d.times(u).times(slope));
            at.put(up, d.times(silu));
        });
    }
}
