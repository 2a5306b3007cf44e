//! AdamW over fixed chunks, one pass over the four arrays.

use std::sync::OnceLock;

use super::Hyper;
use super::eight_bit::{BLOCK, Moments};
use crate::nf4::code::{self, Nearest};
use crate::simd::{Isa, multiversion, vector::Vector};
use rayon::prelude::*;

/// Values of one task, whole blocks of moments.
const CHUNK: usize = 1 << 13;

/// The step's scalars, formed in `f64` as PyTorch does and rounded once.
#[derive(Clone, Copy)]
struct Factors {
    grad: f32,
    decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl Factors {
    fn of(hyper: &Hyper) -> Factors {
        let correction = |beta: f64| 1.0 - beta.powf(hyper.step as f64);
        Factors {
            grad: hyper.grad_scale as f32,
            decay: (1.0 - hyper.lr * hyper.weight_decay) as f32,
            one_minus_beta1: (1.0 - hyper.beta1) as f32,
            beta2: hyper.beta2 as f32,
            one_minus_beta2: (1.0 - hyper.beta2) as f32,
            step_size: (hyper.lr / correction(hyper.beta1)) as f32,
            root_correction: correction(hyper.beta2).sqrt() as f32,
            eps: hyper.eps as f32,
        }
    }
}

pub(crate) fn step(isa: Isa, hyper: &Hyper, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    let factors = Factors::of(hyper);
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    param
        .par_chunks_mut(CHUNK)
        .zip(grad.par_chunks(CHUNK))
        .zip(moments)
        .for_each(|((param, grad), (m, v))| step_chunk(isa, factors, param, grad, m, v));
}

multiversion!(fn step_chunk(
    f: Factors, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32],
) => step_body);

#[inline(always)]
fn step_body<V: Vector>(f: Factors, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        let g = g * f.grad;
        *m = V::fused(g - *m, f.one_minus_beta1, *m);
        *v = V::fused(f.one_minus_beta2 * g, g, *v * f.beta2);
        let denominator = v.sqrt() / f.root_correction + f.eps;
        *p = *p * f.decay - f.step_size * *m / denominator;
    }
}

/// What the codes of a moment stand for, and which code is nearest.
#[derive(Debug)]
struct Map {
    values: [f32; 256],
    nearest: Nearest,
}

impl Map {
    fn new(values: [f32; 256]) -> Self {
        Self { values, nearest: Nearest::new(&values) }
    }

    /// Those of the first moment and of the second.
    fn both() -> &'static [Map; 2] {
        static MAPS: OnceLock<[Map; 2]> = OnceLock::new();
        MAPS.get_or_init(|| [Map::new(*code::dynamic()), Map::new(code::dynamic_unsigned())])
    }
}

pub(crate) fn step_8bit(isa: Isa, hyper: &Hyper, param: &mut [f32], grad: &[f32], moments: &mut Moments) {
    let factors = Factors::of(hyper);
    let Moments { m, v, scales: [m_scales, v_scales] } = moments;
    let codes = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    let scales = m_scales.par_chunks_mut(CHUNK / BLOCK).zip(v_scales.par_chunks_mut(CHUNK / BLOCK));
    let rows = param.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
    rows.zip(codes.zip(scales)).for_each(|((param, grad), (codes, scales))| {
        step_packed(isa, factors, param, grad, [codes.0, codes.1], [scales.0, scales.1]);
    });
}

multiversion!(fn step_packed(
    f: Factors, param: &mut [f32], grad: &[f32], codes: [&mut [u8]; 2], scales: [&mut [f32]; 2],
) => packed_body);

#[inline(always)]
fn packed_body<V: Vector>(
    f: Factors,
    param: &mut [f32],
    grad: &[f32],
    [m, v]: [&mut [u8]; 2],
    [m_scales, v_scales]: [&mut [f32]; 2],
) {
    let [signed, unsigned] = Map::both();
    let codes = m.chunks_mut(BLOCK).zip(v.chunks_mut(BLOCK));
    let blocks = param.chunks_mut(BLOCK).zip(grad.chunks(BLOCK)).zip(codes).zip(m_scales.iter_mut().zip(v_scales));
    for (((param, grad), (m, v)), (m_scale, v_scale)) in blocks {
        let (mut first, mut second) = (unpack(signed, m, *m_scale), unpack(unsigned, v, *v_scale));
        let len = param.len();
        step_body::<V>(f, param, grad, &mut first[..len], &mut second[..len]);
        *m_scale = pack(signed, &first, m);
        *v_scale = pack(unsigned, &second, v);
        // The unsigned map's 0 is its first value.
        v.iter_mut().zip(&second).for_each(|(code, &value)| *code = (*code).max(u8::from(value > 0.0)));
    }
}

/// What the codes stand for; zeros behind them.
#[inline(always)]
fn unpack(map: &Map, codes: &[u8], scale: f32) -> [f32; BLOCK] {
    let mut values = [0.0; BLOCK];
    values.iter_mut().zip(codes).for_each(|(value, &code)| *value = map.values[usize::from(code)] * scale);
    values
}

/// The codes of a block, and its scale: the largest size in it.
#[inline(always)]
fn pack(map: &Map, values: &[f32; BLOCK], codes: &mut [u8]) -> f32 {
    // Lanes that do not wait for each other.
    let mut largest = [0f32; 16];
    for values in values.as_chunks::<16>().0 {
        largest.iter_mut().zip(values).for_each(|(largest, value)| *largest = largest.max(value.abs()));
    }
    let scale = largest.into_iter().fold(0.0, f32::max);
    let divisor = if scale > 0.0 { scale } else { 1.0 };
    let shares = values.map(|value| value / divisor);
    codes.iter_mut().zip(&shares).for_each(|(code, &share)| *code = map.nearest.code(share));
    scale
}
