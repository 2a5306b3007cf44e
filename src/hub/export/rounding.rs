//! How far a value that was written may lie from the one that it came from, and whether it does.

use std::path::Path;

use half::{bf16, f16};
use kernels::q8_0::BLOCK;

use crate::hub::dtype::Dtype;
use crate::hub::error::Error;
use crate::hub::weights::View;

/// What a format does to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Rounding {
    /// It becomes the nearest of the format's own.
    Nearest(Dtype),
    /// It stays within a step of its block: the largest magnitude of 32 values over 127.
    Block,
}

impl Rounding {
    /// The first value that is not what it must be.
    fn first_wrong(self, written: &[f32], read: &[f32]) -> Option<usize> {
        let nearest = |round: fn(f32) -> f32| {
            written.iter().zip(read).position(|(value, read)| round(*value).to_bits() != read.to_bits())
        };
        match self {
            Self::Nearest(Dtype::F32) => nearest(|value| value),
            Self::Nearest(Dtype::F16) => nearest(|value| f16::from_f32(value).to_f32()),
            Self::Nearest(Dtype::BF16) => nearest(|value| bf16::from_f32(value).to_f32()),
            Self::Block => {
                let blocks = written.chunks(BLOCK).zip(read.chunks(BLOCK)).enumerate();
                blocks.into_iter().find_map(|(block, (written, read))| {
                    let step = written.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
                    // The step itself is stored as f16, whose smallest is 2^-24.
                    let most = step + 127.0 * 2f32.powi(-25);
                    let wrong = written.iter().zip(read).position(|(a, b)| (a - b).abs() > most || !b.is_finite());
                    wrong.map(|at| block * BLOCK + at)
                })
            }
        }
    }
}

/// Holds a tensor as it was read back to what was written.
pub(in crate::hub) fn compare(path: &Path, written: View<'_>, read: &[f32], rounding: Rounding) -> Result<(), Error> {
    let (name, _, values) = written;
    let wrong = |expected: String, got: String| Error::Tensor {
        path: path.to_path_buf(),
        tensor: name.to_string(),
        expected,
        got,
        advice: "What was read back is not what was written: the disk cannot be trusted. Write to another one".into(),
    };
    if values.len() != read.len() {
        return Err(wrong(format!("{} values", values.len()), format!("{}", read.len())));
    }
    match rounding.first_wrong(values, read) {
        None => Ok(()),
        Some(at) => {
            Err(wrong(format!("{:e} at {at}, as {rounding:?} keeps it", values[at]), format!("{:e}", read[at])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rounding: Rounding, written: &[f32], read: &[f32]) -> bool {
        compare(Path::new("a"), ("t", &[written.len()], written), read, rounding).is_ok()
    }

    #[test]
    fn a_wrong_bit_is_seen() {
        let value = 0.1_f32;
        assert!(fits(Rounding::Nearest(Dtype::F32), &[value], &[value]));
        assert!(!fits(Rounding::Nearest(Dtype::F32), &[value], &[f32::from_bits(value.to_bits() ^ 1)]));
        assert!(!fits(Rounding::Nearest(Dtype::F32), &[0.0], &[-0.0]));
        assert!(!fits(Rounding::Nearest(Dtype::F32), &[value], &[]));
        let half = f16::from_f32(value);
        assert!(fits(Rounding::Nearest(Dtype::F16), &[value], &[half.to_f32()]));
        assert!(!fits(Rounding::Nearest(Dtype::F16), &[value], &[f16::from_bits(half.to_bits() ^ 1).to_f32()]));
        assert!(!fits(Rounding::Nearest(Dtype::BF16), &[value], &[half.to_f32()]));
    }

    #[test]
    fn a_block_s_values_stay_within_its_step() {
        let mut values = [0.0; 64];
        (values[3], values[40]) = (127.0, 1.27);
        let moved = |by: f32, at: usize| {
            let mut read = values;
            read[at] += by;
            fits(Rounding::Block, &values, &read)
        };
        assert!(moved(0.9, 5) && !moved(1.1, 5), "the first block's step is 1");
        assert!(moved(0.009, 41) && !moved(0.011, 41), "the second's is a hundredth");
        assert!(!moved(f32::NAN, 7));
    }
}
