//! Token embedding on a GPU.

use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, params};

/// The kernels for rows of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// C, a multiple of 8.
    pub hidden: usize,
}

params! {
    struct Forward {
        tokens: Address,
        table: Address,
        x: Address,
    }
}

params! {
    struct Backward {
        tokens: Address,
        first: Address,
        rows: Address,
        dx: Address,
        dtable: Address,
    }
}

/// Which rows hold which token, made on the host once a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// The distinct tokens, ascending.
    pub tokens: Vec<u32>,
    /// Where the rows of each begin in `rows`; one more than there are tokens.
    pub first: Vec<u32>,
    /// Rows, those of one token ascending.
    pub rows: Vec<u32>,
}

impl Occurrences {
    /// Sorts the rows by their token.
    pub fn new(tokens: &[u32]) -> Occurrences {
        let mut rows: Vec<u32> = (0..tokens.len() as u32).collect();
        rows.sort_by_key(|&row| tokens[row as usize]);
        let mut found = Occurrences { tokens: Vec::new(), first: Vec::new(), rows };
        for (at, &row) in found.rows.iter().enumerate() {
            let token = tokens[row as usize];
            if found.tokens.last() != Some(&token) {
                found.tokens.push(token);
                found.first.push(at as u32);
            }
        }
        found.first.push(tokens.len() as u32);
        found
    }
}

impl Embedding {
    /// Every kernel of the file.
    pub fn kernels(&self) -> [Kernel; 2] {
        ["embedding_forward", "embedding_backward"].map(|entry| self.kernel(entry))
    }

    /// `x` bf16 `[T, C]` = the rows of `table` bf16 `[V, C]` at `tokens` u32 `[T]`, each below V.
    pub fn forward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        [rows, vocab]: [usize; 2],
        [tokens, table]: [Region<'_>; 2],
        x: Region<'_>,
    ) -> Result<()> {
        let (tokens, table) = (tokens.need("tokens", 4 * rows), table.need("table", 2 * vocab * self.hidden));
        let params = Forward { tokens, table, x: x.need("x", 2 * rows * self.hidden) };
        // SAFETY: as many rows as blocks; the caller's tokens lie in the table.
        unsafe { queue.launch(&self.kernel("embedding_forward"), [rows as u32, 1, 1], &params) }
    }

    /// `dtable` f32 `[V, C]` += the rows of `dx` bf16 `[T, C]` at their tokens. The buffers of `occurrences` hold the fields of
    /// [`Occurrences`], in order.
    pub fn backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        (occurrences, host): ([Region<'_>; 3], &Occurrences),
        vocab: usize,
        dx: Region<'_>,
        dtable: Region<'_>,
    ) -> Result<()> {
        let [tokens, first, rows] = occurrences;
        let largest = host.tokens.last().map_or(0, |&token| token as usize + 1);
        assert!(largest <= vocab, "kernels: token {} is not in a table of {vocab} rows", largest - 1);
        let params = Backward {
            tokens: tokens.need("tokens", 4 * host.tokens.len()),
            first: first.need("first", 4 * host.first.len()),
            rows: rows.need("rows", 4 * host.rows.len()),
            dx: dx.need("dx", 2 * host.rows.len() * self.hidden),
            dtable: dtable.need("dtable", 4 * vocab * self.hidden),
        };
        // SAFETY: a block for each distinct token, all in the table.
        unsafe { queue.launch(&self.kernel("embedding_backward"), [host.tokens.len() as u32, 1, 1], &params) }
    }

    fn kernel(&self, entry: &'static str) -> Kernel {
        assert!(self.hidden > 0 && self.hidden.is_multiple_of(8), "kernels: rows of {} on a GPU", self.hidden);
        let threads = (self.hidden / 8).next_multiple_of(32).min(256);
        let constants = vec![("HIDDEN", self.hidden as i64), ("THREADS", threads as i64)];
        let source = Source { file: "embedding.cu", texts: vec![include_str!("embedding.cu")], constants };
        let budget = Budget { blocks: (1024 / threads).min(16) as u32 };
        Kernel { source, entry, threads: threads as u32, shared: 0, budget }
    }
}
