//! Naive AdamW.

use super::Hyper;
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
