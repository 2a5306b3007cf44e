//! What an optimiser keeps of each tensor that learns.

use crate::terms::Optimizer;

/// bitsandbytes leaves the moments of smaller tensors in f32 (0.50, `min_8bit_size`): norms and biases of small models, which take
/// little.
const LEAST: u64 = 4096;
/// Moments that share a scale (arXiv 2110.02861 §2.1, with bitsandbytes' block).
const BLOCK: u64 = 256;
const F32: u64 = 4;

impl Optimizer {
    /// The word that a recipe writes it with.
    pub fn word(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::AdamW8bit => "adamw_8bit",
        }
    }

    /// Whether it keeps the moments of a tensor of `numbers` numbers in 8 bits.
    pub fn packs(self, numbers: u64) -> bool {
        self == Self::AdamW8bit && numbers >= LEAST
    }

    /// Bytes of both moments of such a tensor: a byte for each number and an f32 for each block, or an f32 for each number.
    pub fn moment_bytes(self, numbers: u64) -> u64 {
        let one = match self.packs(numbers) {
            true => numbers.saturating_add(numbers.div_ceil(BLOCK).saturating_mul(F32)),
            false => numbers.saturating_mul(F32),
        };
        one.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_take_two_bytes_and_a_block_eight() {
        let eight = Optimizer::AdamW8bit;
        assert_eq!(eight.moment_bytes(1 << 20), 2 * (1 << 20) + 8 * (1 << 12));
        assert_eq!(eight.moment_bytes(4097), 2 * 4097 + 8 * 17);
        assert_eq!((eight.moment_bytes(4095), Optimizer::AdamW.moment_bytes(4096)), (8 * 4095, 8 * 4096));
        assert_eq!(eight.moment_bytes(u64::MAX), u64::MAX);
    }
}
