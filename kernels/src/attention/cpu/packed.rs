//! Keys or values, head by head.

use super::super::blocks::{Blocks, QueryBlock};
use super::Inputs;
use super::running::Rows;
use super::tile::Head;
use rayon::prelude::*;

/// Rows that are packed or left out together.
const GRANULE: usize = 64;

/// A `[keys, G, D]` tensor, read where it lies or copied to `[G, keys, padded D]`: rows far apart would fall on the same
/// few cache sets, and the products need whole registers.
pub(super) struct Packed<'a> {
    data: &'a [f32],
    head_step: usize,
    row_step: usize,
}

impl<'a> Packed<'a> {
    /// Values a copy takes; none where one head or a single block of queries makes it pointless.
    pub(super) fn len(inputs: &Inputs, blocks: &Blocks) -> usize {
        let (shape, padded) = (inputs.shape, inputs.padded_dim());
        let pointless = shape.head_dim == padded && (blocks.count() <= 1 || shape.kv_heads == 1);
        if pointless { 0 } else { shape.kv_heads * shape.keys * padded }
    }

    /// Copies what the blocks of a head's readers visit to `memory`, which holds [`Packed::len`] values.
    pub(super) fn new(inputs: &Inputs, tensor: &'a [f32], blocks: &Blocks, memory: &'a mut [f32]) -> Packed<'a> {
        let (shape, padded) = (inputs.shape, inputs.padded_dim());
        if memory.is_empty() {
            let (head_step, row_step) = (shape.head_dim, shape.kv_heads * shape.head_dim);
            return Packed { data: tensor, head_step, row_step };
        }
        let visited: Vec<Vec<bool>> = blocks.lists().iter().map(|list| visited(list, shape.keys)).collect();
        memory.par_chunks_mut(shape.keys * padded).enumerate().for_each(|(head, memory)| {
            let lists: Vec<&[bool]> = inputs.readers(head).map(|head| &visited[blocks.list_of(head)][..]).collect();
            copy_head(tensor, Head::new(shape.kv_heads, head, shape.head_dim), padded, &lists, memory);
        });
        Packed { data: memory, head_step: shape.keys * padded, row_step: padded }
    }

    /// The rows of one head from one row on.
    pub(super) fn rows(&self, head: usize, first: usize) -> Rows<'_> {
        Rows { values: &self.data[head * self.head_step + first * self.row_step..], stride: self.row_step }
    }
}

/// Copies the granules that any of the lists visits.
fn copy_head(tensor: &[f32], head: Head, padded: usize, visited: &[&[bool]], data: &mut [f32]) {
    let granules = data.par_chunks_mut(GRANULE * padded).enumerate();
    granules.filter(|(granule, _)| visited.iter().any(|list| list[*granule])).for_each(|(granule, data)| {
        let first = granule * GRANULE;
        head.copy(tensor, first..first + data.len() / padded, 1.0, padded, data);
    });
}

/// Which granules of rows any block of a list visits.
fn visited(blocks: &[QueryBlock], keys: usize) -> Vec<bool> {
    // Borders of the spans: +1 where one begins, −1 after it ends; the running sum counts the spans over a granule.
    let mut borders = vec![0i64; keys.div_ceil(GRANULE) + 1];
    for span in blocks.iter().flat_map(|block| &block.spans) {
        borders[span.start / GRANULE] += 1;
        borders[span.end.div_ceil(GRANULE)] -= 1;
    }
    let running = borders.iter().scan(0, |sum, border| {
        *sum += border;
        Some(*sum > 0)
    });
    running.take(keys.div_ceil(GRANULE)).collect()
}
