//! GGUF's number formats, turned into f32 as llama.cpp's reference code does (`ggml-quants.c`, `dequantize_row_*`).
//!
//! A quantised row is a run of blocks: of 32 values here, of 256 in [`k_quants`](super::k_quants). Q4 and Q5 blocks hold
//! value j in the low half of byte j and value j + 16 in its high half.

use half::{bf16, f16};

use super::k_quants::{self, half_at};

/// A number format that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// The names of all of them, for advice.
pub(super) const READ: &str = "F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1 or Q2_K to Q6_K";

impl Kind {
    /// The format of a `ggml_type` number, or the name of one that is not read.
    pub(super) fn of(id: u32) -> Result<Self, String> {
        Ok(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            other => return Err(foreign_name(other)),
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Values in a block.
    pub(super) fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => k_quants::LENGTH,
        }
    }

    /// Bytes of a block.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 2 + 2 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q5_1 => 2 + 2 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q2K => 16 + 64 + 2 + 2,
            Self::Q3K => 32 + 64 + 12 + 2,
            Self::Q4K => 2 + 2 + 12 + 128,
            Self::Q5K => 2 + 2 + 12 + 32 + 128,
            Self::Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// Appends the values of whole blocks.
    pub(super) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => out.extend(bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four))),
            Self::F16 => out.extend(bytes.as_chunks().0.iter().map(|&two| f16::from_le_bytes(two).to_f32())),
            Self::Bf16 => out.extend(bytes.as_chunks().0.iter().map(|&two| bf16::from_le_bytes(two).to_f32())),
            Self::Q4_0 => bytes.as_chunks().0.iter().for_each(|block| q4_0(block, out)),
            Self::Q4_1 => bytes.as_chunks().0.iter().for_each(|block| q4_1(block, out)),
            Self::Q5_0 => bytes.as_chunks().0.iter().for_each(|block| q5_0(block, out)),
            Self::Q5_1 => bytes.as_chunks().0.iter().for_each(|block| q5_1(block, out)),
            Self::Q8_0 => bytes.as_chunks().0.iter().for_each(|block| q8_0(block, out)),
            Self::Q2K => bytes.as_chunks().0.iter().for_each(|block| k_quants::q2_k(block, out)),
            Self::Q3K => bytes.as_chunks().0.iter().for_each(|block| k_quants::q3_k(block, out)),
            Self::Q4K => bytes.as_chunks().0.iter().for_each(|block| k_quants::q4_k(block, out)),
            Self::Q5K => bytes.as_chunks().0.iter().for_each(|block| k_quants::q5_k(block, out)),
            Self::Q6K => bytes.as_chunks().0.iter().for_each(|block| k_quants::q6_k(block, out)),
        }
    }
}

/// (q − 8) · d
fn q4_0(block: &[u8; 18], out: &mut Vec<f32>) {
    let (d, quants) = (half_at(block, 0), &block[2..]);
    out.extend(quants.iter().map(|byte| (i32::from(byte & 0xF) - 8) as f32 * d));
    out.extend(quants.iter().map(|byte| (i32::from(byte >> 4) - 8) as f32 * d));
}

/// q · d + m
fn q4_1(block: &[u8; 20], out: &mut Vec<f32>) {
    let (d, m, quants) = (half_at(block, 0), half_at(block, 2), &block[4..]);
    out.extend(quants.iter().map(|byte| f32::from(byte & 0xF) * d + m));
    out.extend(quants.iter().map(|byte| f32::from(byte >> 4) * d + m));
}

/// (q − 16) · d
fn q5_0(block: &[u8; 22], out: &mut Vec<f32>) {
    let d = half_at(block, 0);
    out.extend(five_bits(&block[2..]).map(|quant| f32::from(quant as i8 - 16) * d));
}

/// q · d + m
fn q5_1(block: &[u8; 24], out: &mut Vec<f32>) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    out.extend(five_bits(&block[4..]).map(|quant| f32::from(quant) * d + m));
}

/// The 32 numbers of a Q5 block: bit j of the first four bytes is the fifth bit of value j.
fn five_bits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let (fifths, nibbles) = bytes.split_at(4);
    (0..32).map(move |j| nibbles[j % 16] >> (j / 16 * 4) & 0xF | (fifths[j / 8] >> (j % 8) & 1) << 4)
}

/// q · d, q signed
fn q8_0(block: &[u8; 34], out: &mut Vec<f32>) {
    let d = half_at(block, 0);
    out.extend(block[2..].iter().map(|&byte| f32::from(byte as i8) * d));
}

/// Names of `enum ggml_type` in ggml.h.
fn foreign_name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        other => return format!("type number {other}"),
    };
    name.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::hub::TensorFile;

    fn decode(kind: Kind, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        kind.decode(bytes, &mut out);
        out
    }

    fn f16_bytes(value: f32) -> [u8; 2] {
        f16::from_f32(value).to_le_bytes()
    }

    #[test]
    fn plain_formats_are_exact() {
        assert_eq!(decode(Kind::F32, &0.1_f32.to_le_bytes()), [0.1]);
        assert_eq!(decode(Kind::F16, &[0x00, 0x3C, 0x01, 0x00]), [1.0, 2.0_f32.powi(-24)]);
        assert_eq!(decode(Kind::Bf16, &[0x80, 0x3F, 0x49, 0xC0]), [1.0, -3.140_625]);
    }

    #[test]
    fn q8_0_by_hand() {
        let mut block = f16_bytes(0.5).to_vec();
        block.extend((0..32).map(|j| if j == 0 { 0x80 } else { j as u8 }));
        let values = decode(Kind::Q8_0, &block);
        assert_eq!(values[0], -64.0);
        assert_eq!(values[31], 15.5);
        assert_eq!(values.len(), 32);
    }

    #[test]
    fn q4_halves_stand_sixteen_apart() {
        let quants: Vec<u8> = (0..16).map(|j| j | ((15 - j) << 4)).collect();
        let zero = [f16_bytes(2.0).as_slice(), &quants].concat();
        let values = decode(Kind::Q4_0, &zero);
        assert_eq!((values[0], values[15], values[16], values[31]), (-16.0, 14.0, 14.0, -16.0));
        let one = [f16_bytes(2.0).as_slice(), &f16_bytes(-1.5), &quants].concat();
        let values = decode(Kind::Q4_1, &one);
        assert_eq!((values[0], values[15], values[16], values[31]), (-1.5, 28.5, 28.5, -1.5));
        assert_eq!(values.len(), 32);
    }

    #[test]
    fn formats_that_are_not_read_have_names() {
        assert_eq!(Kind::of(20), Err("IQ4_NL".into()));
        assert_eq!(Kind::of(77), Err("type number 77".into()));
    }

    #[test]
    fn numbers_and_names_agree() {
        let plain =
            [(0, "F32"), (1, "F16"), (2, "Q4_0"), (3, "Q4_1"), (6, "Q5_0"), (7, "Q5_1"), (8, "Q8_0"), (30, "BF16")];
        let k_quants = [(10, "Q2_K"), (11, "Q3_K"), (12, "Q4_K"), (13, "Q5_K"), (14, "Q6_K")];
        for (id, name) in plain.into_iter().chain(k_quants) {
            assert_eq!(Kind::of(id).unwrap().name(), name);
        }
    }

    #[test]
    fn blocks_stand_for_what_the_gguf_package_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf_quants.safetensors");
        let file = TensorFile::open(&path).unwrap();
        for kind in [Kind::Q5_0, Kind::Q5_1, Kind::Q2K, Kind::Q3K, Kind::Q4K, Kind::Q5K, Kind::Q6K] {
            let bytes = file.bytes(&format!("{}.bytes", kind.name())).unwrap();
            let expected = file.f32(&format!("{}.values", kind.name())).unwrap();
            assert_eq!(expected.shape, [3, kind.block_len()], "{}", kind.name());
            assert_eq!(decode(kind, &bytes), expected.data, "{}", kind.name());
        }
    }
}
