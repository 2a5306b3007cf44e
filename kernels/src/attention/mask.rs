//! Which key a query sees, and which whole ranges of keys it does.

use std::ops::Range;

/// The attention pattern within a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every earlier key.
    Full,
    /// The last `window` keys, the query's own among them, and the first `sink` keys of the document.
    Window {
        /// Keys in the window.
        window: usize,
        /// Keys kept at the document's start.
        sink: usize,
    },
}

/// Who sees whom. Rows are numbered globally, so that queries and keys may be pieces of a longer sequence.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// The pattern.
    pub pattern: Pattern,
    /// Global row of query 0.
    pub query_row: usize,
    /// Global row of key 0.
    pub key_row: usize,
    /// For each query the global row at which its document starts.
    pub starts: &'a [usize],
}

impl Mask<'_> {
    /// Whether query `i` sees key `j`: not a later one, not one of an earlier document, and inside window or sinks.
    pub fn visible(&self, i: usize, j: usize) -> bool {
        let (row, key, start) = (self.query_row + i, self.key_row + j, self.starts[i]);
        let near = match self.pattern {
            Pattern::Full => true,
            Pattern::Window { window, sink } => row.wrapping_sub(key) < window || key.wrapping_sub(start) < sink,
        };
        key <= row && key >= start && near
    }

    /// The keys query `i` sees, as indices below `keys`: sinks, then window. Either may be empty; they never overlap.
    pub fn ranges(&self, i: usize, keys: usize) -> [Range<usize>; 2] {
        let (row, start) = (self.query_row + i, self.starts[i]);
        let end = row + 1;
        let (sinks, near) = match self.pattern {
            Pattern::Full => (start..start, start..end),
            Pattern::Window { window, sink } => {
                let near = start.max(end.saturating_sub(window));
                (start..start.saturating_add(sink).min(near).min(end), near..end)
            }
        };
        [self.local(sinks, keys), self.local(near, keys)]
    }

    /// Global rows as key indices, cut to the keys there are.
    fn local(&self, rows: Range<usize>, keys: usize) -> Range<usize> {
        let from = rows.start.saturating_sub(self.key_row).min(keys);
        let to = rows.end.saturating_sub(self.key_row).min(keys);
        from..to.max(from)
    }
}
