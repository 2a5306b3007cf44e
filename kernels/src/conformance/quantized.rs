//! Weights in 8 bits.

use super::{Random, cast, close, label, same_bits_on_any_threads};
use crate::linear::{self, Dims, Write};
use crate::q8_0::{self, BLOCK};
use crate::simd::Isa;

/// Blocks of sizes from subnormal steps to large ones, packed by this instruction set.
fn packed(isa: Isa, values: usize, seed: u64) -> (Vec<f32>, Vec<u8>) {
    let mut random = Random::new(seed);
    let mut w = random.normal(values);
    w.chunks_mut(BLOCK).for_each(|block| {
        let size = 2f32.powi(random.below(30) as i32 - 20);
        block.iter_mut().for_each(|w| *w *= size);
    });
    let mut blocks = vec![0; q8_0::bytes_of(values)];
    q8_0::cpu::pack(isa, &w, &mut blocks);
    (w, blocks)
}

/// Every set packs the same bytes, half a step off at most, and unpacks exactly what they stand for.
pub(crate) fn unpacked(isa: Isa) {
    for values in [0, BLOCK, 3 * BLOCK, 1031 * BLOCK] {
        let (w, blocks) = packed(isa, values, 1);
        assert_eq!(blocks, packed(Isa::Portable, values, 1).1, "{}", label(isa, "blocks"));
        let mut out = vec![f32::NAN; values];
        q8_0::cpu::unpack(isa, &blocks, &mut out);
        assert_eq!(out, q8_0::reference::unpack::<f32>(&blocks), "{}", label(isa, "weights"));
        for (w, out) in w.chunks(BLOCK).zip(out.chunks(BLOCK)) {
            let step = w.iter().fold(0f32, |most, w| most.max(w.abs())) / 127.0;
            // The step itself is rounded: relative to 127 of them by 2⁻¹¹, and absolutely below f16's normal numbers.
            let most = 0.5 * step + 127.0 * (step * 2f32.powi(-11) + 2f32.powi(-25));
            assert!(w.iter().zip(out).all(|(w, out)| (w - out).abs() <= most), "{}: {w:?}", label(isa, "error"));
        }
    }
}

/// Few rows of x, enough weights for one task and for many.
pub(crate) fn linear(isa: Isa) {
    for (rows, inputs, outputs) in [(1, 32, 1), (1, 96, 7), (3, 64, 50), (4, 160, 1000), (1, 0, 3), (0, 32, 4)] {
        let dims = Dims { rows, inputs, outputs };
        let (_, blocks) = packed(isa, inputs * outputs, 2);
        let x = Random::new(3).normal(rows * inputs);
        let exact = linear::reference::forward::<f64>(dims, &cast(&x), &q8_0::reference::unpack(&blocks));
        let plain = linear::reference::forward::<f32>(dims, &x, &q8_0::reference::unpack(&blocks));
        for (scale, write, before) in [(1.0, Write::Set, f32::NAN), (0.5, Write::Add, 3.0)] {
            let mut fast = vec![before; exact.len()];
            q8_0::cpu::linear(isa, dims, &x, &blocks, &mut fast, scale, write);
            let base = if write == Write::Add { before } else { 0.0 };
            let expected: Vec<f64> = exact.iter().map(|y| y * f64::from(scale) + f64::from(base)).collect();
            let same: Vec<f32> = plain.iter().map(|y| y * scale + base).collect();
            close(&label(isa, &format!("y of {dims:?} {write:?}")), &fast, &same, &expected, 2.0);
        }
    }
}

/// The number of threads changes no bit.
pub(crate) fn threads(isa: Isa) {
    let dims = Dims { rows: 2, inputs: 128, outputs: 2100 };
    let (_, blocks) = packed(isa, dims.inputs * dims.outputs, 4);
    let x = Random::new(5).normal(dims.rows * dims.inputs);
    same_bits_on_any_threads(&label(isa, "8 bits"), || {
        let mut y = vec![0.0; dims.rows * dims.outputs];
        q8_0::cpu::linear(isa, dims, &x, &blocks, &mut y, 1.0, Write::Set);
        y
    });
}
