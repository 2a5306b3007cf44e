//! Linear layers and the fused loss.

use super::{Random, cast, close, label, same_bits_on_any_threads};
use crate::cross_entropy::{self, IGNORED, Job, Output};
use crate::linear::{self, Dims, Write};
use crate::simd::Isa;

/// Sizes on both sides of every path: single rows, few rows, odd sizes, large enough for the blocked product.
const DIMS: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 64, 48),
    (1, 129, 513),
    (3, 40, 17),
    (5, 7, 300),
    (33, 65, 130),
    (64, 128, 128),
    (300, 128, 352),
    (257, 130, 67),
];

/// The three products, overwriting and adding, scaled.
pub(crate) fn linear(isa: Isa) {
    for (n, (rows, inputs, outputs)) in DIMS.into_iter().enumerate() {
        let dims = Dims { rows, inputs, outputs };
        let mut random = Random::new(n as u64);
        let (x, w, dy) = (random.normal(rows * inputs), random.normal(outputs * inputs), random.normal(rows * outputs));
        let (x64, w64, dy64): (Vec<f64>, Vec<f64>, Vec<f64>) = (cast(&x), cast(&w), cast(&dy));
        let exact = [
            linear::reference::forward(dims, &x64, &w64),
            linear::reference::backward_input(dims, &dy64, &w64),
            linear::reference::backward_weight(dims, &dy64, &x64),
        ];
        let plain = [
            linear::reference::forward(dims, &x, &w),
            linear::reference::backward_input(dims, &dy, &w),
            linear::reference::backward_weight(dims, &dy, &x),
        ];
        for (i, name) in ["y", "dx", "dw"].into_iter().enumerate() {
            for (scale, write, before) in [(1.0, Write::Set, f32::NAN), (0.5, Write::Add, 3.0)] {
                let mut fast = vec![before; exact[i].len()];
                match i {
                    0 => linear::cpu::forward(isa, dims, &x, &w, &mut fast, scale, write),
                    1 => linear::cpu::backward_input(isa, dims, &dy, &w, &mut fast, scale, write),
                    _ => linear::cpu::backward_weight(isa, dims, &dy, &x, &mut fast, scale, write),
                }
                let base = if write == Write::Add { before } else { 0.0 };
                let expected: Vec<f64> = exact[i].iter().map(|v| v * f64::from(scale) + f64::from(base)).collect();
                let same: Vec<f32> = plain[i].iter().map(|v| v * scale + base).collect();
                close(&label(isa, &format!("{name} of {dims:?} {write:?}")), &fast, &same, &expected, 2.0);
            }
        }
    }
}

/// The number of threads changes no bit of a product.
pub(crate) fn linear_threads(isa: Isa) {
    for (rows, inputs, outputs) in [(1, 128, 512), (500, 128, 352), (700, 352, 128), (1030, 70, 1000)] {
        let dims = Dims { rows, inputs, outputs };
        let mut random = Random::new(5);
        let (x, w, dy) = (random.normal(rows * inputs), random.normal(outputs * inputs), random.normal(rows * outputs));
        same_bits_on_any_threads(&label(isa, &format!("{dims:?}")), || {
            let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![1.0; x.len()], vec![1.0; w.len()]);
            linear::cpu::forward(isa, dims, &x, &w, &mut y, 1.0, Write::Set);
            linear::cpu::backward_input(isa, dims, &dy, &w, &mut dx, 0.5, Write::Add);
            linear::cpu::backward_weight(isa, dims, &dy, &x, &mut dw, 1.0, Write::Add);
            [y, dx, dw].concat()
        });
    }
}

struct Loss {
    hidden: usize,
    vocab: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    targets: Vec<i32>,
}

impl Loss {
    fn new(tokens: usize, hidden: usize, vocab: usize) -> Loss {
        let mut random = Random::new((tokens * vocab) as u64);
        let (x, w) = (random.normal(tokens * hidden), random.normal(vocab * hidden));
        let target = |_| if random.below(5) == 0 { IGNORED } else { random.below(vocab) as i32 };
        Loss { hidden, vocab, x, w, targets: (0..tokens).map(target).collect() }
    }

    /// `(nll, predictions, dx, dw)`, the gradient of `w` added to ones.
    fn run(&self, isa: Isa, chunk: usize, grad_scale: f32) -> (Vec<f32>, Vec<u32>, Vec<f32>, Vec<f32>) {
        let (mut nll, mut predictions) = (vec![f32::NAN; self.targets.len()], vec![u32::MAX; self.targets.len()]);
        let (mut dx, mut dw) = (vec![f32::NAN; self.x.len()], vec![1.0; self.w.len()]);
        let output =
            Output { nll: &mut nll, predictions: Some(&mut predictions), dx: Some(&mut dx), dw: Some(&mut dw) };
        cross_entropy::cpu::run(isa, &self.job(chunk, grad_scale), output, &mut self.logits(chunk));
        (nll, predictions, dx, dw)
    }

    /// What an earlier job may have left.
    fn logits(&self, chunk: usize) -> Vec<f32> {
        vec![f32::NAN; cross_entropy::logits_len(self.vocab, self.targets.len(), chunk)]
    }

    fn job(&self, chunk: usize, grad_scale: f32) -> Job<'_> {
        let Loss { hidden, vocab, x, w, targets } = self;
        Job { hidden: *hidden, vocab: *vocab, x, w, targets, chunk, grad_scale }
    }
}

/// Losses, predictions and both gradients, in chunks that divide nothing.
pub(crate) fn cross_entropy(isa: Isa) {
    for (tokens, hidden, vocab, chunk) in [(1, 8, 1, 1), (1, 16, 50, 64), (37, 24, 97, 10), (70, 32, 513, 33)] {
        let loss = Loss::new(tokens, hidden, vocab);
        let (nll, predictions, dx, dw) = loss.run(isa, chunk, 1.0);
        let exact = cross_entropy::reference::run::<f64>(hidden, vocab, &cast(&loss.x), &cast(&loss.w), &loss.targets);
        let plain = cross_entropy::reference::run::<f32>(hidden, vocab, &loss.x, &loss.w, &loss.targets);
        let what = |part: &str| label(isa, &format!("{part} of {tokens}×{hidden}×{vocab}"));
        close(&what("nll"), &nll, &plain.nll, &exact.nll, 2.0);
        close(&what("dx"), &dx, &plain.dx, &exact.dx, 3.0);
        let one_more = |v: &f64| v + 1.0;
        let (sum_exact, sum_plain): (Vec<f64>, Vec<f32>) =
            (exact.dw.iter().map(one_more).collect(), plain.dw.iter().map(|v| v + 1.0).collect());
        close(&what("dw"), &dw, &sum_plain, &sum_exact, 3.0);
        assert_eq!(predictions, exact.predictions, "{}", what("predictions"));
        let mut alone = vec![f32::NAN; tokens];
        let output = Output { nll: &mut alone, predictions: None, dx: None, dw: None };
        cross_entropy::cpu::run(isa, &loss.job(chunk, 1.0), output, &mut loss.logits(chunk));
        close(&what("nll without gradients"), &alone, &plain.nll, &exact.nll, 2.0);
    }
}

/// The number of threads changes no bit; the gradient scale is exact for powers of two.
pub(crate) fn cross_entropy_threads(isa: Isa) {
    let loss = Loss::new(300, 48, 700);
    same_bits_on_any_threads(&label(isa, "cross-entropy"), || {
        let (nll, _, dx, dw) = loss.run(isa, 128, 1.0);
        [nll, dx, dw].concat()
    });
    let ((_, _, whole, _), (_, _, half, _)) = (loss.run(isa, 128, 1.0), loss.run(isa, 128, 0.5));
    assert!(whole.iter().zip(&half).all(|(w, h)| *w == 2.0 * h), "{}", label(isa, "gradient scale"));
}
