//! The forward pass on compute capability 9.0: `forward_hopper.cu`.

use super::{Attention, Tiling, Visible};
use crate::attention::Shape;
use crate::cuda::driver::{Address, Driver, Result, Tensor, TensorMap};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, HOPPER, Source};
use crate::cuda::{Budget, Kernel, params};

/// 64 queries for each of two warpgroups, and a third that copies; as many keys as registers hold scores of.
pub(super) const TILING: Tiling = Tiling { queries: 128, keys: 128, warps: 12, blocks: 1 };
/// Tiles of keys, and of values, that are there or on their way.
const STAGES: usize = 2;
/// Of `Signals` of forward_hopper.cu.
const SIGNALS: usize = 8 * (1 + 4 * STAGES) + 8 * STAGES;
/// Tiles begin at a multiple of this, which is what a swizzle repeats after.
const ALIGNMENT: usize = 1024;

/// Whether heads of this size have it: rows of whole 128-byte pieces.
pub(super) fn knows(head_dim: usize) -> bool {
    matches!(head_dim, 64 | 128)
}

params! {
    struct Forward {
        tensors: [TensorMap; 3],
        out: Address,
        lse: Address,
        lists: [Address; 4],
        queries: u32,
        heads: u32,
        group: u32,
        unused: u32,
        scale: f32,
        scale_log2: f32,
        rest: [u32; 14],
    }
}

impl Attention {
    pub(super) fn launch_hopper<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        scale: f32,
        [q, k, v]: [Region<'_>; 3],
        (out, lse): (Address, Address),
    ) -> Result<()> {
        assert!(scale > 0.0, "kernels: attention's scale is {scale}");
        let Shape { queries, keys, heads, kv_heads, .. } = visible.shape;
        let map = |at: Address, rows: usize, heads: usize, box_rows: usize| {
            let (rows, heads, columns) = (rows.max(1) as u64, heads as u64, self.head_dim as u64);
            queue.runtime().driver().tensor_map(&Tensor { at, rows, heads, columns, box_rows: box_rows as u32 })
        };
        let of_keys = 2 * keys * kv_heads * self.head_dim;
        let q = map(q.need("q", 2 * queries * heads * self.head_dim), queries, heads, TILING.queries)?;
        let k = map(k.need("k", of_keys), keys, kv_heads, TILING.keys)?;
        let v = map(v.need("v", of_keys), keys, kv_heads, TILING.keys)?;
        let params = Forward {
            tensors: [q, k, v],
            out,
            lse,
            lists: visible.lists(visible.places.forward),
            queries: queries as u32,
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            unused: 0,
            scale,
            scale_log2: scale * std::f32::consts::LOG2_E,
            rest: [0; 14],
        };
        let grid = [queries.div_ceil(TILING.queries) as u32, heads as u32, 1];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for.
        unsafe { queue.launch(&self.hopper_kernel(), grid, &params) }
    }

    pub(super) fn hopper_kernel(&self) -> Kernel {
        let mut constants = TILING.constants(self.head_dim);
        constants.push(("FRESH", 0));
        let texts = vec![HOPPER, include_str!("attention.cuh"), include_str!("forward_hopper.cu")];
        let source = Source { file: "attention_hopper.cu", texts, constants };
        let rows = TILING.queries + 2 * STAGES * TILING.keys;
        let shared = (2 * rows * self.head_dim + SIGNALS + ALIGNMENT) as u32;
        let (threads, budget) = (32 * TILING.warps as u32, Budget { blocks: TILING.blocks });
        Kernel { source, entry: "attention_forward_hopper", threads, shared, budget }
    }
}
