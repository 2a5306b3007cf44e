//! Elementwise and row-wise ops.

use super::{Random, cast, close, label, same_bits_on_any_threads};
use crate::simd::Isa;
use crate::simd::math::slices;
use crate::{adamw, bias, embedding, nf4, reduce, rms_norm, rope, swiglu};

/// Rows and widths on both sides of vector and task borders.
const ROWS: [(usize, usize); 6] = [(1, 1), (1, 130), (3, 16), (65, 33), (129, 64), (200, 128)];

/// Forward and backward, the latter added to what is there.
pub(crate) fn rms_norm(isa: Isa) {
    const EPS: f32 = 1e-5;
    for (rows, hidden) in ROWS {
        let mut random = Random::new(rows as u64);
        let (x, weight, dy) = (random.normal(rows * hidden), random.normal(hidden), random.normal(rows * hidden));
        let (x64, weight64, dy64): (Vec<f64>, Vec<f64>, Vec<f64>) = (cast(&x), cast(&weight), cast(&dy));
        let what = |part: &str| label(isa, &format!("rms_norm {part} of {rows}×{hidden}"));
        let mut y = vec![f32::NAN; x.len()];
        rms_norm::cpu::forward(isa, &x, &weight, EPS, &mut y);
        let eps = f64::from(EPS);
        let plain = rms_norm::reference::forward(&x, &weight, eps);
        close(&what("y"), &y, &plain, &rms_norm::reference::forward(&x64, &weight64, eps), 2.0);
        let (mut dx, mut dweight) = (vec![1.0; x.len()], vec![1.0; hidden]);
        rms_norm::cpu::backward(isa, &x, &weight, EPS, &dy, &mut dx, Some(&mut dweight));
        let (dx_plain, dweight_plain) = rms_norm::reference::backward(&x, &weight, eps, &dy);
        let (dx_exact, dweight_exact) = rms_norm::reference::backward(&x64, &weight64, eps, &dy64);
        close(&what("dx"), &dx, &plus_one(&dx_plain), &plus_one_exact(&dx_exact), 3.0);
        close(&what("dweight"), &dweight, &plus_one(&dweight_plain), &plus_one_exact(&dweight_exact), 3.0);
        let mut frozen = vec![1.0; x.len()];
        rms_norm::cpu::backward(isa, &x, &weight, EPS, &dy, &mut frozen, None);
        assert_eq!(frozen, dx, "{}", what("dx with a frozen weight"));
    }
}

/// Forward and backward, both added to what is there; one path on every instruction set.
#[test]
fn bias_and_its_gradient() {
    for (rows, width) in ROWS {
        let mut random = Random::new(rows as u64);
        let (b, y, dy) = (random.normal(width), random.normal(rows * width), random.normal(rows * width));
        let mut fast = y.clone();
        bias::forward(&b, &mut fast);
        let exact = bias::reference::forward(&cast::<f64>(&b), &cast(&y));
        close(&format!("bias y of {rows}×{width}"), &fast, &bias::reference::forward(&b, &y), &exact, 2.0);
        let mut db = vec![1.0; width];
        bias::backward(&dy, &mut db);
        let (plain, exact) =
            (bias::reference::backward(&dy, width), bias::reference::backward(&cast::<f64>(&dy), width));
        close(&format!("dbias of {rows}×{width}"), &db, &plus_one(&plain), &plus_one_exact(&exact), 3.0);
    }
}

fn plus_one(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| v + 1.0).collect()
}

fn plus_one_exact(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v + 1.0).collect()
}

/// Both directions at positions into the millions; backward undoes forward.
pub(crate) fn rope(isa: Isa) {
    for (heads, half, tokens) in [(1, 1, 1), (3, 8, 70), (2, 32, 33), (1, 20, 40)] {
        let inv_freq: Vec<f64> = (0..half).map(|i| 10000f64.powf(-(i as f64) / half as f64)).collect();
        let positions: Vec<u32> = (0..tokens).map(|t| (t * t * 2477) as u32).collect();
        let x = Random::new(3).normal(tokens * heads * half * 2);
        let tables = rope::Tables::new(&inv_freq, 1.25, &positions);
        for (direction, sign) in [(rope::Direction::Forward, 1.0), (rope::Direction::Backward, -1.0)] {
            let (mut fast, mut plain, mut exact) = (x.clone(), x.clone(), cast::<f64>(&x));
            rope::cpu::apply(isa, &tables, heads, &mut fast, direction);
            rope::reference::apply(&inv_freq, 1.25, &positions, heads, &mut plain, sign);
            rope::reference::apply(&inv_freq, 1.25, &positions, heads, &mut exact, sign);
            close(&label(isa, &format!("rope {direction:?}")), &fast, &plain, &exact, 2.0);
        }
    }
}

/// Ordinary and extreme gates.
pub(crate) fn swiglu(isa: Isa) {
    for len in [1, 15, 16, 1000, 20_000] {
        let mut random = Random::new(len as u64);
        let (mut gate, up, dout) = (random.normal(len), random.normal(len), random.normal(len));
        gate.iter_mut().step_by(7).for_each(|g| *g *= 60.0);
        let (gate64, up64, dout64): (Vec<f64>, Vec<f64>, Vec<f64>) = (cast(&gate), cast(&up), cast(&dout));
        let what = |part: &str| label(isa, &format!("swiglu {part} of {len}"));
        let mut out = vec![f32::NAN; len];
        swiglu::cpu::forward(isa, &gate, &up, &mut out);
        let plain = swiglu::reference::forward(&gate, &up);
        close(&what("out"), &out, &plain, &swiglu::reference::forward(&gate64, &up64), 2.0);
        let (dgate_plain, dup_plain) = swiglu::reference::backward(&dout, &gate, &up);
        let (dgate_exact, dup_exact) = swiglu::reference::backward(&dout64, &gate64, &up64);
        let (mut dgate, mut dup) = (gate.clone(), up.clone());
        swiglu::cpu::backward(isa, &dout, &mut dgate, &mut dup);
        close(&what("dgate"), &dgate, &dgate_plain, &dgate_exact, 3.0);
        close(&what("dup"), &dup, &dup_plain, &dup_exact, 3.0);
    }
}

/// Lookup is exact; repeated tokens add up in order.
#[test]
fn embedding_adds_up() {
    for (tokens, vocab, hidden) in [(1, 1, 1), (50, 7, 33), (300, 20, 130)] {
        let mut random = Random::new(9);
        let ids: Vec<u32> = (0..tokens).map(|_| random.below(vocab) as u32).collect();
        let (table, dx) = (random.normal(vocab * hidden), random.normal(tokens * hidden));
        let mut x = vec![f32::NAN; tokens * hidden];
        embedding::forward(&ids, &table, &mut x);
        assert_eq!(x, embedding::reference::forward(&ids, hidden, &table));
        let (mut fast, mut plain) = (table.clone(), table.clone());
        embedding::backward(&ids, &dx, &mut fast);
        embedding::reference::backward(&ids, hidden, &dx, &mut plain);
        assert_eq!(fast, plain);
    }
}

/// Several steps against the naive formula.
pub(crate) fn adamw(isa: Isa) {
    for len in [1, 37, 10_000] {
        let mut random = Random::new(len as u64);
        let param = random.normal(len);
        let (mut p, mut m, mut v) = (param.clone(), vec![0f32; len], vec![0f32; len]);
        let (mut pp, mut pm, mut pv) = (p.clone(), m.clone(), v.clone());
        let (mut ep, mut em, mut ev): (Vec<f64>, Vec<f64>, Vec<f64>) = (cast(&p), cast(&m), cast(&v));
        for step in 1..=3 {
            let hyper = adamw::Hyper {
                lr: 1e-2,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                grad_scale: 0.25,
            };
            let grad = random.normal(len);
            adamw::cpu::step(isa, &hyper, &mut p, &grad, &mut m, &mut v);
            adamw::reference::step(&hyper, &mut pp, &grad, &mut pm, &mut pv);
            adamw::reference::step(&hyper, &mut ep, &cast(&grad), &mut em, &mut ev);
        }
        close(&label(isa, "adamw param"), &p, &pp, &ep, 2.0);
        close(&label(isa, "adamw m"), &m, &pm, &em, 2.0);
        close(&label(isa, "adamw v"), &v, &pv, &ev, 2.0);
    }
}

/// Moments of 8 bits, step by step from the same state: parameters, and the state that a step leaves. A code may be a neighbour's
/// where f32 puts a value on the other side of a border.
pub(crate) fn adamw_8bit(isa: Isa) {
    use adamw::eight_bit::Moments;
    for len in [1, 37, 256, 700, 20_000] {
        let mut random = Random::new(len as u64);
        let (mut param, mut state) = (random.normal(len), Moments::zeros(len));
        for step in 1..=3 {
            let hyper = adamw::Hyper {
                lr: 1e-2,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                grad_scale: 0.25,
            };
            // Sizes of seven decades in a block, and numbers without a gradient.
            let size = |i: usize| if i % 11 == 5 { 0.0 } else { 10f32.powi(-((i % 8) as i32)) };
            let grad: Vec<f32> = random.normal(len).iter().enumerate().map(|(i, g)| g * size(i)).collect();
            let (mut plain, mut exact) = (param.clone(), cast::<f64>(&param));
            adamw::reference::step_8bit(&hyper, &mut plain, &grad, &mut state.clone());
            let mut expected = state.clone();
            adamw::reference::step_8bit(&hyper, &mut exact, &cast(&grad), &mut expected);
            adamw::cpu::step_8bit(isa, &hyper, &mut param, &grad, &mut state);
            close(&label(isa, "adamw_8bit param"), &param, &plain, &exact, 2.0);
            for (codes, expected) in [(&state.m, &expected.m), (&state.v, &expected.v)] {
                let far = codes.iter().zip(expected).filter(|(a, b)| a.abs_diff(**b) > 1).count();
                let other = codes.iter().zip(expected).filter(|(a, b)| a != b).count();
                assert!(far == 0 && other * 100 <= len, "{other} other codes, {far} far ones, of {len}");
            }
            for (scale, expected) in state.scales.iter().flatten().zip(expected.scales.iter().flatten()) {
                assert!((scale - expected).abs() <= 1e-6 * expected, "{scale} is not {expected}");
            }
            let lost = |(code, g): (&u8, &f32)| *code == 0 && *g != 0.0;
            assert!(!state.v.iter().zip(&grad).any(lost), "a second moment became 0");
        }
    }
}

/// The nearest value of both maps, at every border and on both sides of it, against a search through all.
#[test]
fn nearest_codes() {
    for map in [*nf4::code::dynamic(), nf4::code::dynamic_unsigned()] {
        let nearest = nf4::code::Nearest::new(&map);
        let middles = map.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
        let borders = middles.chain(map).flat_map(|x| [x.next_down().next_down(), x.next_down(), x, x.next_up()]);
        let upper_halves = (0..=0x3f80u32).flat_map(|half| [half << 16, half << 16 | 0xffff]).map(f32::from_bits);
        for x in borders.chain(upper_halves.flat_map(|x| [x, -x])).chain([-2.0, 2.0, -1.0]) {
            assert_eq!(nearest.code(x), nf4::reference::nearest(&map, f64::from(x)), "{x:e}");
        }
    }
}

/// Close to the exact sum at any length.
#[test]
fn sum_of_squares() {
    for len in [0, 1, 17, 100_000] {
        let values = Random::new(1).normal(len);
        let exact: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let got = reduce::sum_of_squares(&values);
        assert!((got - exact).abs() <= exact * 1e-12, "{got} against {exact}");
    }
}

/// The polynomial exponentials: at most 2 ulp off where the result is normal, exact at the ends.
pub(crate) fn exponential(isa: Isa) {
    for (function, exact, low, high) in [
        (slices::exp as fn(Isa, &mut [f32]), f64::exp as fn(f64) -> f64, -87.3, 87.9),
        (slices::exp2, f64::exp2, -126.0, 126.9),
    ] {
        let inputs: Vec<f32> = (0..400_001).map(|i| low + (high - low) * i as f32 / 400_000.0).collect();
        let mut outputs = inputs.clone();
        function(isa, &mut outputs);
        for (&x, &y) in inputs.iter().zip(&outputs) {
            let exact = exact(f64::from(x));
            let ulp = f64::from(exact as f32) * 2f64.powi(-23);
            assert!((f64::from(y) - exact).abs() <= 2.0 * ulp, "{x} gave {y}, not {exact}");
        }
        let mut ends = [0.0, -0.0, f32::NEG_INFINITY, f32::MIN, -1000.0, f32::NAN];
        function(isa, &mut ends);
        assert_eq!(ends[..5], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(ends[5].is_nan());
    }
}

/// The number of threads changes no bit.
pub(crate) fn threads(isa: Isa) {
    let (rows, hidden) = (1000, 96);
    let mut random = Random::new(2);
    let (x, weight, dy) = (random.normal(rows * hidden), random.normal(hidden), random.normal(rows * hidden));
    let ids: Vec<u32> = (0..rows).map(|_| random.below(30) as u32).collect();
    same_bits_on_any_threads(&label(isa, "row ops"), || {
        let (mut dx, mut dweight, mut table) = (dy.clone(), weight.clone(), vec![0.0; 30 * hidden]);
        let mut dbias = weight.clone();
        bias::backward(&dy, &mut dbias);
        rms_norm::cpu::backward(isa, &x, &weight, 1e-5, &dy, &mut dx, Some(&mut dweight));
        embedding::backward(&ids, &dx, &mut table);
        let sum = reduce::sum_of_squares(&dx);
        let hyper =
            adamw::Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 1, grad_scale: 1.0 };
        let (mut param, mut moments) = (x.clone(), adamw::eight_bit::Moments::zeros(x.len()));
        adamw::cpu::step_8bit(isa, &hyper, &mut param, &dy, &mut moments);
        let codes = moments.m.iter().chain(&moments.v).map(|&code| f32::from(code)).collect();
        [
            param,
            codes,
            moments.scales.concat(),
            dx,
            dweight,
            dbias,
            table,
            vec![sum as f32, (sum - f64::from(sum as f32)) as f32],
        ]
        .concat()
    });
}
