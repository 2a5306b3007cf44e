//! GGUF's K-quants (`ggml-quants.c`, `dequantize_row_q2_K` to `_q6_K`).
//!
//! A super-block of 256 values is cut into small blocks of 16 or 32. Their scales, and minima where there are some, are
//! small integers themselves, in units of the super-block's d and dmin. In every function below a `group` is 32 values
//! in a row, which share a shift: bits of value j of a group come from byte j of a stretch of 32 bytes.

use half::f16;

/// Values in a super-block.
pub(super) const LENGTH: usize = 256;

/// 16 bytes of scale (low half) and minimum (high half), 64 of two bits each, d, dmin: q · d·scale − dmin·min.
pub(super) fn q2_k(block: &[u8; 84], out: &mut Vec<f32>) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for group in 0..8 {
        let bytes = stretch(quants, group / 4);
        out.extend(bytes.iter().enumerate().map(|(j, byte)| {
            let scale = scales[group * 2 + j / 16];
            let (d, m) = (d * f32::from(scale & 0xF), dmin * f32::from(scale >> 4));
            f32::from(byte >> (group % 4 * 2) & 3) * d - m
        }));
    }
}

/// 32 bytes of third bits, 64 of two bits each, 12 of sixteen 6-bit scales, d: (q − 4) · d·(scale − 32).
pub(super) fn q3_k(block: &[u8; 110], out: &mut Vec<f32>) {
    let (thirds, quants, packed, d) = (&block[..32], &block[32..96], &block[96..108], half_at(block, 108));
    // Low halves of the scales in bytes 0 to 7, their upper two bits in bytes 8 to 11.
    let scale = |i: usize| {
        let (low, high) = (packed[i % 8] >> (i / 8 * 4) & 0xF, packed[8 + i % 4] >> (i / 4 * 2) & 3);
        d * f32::from((low | high << 4) as i8 - 32)
    };
    for group in 0..8 {
        let scales = [scale(group * 2), scale(group * 2 + 1)];
        out.extend(stretch(quants, group / 4).iter().zip(thirds).enumerate().map(|(j, (byte, third))| {
            let quant = (byte >> (group % 4 * 2) & 3) | (third >> group & 1) << 2;
            scales[j / 16] * f32::from(quant as i8 - 4)
        }));
    }
}

/// d, dmin, 12 bytes of scales and minima, 128 of four bits each: q · d·scale − dmin·min.
pub(super) fn q4_k(block: &[u8; 144], out: &mut Vec<f32>) {
    let quants = &block[16..];
    for group in 0..8 {
        let (d, m) = scale_and_minimum(block, group);
        let nibbles = stretch(quants, group / 2).iter().map(|byte| byte >> (group % 2 * 4) & 0xF);
        out.extend(nibbles.map(|quant| f32::from(quant) * d - m));
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the four bits.
pub(super) fn q5_k(block: &[u8; 176], out: &mut Vec<f32>) {
    let (fifths, quants) = (&block[16..48], &block[48..]);
    for group in 0..8 {
        let (d, m) = scale_and_minimum(block, group);
        let nibbles = stretch(quants, group / 2).iter().map(|byte| byte >> (group % 2 * 4) & 0xF);
        let whole = nibbles.zip(fifths).map(|(nibble, fifth)| nibble | (fifth >> group & 1) << 4);
        out.extend(whole.map(|quant| f32::from(quant) * d - m));
    }
}

/// 128 bytes of four bits each, 64 of the upper two, 16 signed scales, d: (q − 32) · d·scale.
pub(super) fn q6_k(block: &[u8; 210], out: &mut Vec<f32>) {
    let (lows, highs, scales, d) = (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for group in 0..8 {
        let (low, high) = (stretch(lows, group / 4 * 2 + group % 2), stretch(highs, group / 4));
        out.extend(low.iter().zip(high).enumerate().map(|(j, (low, high))| {
            let quant = (low >> (group % 4 / 2 * 4) & 0xF) | (high >> (group % 4 * 2) & 3) << 4;
            d * f32::from(scales[group * 2 + j / 16] as i8) * f32::from(quant as i8 - 32)
        }));
    }
}

fn stretch(bytes: &[u8], place: usize) -> &[u8] {
    &bytes[place * 32..(place + 1) * 32]
}

/// d · scale and dmin · min of one of eight groups; six bits each (`get_scale_min_k4`). Groups 0 to 3 have a byte for
/// each; the upper two bits there, and the last four bytes, make up groups 4 to 7.
fn scale_and_minimum(block: &[u8], group: usize) -> (f32, f32) {
    let (d, dmin, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    let (scale, minimum) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => {
            let (rest, low, high) = (packed[group + 4], packed[group - 4], packed[group]);
            (rest & 0xF | (low >> 6) << 4, rest >> 4 | (high >> 6) << 4)
        }
    };
    (d * f32::from(scale), dmin * f32::from(minimum))
}

/// The f16 at byte `at`.
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
