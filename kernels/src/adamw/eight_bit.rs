//! AdamW with moments of 8 bits, block by block (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"): 256
//! numbers share a scale, their largest size; a number is the index of the nearest value of a dynamic map.
//!
//! A step works in f32 on the moments that the codes stand for, and the parameters see the new moments before they are
//! stored again.

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
}
