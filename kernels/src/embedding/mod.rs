//! Token embedding: rows of a table `[V, C]` looked up, and their gradients added back.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::expect_len;

/// `x[t] = table[tokens[t]]`, `x` `[T, C]`, `table` `[V, C]`.
///
/// Panics when a token is not below `V`.
pub fn forward(tokens: &[u32], table: &[f32], x: &mut [f32]) {
    let hidden = width(tokens, table, x.len());
    cpu::forward(tokens, hidden, table, x);
}

/// `dtable[tokens[t]] += dx[t]`, in the order of the tokens.
///
/// Panics when a token is not below `V`.
pub fn backward(tokens: &[u32], dx: &[f32], dtable: &mut [f32]) {
    let hidden = width(tokens, dtable, dx.len());
    cpu::backward(tokens, hidden, dx, dtable);
}

/// The hidden size, from the length of `x`; every token is checked against the table here.
fn width(tokens: &[u32], table: &[f32], x_len: usize) -> usize {
    if tokens.is_empty() {
        expect_len("x", x_len, 0);
        return 0;
    }
    let hidden = x_len / tokens.len();
    expect_len("x", x_len, hidden * tokens.len());
    let vocab = table.len().checked_div(hidden).unwrap_or(0);
    let largest = tokens.iter().copied().max().unwrap_or(0) as usize;
    assert!(hidden == 0 || largest < vocab, "kernels: token {largest} is not in a table of {vocab} rows");
    hidden
}
