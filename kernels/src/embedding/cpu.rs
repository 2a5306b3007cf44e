//! Lookup by rows; the scatter is cut by tokens, so that no two tasks add to the same row.

use crate::simd::SendPtr;
use rayon::prelude::*;

/// Tasks of a scatter: a token that is a twentieth of a text holds nobody up.
const TASKS: usize = 64;

pub(crate) fn forward(tokens: &[u32], hidden: usize, table: &[f32], x: &mut [f32]) {
    if hidden == 0 {
        return;
    }
    let copy = |(row, &id): (&mut [f32], &u32)| row.copy_from_slice(&table[id as usize * hidden..][..hidden]);
    x.par_chunks_mut(hidden).with_min_len(64).zip(tokens).for_each(copy);
}

pub(crate) fn backward(tokens: &[u32], hidden: usize, dx: &[f32], dtable: &mut [f32]) {
    let table = SendPtr::new(dtable);
    (0..TASKS).into_par_iter().for_each(|task| {
        let mine = tokens.iter().enumerate().filter(|(_, id)| **id as usize % TASKS == task);
        for (t, &id) in mine {
            // SAFETY: tokens were checked against the table, and only this task touches this token's row.
            let row = unsafe { table.slice(id as usize * hidden, hidden) };
            row.iter_mut().zip(&dx[t * hidden..(t + 1) * hidden]).for_each(|(sum, d)| *sum += d);
        }
    });
}
