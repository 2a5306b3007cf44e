//! AdamW with moments of 8 bits, block by block (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"): 256
//! numbers share a scale, their largest size; a number is the index of the nearest value of a dynamic map.
//!
//! A step works in f32 on the moments that the codes stand for, and the parameters see the new moments before they are
//! stored again. A second moment above 0 is never stored as 0: the next step would divide by `eps` alone (the zero-point problem of
//! Li et al. 2023, arXiv 2309.01507 §3; bitsandbytes' codes do not become 0 either).

use crate::expect_len;
use crate::nf4::code;

/// Moments that share a scale.
pub const BLOCK: usize = 256;

/// The values of the first moment's codes, then those of the second's: signed and unsigned, ascending, 256 each.
pub fn tables() -> Vec<f32> {
    code::dynamic().iter().chain(&code::dynamic_unsigned()).copied().collect()
}

/// Moments of `len` parameters, zero: every code is that of 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Codes of the first moment.
    pub m: Vec<u8>,
    /// Codes of the second moment.
    pub v: Vec<u8>,
    /// Scales of the first moment's blocks, then of the second's.
    pub scales: [Vec<f32>; 2],
}

impl Moments {
    /// Those before the first step.
    pub fn zeros(len: usize) -> Moments {
        let (signed, unsigned) = (code::dynamic(), code::dynamic_unsigned());
        let zero = |table: &[f32]| table.iter().position(|&value| value == 0.0).unwrap_or(0) as u8;
        let scales = vec![0.0; len.div_ceil(BLOCK)];
        Moments { m: vec![zero(signed); len], v: vec![zero(&unsigned); len], scales: [scales.clone(), scales] }
    }

    /// Bytes that moments of `len` parameters take.
    pub fn bytes_of(len: usize) -> u64 {
        2 * (len + len.div_ceil(BLOCK) * size_of::<f32>()) as u64
    }

    /// Whether these are moments of `len` parameters.
    pub fn fits(&self, len: usize) -> bool {
        let blocks = len.div_ceil(BLOCK);
        self.m.len() == len && self.v.len() == len && self.scales.iter().all(|scales| scales.len() == blocks)
    }

    /// Panics unless these are moments of `len` parameters.
    #[track_caller]
    pub(crate) fn expect(&self, len: usize) {
        [&self.m, &self.v].into_iter().for_each(|codes| expect_len("codes", codes.len(), len));
        self.scales.iter().for_each(|scales| expect_len("scales", scales.len(), len.div_ceil(BLOCK)));
    }
}
