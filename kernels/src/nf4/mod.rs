//! NF4, the 4-bit NormalFloat of QLoRA (Dettmers et al. 2023), with double quantisation, bit for bit as bitsandbytes
//! stores it: blocks of 64 weights share one scale, blocks of 256 scales are stored in 8 bits.

pub(crate) mod code;
pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};
use std::ops::Range;

/// Weights that share one scale.
pub const BLOCK: usize = 64;
/// Scales that share one second-level scale.
pub const SCALE_BLOCK: usize = 256;

/// Weights in 4 bits each.
#[derive(Clone, Debug, PartialEq)]
pub struct Nf4 {
    /// Two weights per byte, the first in the high half; code indices.
    pub packed: Vec<u8>,
    /// One code index per block of [`BLOCK`] weights.
    pub absmax: Vec<u8>,
    /// Second-level scales, one per [`SCALE_BLOCK`] first-level ones.
    pub absmax_scale: Vec<f32>,
    /// Mean of the first-level scales, added back after the second level.
    pub offset: f32,
    /// Number of weights.
    pub len: usize,
}

/// Quantises weights; the last block may be short.
pub fn quantize(values: &[f32]) -> Nf4 {
    cpu::quantize(Isa::best(), values)
}

impl Nf4 {
    /// Writes the weights of `range` to `out`, which has the range's length.
    ///
    /// Panics when the range is not inside the weights.
    pub fn dequantize_into(&self, range: Range<usize>, out: &mut [f32]) {
        assert!(range.end <= self.len, "kernels: weights {range:?} of {} were asked for", self.len);
        expect_len("out", out.len(), range.len());
        cpu::dequantize(Isa::best(), self, range.start, out);
    }

    /// Bytes the quantised weights take.
    pub fn bytes(&self) -> usize {
        self.packed.len() + self.absmax.len() + (self.absmax_scale.len() + 1) * size_of::<f32>()
    }

    /// The scale of block `block`.
    fn scale(&self, block: usize) -> f32 {
        code::dynamic()[self.absmax[block] as usize] * self.absmax_scale[block / SCALE_BLOCK] + self.offset
    }
}
