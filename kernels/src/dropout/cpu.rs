//! Dropout over fixed chunks.

use rayon::prelude::*;

use super::Mask;
use crate::linear::Write;

/// Values of one task.
const CHUNK: usize = 1 << 13;

pub(super) fn apply(mask: Mask, x: &[f32], y: &mut [f32], write: Write) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (y, x))| {
        let first = (chunk * CHUNK) as u64;
        let pairs = y.iter_mut().zip(x).zip(first..);
        match write {
            Write::Set => pairs.for_each(|((y, x), index)| *y = x * mask.factor(index)),
            Write::Add => pairs.for_each(|((y, x), index)| *y += x * mask.factor(index)),
        }
    });
}
