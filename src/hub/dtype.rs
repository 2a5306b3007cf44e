//! The number formats that weights are written in.

use half::{bf16, f16};

/// A number format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits, as in memory.
    F32,
    /// IEEE half precision; values beyond ±65504 do not fit.
    F16,
    /// The upper half of f32, rounded to nearest, ties to even.
    BF16,
}

impl Dtype {
    /// The name in a safetensors header.
    pub fn tag(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
        }
    }

    /// The name in a `config.json`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
        }
    }

    /// Bytes per value.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }

    /// The largest finite value.
    pub(super) fn max(self) -> f32 {
        match self {
            Dtype::F32 => f32::MAX,
            Dtype::F16 => f16::MAX.to_f32(),
            Dtype::BF16 => bf16::MAX.to_f32(),
        }
    }

    /// Whether a finite value stays finite in this format.
    pub(super) fn holds(self, value: f32) -> bool {
        match self {
            Dtype::F32 => true,
            Dtype::F16 => f16::from_f32(value).is_finite(),
            Dtype::BF16 => bf16::from_f32(value).is_finite(),
        }
    }

    /// Appends the values' bytes, little-endian.
    pub(super) fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Dtype::F32 => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Dtype::F16 => values.iter().for_each(|&value| out.extend(f16::from_f32(value).to_le_bytes())),
            Dtype::BF16 => values.iter().for_each(|&value| out.extend(bf16::from_f32(value).to_le_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_and_ties_to_even() {
        // 1 + 2^-8 lies half-way between 1 and 1 + 2^-7; 1 + 3·2^-8 between 1 + 2^-7 and 1 + 2^-6.
        let cases = [(0x3F80_8000, 0x3F80), (0x3F81_8000, 0x3F82), (0x3F80_8001, 0x3F81), (0x3F80_7FFF, 0x3F80)];
        for (bits, rounded) in cases {
            let mut out = Vec::new();
            Dtype::BF16.encode(&[f32::from_bits(bits)], &mut out);
            assert_eq!(u16::from_le_bytes([out[0], out[1]]), rounded, "{bits:#x}");
        }
    }

    #[test]
    fn what_does_not_fit_is_seen() {
        assert!(Dtype::F16.holds(65504.0) && !Dtype::F16.holds(65520.0));
        assert!(Dtype::BF16.holds(1e38) && !Dtype::BF16.holds(f32::MAX));
        assert!(Dtype::F32.holds(f32::MAX));
    }
}
