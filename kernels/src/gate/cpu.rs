//! Gated heads, row by row; the gates' gradients are summed over fixed chunks of rows.

use rayon::prelude::*;

use crate::attention::Shape;

/// Rows of one task: fixed, so that the order of additions is.
const ROWS: usize = 64;

pub(crate) fn forward(shape: &Shape, gates: &[f32], full: &[f32], stream: &[f32], out: &mut [f32]) {
    let chunk = ROWS * shape.heads * shape.head_dim;
    let inputs = full.par_chunks(chunk).zip(stream.par_chunks(chunk));
    out.par_chunks_mut(chunk).zip(inputs).for_each(|(out, (full, stream))| {
        let heads = full.chunks(shape.head_dim).zip(stream.chunks(shape.head_dim));
        for (index, (out, (full, stream))) in out.chunks_mut(shape.head_dim).zip(heads).enumerate() {
            let alpha = gates[gate(shape, index)];
            for ((out, full), stream) in out.iter_mut().zip(full).zip(stream) {
                *out = alpha * full + (1.0 - alpha) * stream;
            }
        }
    });
}

pub(crate) fn backward(
    shape: &Shape,
    gates: &[f32],
    full: &[f32],
    stream: &[f32],
    dout: &mut [f32],
    dstream: &mut [f32],
    dgates: &mut [f32],
) {
    let chunk = ROWS * shape.heads * shape.head_dim;
    let inputs = full.par_chunks(chunk).zip(stream.par_chunks(chunk));
    let outputs = dout.par_chunks_mut(chunk).zip(dstream.par_chunks_mut(chunk));
    let partial: Vec<Vec<f64>> = outputs
        .zip(inputs)
        .map(|((dout, dstream), (full, stream))| chunk_backward(shape, gates, full, stream, dout, dstream))
        .collect();
    for (gate, dgate) in dgates.iter_mut().enumerate() {
        *dgate += partial.iter().map(|sums| sums[gate]).sum::<f64>() as f32;
    }
}

/// One chunk's gradients; gives its sums for each gate.
fn chunk_backward(
    shape: &Shape,
    gates: &[f32],
    full: &[f32],
    stream: &[f32],
    dout: &mut [f32],
    dstream: &mut [f32],
) -> Vec<f64> {
    let mut sums = vec![0f64; shape.kv_heads];
    let heads = full.chunks(shape.head_dim).zip(stream.chunks(shape.head_dim));
    let outputs = dout.chunks_mut(shape.head_dim).zip(dstream.chunks_mut(shape.head_dim));
    for (index, ((dout, dstream), (full, stream))) in outputs.zip(heads).enumerate() {
        let gate = gate(shape, index);
        let alpha = gates[gate];
        for ((dout, dstream), (full, stream)) in dout.iter_mut().zip(dstream).zip(full.iter().zip(stream)) {
            sums[gate] += f64::from(*dout) * f64::from(full - stream);
            *dstream = (1.0 - alpha) * *dout;
            *dout *= alpha;
        }
    }
    sums
}

/// The gate of the `index`-th head, counted over rows.
fn gate(shape: &Shape, index: usize) -> usize {
    index % shape.heads / (shape.heads / shape.kv_heads)
}
