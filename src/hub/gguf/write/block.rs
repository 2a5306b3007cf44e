//! Q8_0, as ggml's reference quantises it (`quantize_row_q8_0_ref`): q = round(x ÷ d), d = max |x| ÷ 127 kept as f16.

use half::f16;

use crate::hub::export::BLOCK;

/// Bytes of a block: the step and its 32 values.
pub(super) const BYTES: usize = 2 + BLOCK;

/// Appends whole blocks.
pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) {
    for block in values.as_chunks::<BLOCK>().0 {
        let step = block.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
        // The quotient uses the step before it is rounded, as ggml's does.
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        out.extend(f16::from_f32(step).to_le_bytes());
        out.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut block = [0f32; BLOCK];
        (block[0], block[1], block[2], block[3]) = (-254.0, 127.0, 3.0, 0.9);
        let mut out = Vec::new();
        encode(&block, &mut out);
        assert_eq!(out[..2], f16::from_f32(2.0).to_le_bytes());
        assert_eq!(
            out[2..6].iter().map(|q| *q as i8).collect::<Vec<_>>(),
            [-127, 64, 2, 0],
            "halves go away from zero"
        );
        assert_eq!(out.len(), BYTES);
    }

    #[test]
    fn a_block_of_zeros_and_one_of_tiny_numbers() {
        for tiny in [0.0, 1e-30] {
            let mut out = Vec::new();
            encode(&[tiny; BLOCK], &mut out);
            assert_eq!(out[..2], [0, 0], "{tiny}");
        }
    }
}
