//! Naive lookup and scatter.

use crate::conformance::Real;

/// Rows of the table.
pub(crate) fn forward<R: Real>(tokens: &[u32], hidden: usize, table: &[R]) -> Vec<R> {
    tokens.iter().flat_map(|&id| table[id as usize * hidden..][..hidden].to_vec()).collect()
}

/// Gradients added to their rows.
pub(crate) fn backward<R: Real>(tokens: &[u32], hidden: usize, dx: &[R], dtable: &mut [R]) {
    for (t, &id) in tokens.iter().enumerate() {
        for c in 0..hidden {
            dtable[id as usize * hidden + c] += dx[t * hidden + c];
        }
    }
}
