//! Numbers computed by PyTorch and bitsandbytes.

use super::{cast, label};
use crate::attention::{Mask, Pattern, Patterns};
use crate::simd::Isa;
use crate::{adamw, nf4};
use safetensors::SafeTensors;

const ADAMW: &[u8] = include_bytes!("../../tests/fixtures/adamw.safetensors");
const ADAMW_8BIT: &[u8] = include_bytes!("../../tests/fixtures/adamw_8bit.safetensors");
const MASKS: &[u8] = include_bytes!("../../tests/fixtures/masks.safetensors");
const NF4: &[u8] = include_bytes!("../../tests/fixtures/nf4.safetensors");

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let data = file.tensor(name).expect("a tensor of the fixture").data().to_vec();
    data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn bytes(file: &SafeTensors, name: &str) -> Vec<u8> {
    file.tensor(name).expect("a tensor of the fixture").data().to_vec()
}

/// Four steps of `torch.optim.AdamW` with gradients clipped to norm 1, within two roundings per step.
pub(crate) fn adamw_steps(isa: Isa) {
    let file = SafeTensors::deserialize(ADAMW).expect("the fixture");
    let mut param = floats(&file, "param0");
    let (mut m, mut v) = (vec![0.0; param.len()], vec![0.0; param.len()]);
    for step in 1..=4u64 {
        let grad = floats(&file, &format!("grad{}", step - 1));
        let norm = crate::reduce::sum_of_squares(&grad).sqrt();
        let expected_norm = f64::from(floats(&file, &format!("norm{}", step - 1))[0]);
        assert!((norm - expected_norm).abs() < 1e-6 * norm, "norm {norm}, PyTorch {expected_norm}");
        // clip_grad_norm_: max_norm / (norm + 1e-6), at most 1
        let grad_scale = (1.0 / (norm + 1e-6)).min(1.0);
        let hyper = adamw::Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step, grad_scale };
        adamw::cpu::step(isa, &hyper, &mut param, &grad, &mut m, &mut v);
        for (got, expected) in param.iter().zip(floats(&file, &format!("param{step}"))) {
            let bound = 2.0 * f32::EPSILON * expected.abs().max(0.02) * step as f32;
            assert!((got - expected).abs() <= bound, "{}: {got}, PyTorch {expected}", label(isa, "adamw"));
        }
    }
}

/// Four steps of bitsandbytes' AdamW with moments of 8 bits, each from the state that bitsandbytes left: the same parameters within
/// three roundings, the same scales, and moments stored at least as near, for its own search for codes is not exact.
pub(crate) fn adamw_8bit_steps(isa: Isa) {
    use adamw::eight_bit::{Moments, tables};
    let file = SafeTensors::deserialize(ADAMW_8BIT).expect("the fixture");
    assert_eq!(tables(), [floats(&file, "map1"), floats(&file, "map2")].concat());
    let mut param = floats(&file, "param0");
    let mut state = Moments::zeros(param.len());
    for step in 1..=4u64 {
        let grad = floats(&file, &format!("grad{}", step - 1));
        let hyper =
            adamw::Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step, grad_scale: 1.0 };
        let [mut m, mut v] = adamw::reference::unpack::<f64>(&state);
        adamw::reference::step(&hyper, &mut cast::<f64>(&param), &cast(&grad), &mut m, &mut v);
        adamw::cpu::step_8bit(isa, &hyper, &mut param, &grad, &mut state);
        let expected = floats(&file, &format!("param{step}"));
        for (got, expected) in param.iter().zip(&expected) {
            let bound = 3.0 * f32::EPSILON * expected.abs().max(0.02);
            assert!((got - expected).abs() <= bound, "step {step}: {got}, bitsandbytes {expected}");
        }
        let theirs = Moments {
            m: bytes(&file, &format!("codes1.{step}")),
            v: bytes(&file, &format!("codes2.{step}")),
            scales: [1, 2].map(|moment| floats(&file, &format!("scales{moment}.{step}"))),
        };
        for (ours, theirs) in state.scales.iter().flatten().zip(theirs.scales.iter().flatten()) {
            assert!((ours - theirs).abs() <= 2e-6 * theirs, "a scale of {ours}, bitsandbytes {theirs}");
        }
        let stored = [&state, &theirs].map(adamw::reference::unpack::<f64>);
        for (which, exact) in [m, v].iter().enumerate() {
            for (i, exact) in exact.iter().enumerate() {
                let [ours, theirs] = [0, 1].map(|whose: usize| (stored[whose][which][i] - exact).abs());
                // Between two values roundings decide.
                let rounding = 1e-6 * (exact.abs() + f64::from(grad[i]).abs());
                assert!(ours <= theirs + rounding, "step {step}, moment {which}[{i}]: {ours:e}, {theirs:e}");
            }
        }
        (param, state) = (expected, theirs);
    }
}

/// The same codes as bitsandbytes, scales to the last rounding, and the same weights back.
pub(crate) fn nf4_codes(isa: Isa) {
    let file = SafeTensors::deserialize(NF4).expect("the fixture");
    let x = floats(&file, "x");
    let quantized = nf4::cpu::quantize(isa, &x);
    assert_eq!(quantized.packed, bytes(&file, "double.packed"));
    assert_eq!(quantized.absmax, bytes(&file, "double.absmax_u8"));
    let near = |a: f32, b: f32| (a - b).abs() <= 2.0 * f32::EPSILON * b.abs();
    assert!(near(quantized.offset, floats(&file, "double.offset")[0]));
    let scales = floats(&file, "double.state2_absmax");
    assert!(quantized.absmax_scale.iter().zip(&scales).all(|(&a, &b)| (a - b).abs() <= 1e-6), "{scales:?}");
    let expected = floats(&file, "double.dequantized");
    for range in [0..x.len(), 0..1, 63..65, 100..777, 1..2, 5..5] {
        let mut out = vec![f32::NAN; range.len()];
        nf4::cpu::dequantize(isa, &quantized, range.start, &mut out);
        let worst = out.iter().zip(&expected[range]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-6, "{}: off by {worst}", label(isa, "nf4"));
    }
}

/// Who sees whom in the masks that PyTorch's results were computed with: everything before, a window of 8 with 2 sinks,
/// every third block of 4 with the two nearest, groups of 12 with half of the heads shifted, two heads of each kind.
#[test]
fn masks() {
    let file = SafeTensors::deserialize(MASKS).expect("the fixture");
    let window = Pattern::Window { window: 8, sink: 2 };
    let group = |shift| Pattern::Group { size: 12, shift };
    let shifted = [group(0), group(0), group(6), group(6)];
    let duo = [Pattern::Full, Pattern::Full, window, window];
    same_mask(&file, "full", Pattern::Full.into());
    same_mask(&file, "window_sink", window.into());
    same_mask(&file, "strided", Pattern::Strided { block: 4, stride: 3, local: 2 }.into());
    same_mask(&file, "shifted_groups", Patterns::PerHead(&shifted));
    same_mask(&file, "duo", Patterns::PerHead(&duo));
}

fn same_mask(file: &SafeTensors, name: &str, patterns: Patterns) {
    let expected = bytes(file, &format!("{name}.mask"));
    let t = 48;
    let mask = Mask { patterns, query_row: 0, key_row: 0, starts: &vec![0; t] };
    for (n, &seen) in expected.iter().enumerate() {
        let (head, i, j) = (n / (t * t), n / t % t, n % t);
        assert_eq!(mask.visible(head, i, j), seen == 1, "{name}, head {head}, query {i}, key {j}");
    }
}

/// Three documents: nothing is seen across their borders.
#[test]
fn documents() {
    let ids = bytes(&SafeTensors::deserialize(MASKS).expect("the fixture"), "documents");
    let document = |row: usize| ids[row * 8]; // little-endian i64, all below 256
    let t = ids.len() / 8;
    let starts: Vec<usize> = (0..t).map(|i| (0..t).find(|&j| document(j) == document(i)).unwrap_or(i)).collect();
    let mask = Mask { patterns: Pattern::Full.into(), query_row: 0, key_row: 0, starts: &starts };
    for (i, j) in (0..t * t).map(|n| (n / t, n % t)) {
        assert_eq!(mask.visible(0, i, j), j <= i && document(i) == document(j), "query {i}, key {j}");
    }
}

/// The code tables are those of bitsandbytes.
#[test]
fn nf4_tables() {
    let file = SafeTensors::deserialize(NF4).expect("the fixture");
    assert_eq!(nf4::code::NF4[..], floats(&file, "code"));
    assert_eq!(nf4::code::dynamic()[..], floats(&file, "double.state2_code"));
}

/// Lengths that fill neither a block nor a byte; the error of a weight is at most half the widest code gap.
pub(crate) fn nf4_any_length(isa: Isa) {
    for len in [0, 1, 2, 63, 64, 65, 1000, 20_001] {
        let x = super::Random::new(len as u64).normal(len);
        let quantized = nf4::cpu::quantize(isa, &x);
        assert_eq!(quantized.bytes(), len.div_ceil(2) + len.div_ceil(64) + 4 * (len.div_ceil(64 * 256) + 1));
        let halves: Vec<u8> = quantized.packed.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        assert_eq!(halves[..len], nf4::reference::codes(&nf4::code::NF4, nf4::BLOCK, &x), "codes of {len} weights");
        let mut back = vec![f32::NAN; len];
        quantized.dequantize_into(0..len, &mut back);
        for (block, (x, back)) in x.chunks(64).zip(back.chunks(64)).enumerate() {
            let largest = x.iter().fold(0f32, |max, v| max.max(v.abs()));
            for (x, back) in x.iter().zip(back) {
                assert!((x - back).abs() <= 0.2 * largest + 1e-6, "block {block} of {len}: {x} became {back}");
            }
        }
    }
}
