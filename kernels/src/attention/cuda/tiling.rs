//! How the tiles of each attention kernel are cut.

/// Rows of the tiles of a kernel, and how its block is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) warps: usize,
    /// Blocks that share a multiprocessor.
    pub(super) blocks: u32,
}

/// The forward pass: 128 queries, two 16-row tiles a warp, against 64 keys (Dao 2023, §3.3: as many queries as registers
/// hold, so that keys and values are read from shared memory least often).
pub(super) const FORWARD: Tiling = Tiling { queries: 128, keys: 64, warps: 4, blocks: 2 };
/// A split pass of more rows than [`FEW`] has, and the backward pass in one order: two gradients of 16 rows and two tiles of
/// scores fit a warp's registers.
pub(super) const SMALL: Tiling = Tiling { queries: 64, keys: 64, warps: 4, blocks: 2 };
/// A split pass of few rows, as in decoding: what counts is how many bytes of keys and values are on their way, and four small
/// blocks have more of them than two large ones whose other warps have no rows.
pub(super) const FEW: Tiling = Tiling { queries: 16, keys: 64, warps: 1, blocks: 4 };
/// The backward pass in five products; backward.cu says why.
pub(super) const FUSED: Tiling = Tiling { queries: 64, keys: 128, warps: 8, blocks: 1 };

/// The forward pass on compute capability 9.0: 64 queries for each of two warpgroups, and a third that copies; as many keys as
/// registers hold scores of.
pub(super) const HOPPER_FORWARD: Tiling = Tiling { queries: 128, keys: 128, warps: 12, blocks: 1 };

/// The backward pass there: 64 keys for each of two warpgroups; as many queries as registers hold scores, P and dS of beside dK and
/// dV.
pub(super) fn hopper_backward(head_dim: usize) -> Tiling {
    Tiling { queries: 8192 / head_dim, keys: 128, warps: 12, blocks: 1 }
}

/// Whether heads of this size have kernels of compute capability 9.0: rows of whole 128-byte pieces.
pub(super) fn has_hopper(head_dim: usize) -> bool {
    matches!(head_dim, 64 | 128)
}

impl Tiling {
    pub(super) fn constants(&self, head_dim: usize) -> Vec<(&'static str, i64)> {
        let numbers = [("HEAD_DIM", head_dim), ("QUERIES", self.queries), ("KEYS", self.keys), ("WARPS", self.warps)];
        let numbers = numbers.into_iter().chain([("BLOCKS", self.blocks as usize)]);
        numbers.map(|(name, value)| (name, value as i64)).collect()
    }

    /// Bytes of a tile's rows in shared memory.
    pub(super) fn bytes(rows: usize, width: usize) -> usize {
        2 * rows * (width + 8)
    }
}
