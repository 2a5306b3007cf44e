//! Lookup by rows; the scatter is cut by columns, so that no two tasks add to the same value.

use crate::simd::SendPtr;
use rayon::prelude::*;

/// Columns of one scatter task: whole cache lines.
const COLUMNS: usize = 128;

pub(crate) fn forward(tokens: &[u32], hidden: usize, table: &[f32], x: &mut [f32]) {
    if hidden == 0 {
        return;
    }
    let copy = |(row, &id): (&mut [f32], &u32)| row.copy_from_slice(&table[id as usize * hidden..][..hidden]);
    x.par_chunks_mut(hidden).with_min_len(64).zip(tokens).for_each(copy);
}

pub(crate) fn backward(tokens: &[u32], hidden: usize, dx: &[f32], dtable: &mut [f32]) {
    let table = SendPtr::new(dtable);
    (0..hidden.div_ceil(COLUMNS)).into_par_iter().for_each(|block| {
        let (from, to) = (block * COLUMNS, hidden.min((block + 1) * COLUMNS));
        for (t, &id) in tokens.iter().enumerate() {
            // SAFETY: tokens were checked against the table, and only this task touches these columns.
            let row = unsafe { table.slice(id as usize * hidden + from, to - from) };
            for (sum, d) in row.iter_mut().zip(&dx[t * hidden + from..t * hidden + to]) {
                *sum += d;
            }
        }
    });
}
