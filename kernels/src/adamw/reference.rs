//! Naive AdamW.

use super::{Hyper, eight_bit};
use crate::conformance::Real;

/// One step.
pub(crate) fn step<R: Real>(hyper: &Hyper, param: &mut [R], grad: &[R], m: &mut [R], v: &mut [R]) {
    let correct1 = R::of(1.0 - hyper.beta1.powf(hyper.step as f64));
    let correct2 = R::of(1.0 - hyper.beta2.powf(hyper.step as f64));
    for i in 0..param.len() {
        let g = grad[i] * R::of(hyper.grad_scale);
        param[i] *= R::of(1.0 - hyper.lr * hyper.weight_decay);
        m[i] = R::of(hyper.beta1) * m[i] + R::of(1.0 - hyper.beta1) * g;
        v[i] = R::of(hyper.beta2) * v[i] + R::of(1.0 - hyper.beta2) * g * g;
        param[i] -= R::of(hyper.lr) * (m[i] / correct1) / ((v[i] / correct2).sqrt() + R::of(hyper.eps));
    }
}

/// One step with moments of 8 bits: unpacked, stepped, packed again.
pub(crate) fn step_8bit<R: Real>(hyper: &Hyper, param: &mut [R], grad: &[R], moments: &mut eight_bit::Moments) {
    let [mut m, mut v] = unpack(moments);
    step(hyper, param, grad, &mut m, &mut v);
    let tables = eight_bit::tables();
    let (signed, unsigned) = tables.split_at(256);
    let [m_scales, v_scales] = &mut moments.scales;
    pack(&m, signed, &mut moments.m, m_scales);
    pack(&v, unsigned, &mut moments.v, v_scales);
    // What divides does not become 0.
    let positive = v.iter().map(|v| *v > R::of(0.0));
    moments
        .v
        .iter_mut()
        .zip(positive)
        .filter(|(code, positive)| **code == 0 && *positive)
        .for_each(|(code, _)| *code = 1);
}

/// What the codes stand for.
pub(crate) fn unpack<R: Real>(moments: &eight_bit::Moments) -> [Vec<R>; 2] {
    let tables = eight_bit::tables();
    let values = |codes: &[u8], which: usize| -> Vec<R> {
        let scale = |i: usize| R::of(f64::from(moments.scales[which][i / eight_bit::BLOCK]));
        let value = |code: u8| R::of(f64::from(tables[256 * which + usize::from(code)]));
        codes.iter().enumerate().map(|(i, &code)| value(code) * scale(i)).collect()
    };
    [values(&moments.m, 0), values(&moments.v, 1)]
}

fn pack<R: Real>(values: &[R], table: &[f32], codes: &mut [u8], scales: &mut [f32]) {
    for (block, values) in values.chunks(eight_bit::BLOCK).enumerate() {
        let size = |v: &R| if *v < R::of(0.0) { -*v } else { *v };
        let scale = crate::conformance::max(&values.iter().map(size).collect::<Vec<R>>());
        scales[block] = scale.to_f32();
        for (i, &value) in values.iter().enumerate() {
            let x = if scale > R::of(0.0) { value / scale } else { value };
            codes[block * eight_bit::BLOCK + i] = crate::nf4::reference::nearest(table, x);
        }
    }
}
