//! Attention: shapes, patterns, documents, offsets, gradients.

use super::{Random, cast, close, close_sum, label, same_bits_on_any_threads};
use crate::attention::{Mask, Pattern, Shape, cpu, reference};
use crate::simd::Isa;

/// Inputs of one call.
pub(super) struct Case {
    pub(super) shape: Shape,
    pub(super) scale: f32,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) dout: Vec<f32>,
}

impl Case {
    pub(super) fn new(seed: u64, queries: usize, keys: usize, heads: usize, kv_heads: usize, head_dim: usize) -> Case {
        let shape = Shape { queries, keys, heads, kv_heads, head_dim };
        let mut random = Random::new(seed);
        let (query, key) = (queries * heads * head_dim, keys * kv_heads * head_dim);
        Case {
            shape,
            scale: (head_dim as f32).powf(-0.5),
            q: random.normal(query),
            k: random.normal(key),
            v: random.normal(key),
            dout: random.normal(query),
        }
    }

    pub(super) fn forward(&self, isa: Isa, mask: &Mask) -> (Vec<f32>, Vec<f32>) {
        // Filled with NaN: every value must be written.
        let mut out = vec![f32::NAN; self.q.len()];
        let mut lse = vec![f32::NAN; self.shape.queries * self.shape.heads];
        cpu::forward(isa, &self.shape, mask, self.scale, &self.q, &self.k, &self.v, &mut out, &mut lse);
        (out, lse)
    }

    pub(super) fn backward(&self, isa: Isa, mask: &Mask, out: &[f32], lse: &[f32]) -> [Vec<f32>; 3] {
        let (mut dq, mut dk, mut dv) =
            (vec![f32::NAN; self.q.len()], vec![f32::NAN; self.k.len()], vec![f32::NAN; self.v.len()]);
        cpu::backward(
            isa,
            &self.shape,
            mask,
            self.scale,
            &self.q,
            &self.k,
            &self.v,
            out,
            lse,
            &self.dout,
            &mut dq,
            &mut dk,
            &mut dv,
        );
        [dq, dk, dv]
    }

    /// Sizes of the terms that `dq`, `dk` and `dv` are sums and differences of. `p · dp` and `p · delta` cancel exactly
    /// where one key is visible and all is added up in the naive order, and to some roundings in any other order; and `p`
    /// comes out of the stored log-sum-exp, with its rounding. A key collects from every query head of its group.
    fn terms(&self) -> [f64; 3] {
        let rms = |v: &[f32]| super::rms(&cast::<f64>(v));
        let group = (self.shape.heads / self.shape.kv_heads) as f64;
        let difference = rms(&self.dout) * rms(&self.v) * rms(&self.k).max(rms(&self.q));
        [difference, group * difference, group * rms(&self.dout)]
    }

    pub(super) fn check(&self, isa: Isa, mask: &Mask) {
        let what = |part: &str| label(isa, &format!("{part} of {:?} under {:?}", self.shape, mask));
        let (out, lse) = self.forward(isa, mask);
        let inputs = [&self.q, &self.k, &self.v, &self.dout];
        let exact: [Vec<f64>; 4] = inputs.map(|v| cast(v));
        let [q, k, v, dout] = [&exact[0][..], &exact[1], &exact[2], &exact[3]];
        let scale = f64::from(self.scale);
        let (out_exact, lse_exact) = reference::forward(&self.shape, mask, scale, [q, k, v]);
        let (out_plain, lse_plain) = reference::forward(&self.shape, mask, self.scale, [&self.q, &self.k, &self.v]);
        close(&what("out"), &out, &out_plain, &out_exact, 2.0);
        close(&what("lse"), &lse, &lse_plain, &lse_exact, 2.0);
        let fast = self.backward(isa, mask, &out, &lse);
        let exact = reference::backward(&self.shape, mask, scale, [q, k, v, dout]);
        let plain = reference::backward(&self.shape, mask, self.scale, [&self.q, &self.k, &self.v, &self.dout]);
        for (i, name) in ["dq", "dk", "dv"].into_iter().enumerate() {
            close_sum(&what(name), &fast[i], &plain[i], &exact[i], 3.0, self.terms()[i]);
        }
    }
}

pub(super) const PATTERNS: [Pattern; 19] = [
    Pattern::Full,
    Pattern::Window { window: 1, sink: 0 },
    Pattern::Window { window: 7, sink: 2 },
    Pattern::Window { window: 64, sink: 4 },
    Pattern::Window { window: 65, sink: 70 },
    Pattern::Window { window: 0, sink: 3 },
    Pattern::Strided { block: 4, stride: 3, local: 2 },
    Pattern::Strided { block: 64, stride: 2, local: 1 },
    Pattern::Strided { block: 7, stride: 5, local: 3 },
    Pattern::Strided { block: 1, stride: 4, local: 1 },
    Pattern::Strided { block: 16, stride: 1, local: 1 },
    Pattern::Group { size: 12, shift: 0 },
    Pattern::Group { size: 64, shift: 32 },
    Pattern::Group { size: 51, shift: 25 },
    Pattern::Group { size: 1, shift: 7 },
    Pattern::Past { size: 12, nearest: 1, farthest: 1 },
    Pattern::Past { size: 40, nearest: 2, farthest: usize::MAX },
    Pattern::Beyond { window: 1 },
    Pattern::Beyond { window: 37 },
];

pub(super) fn square(pattern: Pattern, starts: &[usize]) -> Mask<'_> {
    Mask { patterns: pattern.into(), query_row: 0, key_row: 0, starts }
}

/// Lengths around every block border, head dimensions that fill no register, one head, many heads, shared heads.
pub(crate) fn shapes(isa: Isa) {
    for (t, heads, kv_heads, head_dim) in [
        (1, 1, 1, 1),
        (1, 4, 2, 32),
        (2, 1, 1, 16),
        (5, 3, 1, 24),
        (16, 2, 2, 64),
        (17, 2, 1, 128),
        (63, 1, 1, 80),
        (64, 2, 2, 32),
        (65, 3, 3, 7),
        (127, 4, 1, 16),
        (130, 2, 2, 33),
        (193, 6, 2, 64),
    ] {
        let case = Case::new(t as u64, t, t, heads, kv_heads, head_dim);
        case.check(isa, &square(Pattern::Full, &vec![0; t]));
    }
}

/// Every pattern over several blocks.
pub(crate) fn patterns(isa: Isa) {
    let case = Case::new(11, 300, 300, 2, 1, 32);
    for pattern in PATTERNS {
        case.check(isa, &square(pattern, &[0; 300]));
    }
}

/// Document borders inside, on and around blocks; documents of one token.
pub(crate) fn documents(isa: Isa) {
    let t = 210;
    let case = Case::new(12, t, t, 2, 2, 16);
    for borders in [&[1, 2, 3, 70][..], &[64, 128], &[63, 65, 130, 131, 209], &[100]] {
        let starts = starts(t, borders);
        for pattern in PATTERNS {
            case.check(isa, &square(pattern, &starts));
        }
    }
}

pub(super) fn starts(t: usize, borders: &[usize]) -> Vec<usize> {
    (0..t).map(|i| borders.iter().copied().filter(|&b| b <= i).max().unwrap_or(0)).collect()
}

/// Queries and keys as pieces of a longer sequence: decoding, prefill in chunks, keys of another piece, none visible.
pub(crate) fn offsets(isa: Isa) {
    for (queries, keys, query_row, key_row, start) in [
        (1, 100, 99, 0, 0),
        (1, 300, 299, 0, 120),
        (3, 300, 297, 0, 0),
        (70, 200, 130, 0, 10),
        (70, 90, 130, 60, 50),
        (40, 70, 200, 0, 0),
        (33, 40, 0, 100, 0),
        (20, 30, 90, 80, 100),
        (5, 1, 3, 4, 0),
        (4, 0, 3, 0, 0),
    ] {
        let case = Case::new(13, queries, keys, 4, 2, 32);
        for pattern in PATTERNS {
            // Rows before the start of a document belong to an earlier one, which starts at 0.
            let start_of = |i: usize| if query_row + i >= start { start } else { 0 };
            let starts: Vec<usize> = (0..queries).map(start_of).collect();
            case.check(isa, &Mask { patterns: pattern.into(), query_row, key_row, starts: &starts });
        }
    }
}

/// Long enough for several rounds of the backward pass's schedule.
pub(crate) fn long(isa: Isa) {
    let case = Case::new(15, 1100, 1100, 2, 1, 16);
    case.check(isa, &square(Pattern::Full, &[0; 1100]));
    for pattern in [Pattern::Window { window: 100, sink: 4 }, Pattern::Strided { block: 64, stride: 3, local: 2 }] {
        case.check(isa, &square(pattern, &starts(1100, &[700])));
    }
}

/// A NaN among the inputs a query uses reaches its results, few queries or many, and no other query's.
pub(crate) fn not_a_number(isa: Isa) {
    for queries in [3, 70] {
        let mut case = Case::new(18, queries, queries, 2, 1, 16);
        case.q[2 * 16] = f32::NAN; // query 1, head 0
        let (out, lse) = case.forward(isa, &square(Pattern::Full, &vec![0; queries]));
        assert!(out[32..48].iter().all(|o| o.is_nan()) && lse[2].is_nan(), "{}", label(isa, "NaN query"));
        assert!(out[..32].iter().chain(&out[48..]).all(|o| o.is_finite()), "{}", label(isa, "others"));
    }
}

/// The number of threads changes no bit.
pub(crate) fn threads(isa: Isa) {
    let case = Case::new(16, 700, 700, 6, 3, 32);
    let starts = starts(700, &[130, 400]);
    let strided = Pattern::Strided { block: 16, stride: 3, local: 2 };
    for pattern in [Pattern::Full, Pattern::Window { window: 64, sink: 4 }, strided] {
        same_bits_on_any_threads(&label(isa, "attention"), || {
            let mask = square(pattern, &starts);
            let (out, lse) = case.forward(isa, &mask);
            let gradients = case.backward(isa, &mask, &out, &lse);
            [out, lse].into_iter().chain(gradients).flatten().collect()
        });
    }
    // One query against keys that are cut into pieces.
    let case = Case::new(19, 1, 3000, 4, 2, 32);
    same_bits_on_any_threads(&label(isa, "decoding"), || {
        let mask = Mask { patterns: Pattern::Full.into(), query_row: 2999, key_row: 0, starts: &[7] };
        let (out, lse) = case.forward(isa, &mask);
        [out, lse].concat()
    });
}

/// The reference's gradients against central differences of its own forward pass, in `f64`.
#[test]
fn reference_gradients_are_those_of_its_forward() {
    let case = Case::new(17, 9, 9, 2, 1, 4);
    let starts = starts(9, &[4]);
    let mask = square(Pattern::Window { window: 3, sink: 1 }, &starts);
    let mut inputs: [Vec<f64>; 3] = [cast(&case.q), cast(&case.k), cast(&case.v)];
    let dout: Vec<f64> = cast(&case.dout);
    let loss = |inputs: &[Vec<f64>; 3]| -> f64 {
        let (out, _) = reference::forward(&case.shape, &mask, 0.5, [&inputs[0], &inputs[1], &inputs[2]]);
        out.iter().zip(&dout).map(|(o, d)| o * d).sum()
    };
    let gradients = reference::backward(&case.shape, &mask, 0.5, [&inputs[0], &inputs[1], &inputs[2], &dout]);
    for which in 0..3 {
        for i in 0..inputs[which].len() {
            let (value, step) = (inputs[which][i], 1e-5);
            inputs[which][i] = value + step;
            let above = loss(&inputs);
            inputs[which][i] = value - step;
            let difference = (above - loss(&inputs)) / (2.0 * step);
            inputs[which][i] = value;
            let gradient = gradients[which][i];
            assert!((difference - gradient).abs() < 1e-8, "input {which}[{i}]: {difference} against {gradient}");
        }
    }
}
