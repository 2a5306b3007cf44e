//! Q8_0, GGUF's weights in 8 bits (`ggml-quants.c`): blocks of 32, each a step d in f16 and 32 whole numbers q; a weight is
//! d · q. In memory as in a file, so that a product reads a single stream.

pub(crate) mod cpu;
#[cfg(test)]
pub(crate) mod reference;

use crate::linear::{Dims, FEW_ROWS, Write};
use crate::memory::{Arena, Numbers};
use crate::{expect_len, simd::Isa};
use std::ops::Range;

/// Weights that share one step.
pub const BLOCK: usize = 32;
/// Bytes of a block.
pub const BYTES: usize = 2 + BLOCK;

/// Weights in 8 bits each.
#[derive(Debug)]
pub struct Q8_0 {
    blocks: Numbers<u8>,
}

/// Quantises whole blocks into memory of `arena`; nothing where the system has none left.
///
/// Panics when the weights are not whole blocks.
pub fn quantize(arena: &Arena, values: &[f32]) -> Option<Q8_0> {
    let mut blocks = arena.zeros(bytes_of(values.len()))?;
    pack(values, &mut blocks);
    Some(Q8_0 { blocks })
}

/// Writes the blocks of `values`.
///
/// Panics when the weights are not whole blocks, or `to` does not hold exactly theirs.
pub fn pack(values: &[f32], to: &mut [u8]) {
    expect_len("blocks", to.len(), bytes_of(values.len()));
    cpu::pack(Isa::best(), values, to);
}

/// Bytes of this many weights.
///
/// Panics when they are not whole blocks.
pub fn bytes_of(values: usize) -> usize {
    assert!(values.is_multiple_of(BLOCK), "kernels: {values} weights are not whole blocks of {BLOCK}");
    values / BLOCK * BYTES
}

/// `y (+)= scale · x · wᵀ` with at most [`FEW_ROWS`] rows of x, at the speed the blocks can be read.
pub fn linear(dims: Dims, x: &[f32], w: &Q8_0, y: &mut [f32], scale: f32, write: Write) {
    expect_len("x", x.len(), dims.rows * dims.inputs);
    expect_len("w", w.len(), dims.outputs * dims.inputs);
    expect_len("y", y.len(), dims.rows * dims.outputs);
    assert!(dims.rows <= FEW_ROWS && dims.inputs.is_multiple_of(BLOCK), "kernels: {dims:?} over blocks of 8 bits");
    cpu::linear(Isa::best(), dims, x, &w.blocks, y, scale, write);
}

impl Q8_0 {
    /// Writes the weights of `range` to `out`, which has the range's length.
    ///
    /// Panics when the range is not inside the weights or not whole blocks.
    pub fn dequantize_into(&self, range: Range<usize>, out: &mut [f32]) {
        expect_len("out", out.len(), range.len());
        cpu::unpack(Isa::best(), &self.blocks[bytes_of(range.start)..bytes_of(range.end)], out);
    }

    /// Number of weights.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether a matrix is empty")]
    pub fn len(&self) -> usize {
        self.blocks.len() / BYTES * BLOCK
    }

    /// Bytes the quantised weights take.
    pub fn bytes(&self) -> usize {
        self.blocks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn packed(values: &[f32]) -> Vec<u8> {
        let mut blocks = vec![0; bytes_of(values.len())];
        pack(values, &mut blocks);
        blocks
    }

    #[test]
    fn by_hand() {
        let mut block = [0f32; BLOCK];
        (block[0], block[1], block[2], block[3]) = (-254.0, 127.0, 3.0, 0.9);
        let out = packed(&block);
        assert_eq!(out[..2], f16::from_f32(2.0).to_le_bytes());
        assert_eq!(
            out[2..6].iter().map(|q| *q as i8).collect::<Vec<_>>(),
            [-127, 64, 2, 0],
            "halves go away from zero"
        );
    }

    #[test]
    fn a_block_of_zeros_and_one_of_tiny_numbers() {
        for tiny in [0.0, 1e-30] {
            assert_eq!(packed(&[tiny; BLOCK])[..2], [0, 0], "{tiny}");
        }
    }

    #[test]
    #[should_panic(expected = "not whole blocks")]
    fn part_of_a_block() {
        packed(&[1.0; 33]);
    }
}
