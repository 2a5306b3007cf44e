//! Both passes on compute capability 9.0: `forward_hopper.cu`, `backward_hopper.cu`.

use super::backward::{BACKWARD, Call, Gradients};
use super::tiling::{HOPPER_FORWARD, Tiling, hopper_backward};
use super::{Attention, Visible};
use crate::attention::Shape;
use crate::cuda::driver::{Address, Driver, Result, Tensor, TensorMap};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, HOPPER, Source};
use crate::cuda::{Budget, Kernel, params};

/// Tiles of a kind that are there or on their way.
const STAGES: usize = 2;
/// Of `Signals` of forward_hopper.cu.
const FORWARD_SIGNALS: usize = 8 * (1 + 4 * STAGES) + 8 * STAGES;
/// Of `Signals` of backward_hopper.cu, but for what it holds of each query.
const BACKWARD_SIGNALS: usize = (8 * (2 + 3 * STAGES) + 12 * STAGES).next_multiple_of(16);
/// Of each query of a tile there: two numbers, and which keys it sees.
const OF_QUERY: usize = 8 + 32;
/// Bytes of tensors that many blocks read and that are meant to stay in the second-level cache, which holds 50 MB on an H100.
const SHARED_BY_BLOCKS: usize = if cfg!(test) { 40 << 10 } else { 32 << 20 };
/// Tiles begin at a multiple of this, which is what a swizzle repeats after.
const ALIGNMENT: usize = 1024;

/// Of `kv_heads` so many at a time, of each of which many blocks read `bytes`.
fn section(bytes: usize, kv_heads: usize) -> usize {
    (SHARED_BY_BLOCKS / bytes.max(1)).clamp(1, kv_heads.max(1))
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
        section: u32,
        scale: f32,
        scale_log2: f32,
        rest: [u32; 14],
    }
}

params! {
    struct Backward {
        gradients: Gradients,
        rest: [u32; 6],
        tensors: [TensorMap; 4],
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
        if queries == 0 {
            return Ok(());
        }
        let of_keys = 2 * keys * kv_heads * self.head_dim;
        let q = q.need("q", 2 * queries * heads * self.head_dim);
        let [k, v] = [k.need("k", of_keys), v.need("v", of_keys)];
        // A map wants an address, also of what has no rows.
        let [k, v] = if keys == 0 { [q, q] } else { [k, v] };
        let map = |at, rows, heads, box_rows| self.map(queue, at, [rows, heads, box_rows]);
        let tensors = [
            map(q, queries, heads, HOPPER_FORWARD.queries)?,
            map(k, keys, kv_heads, HOPPER_FORWARD.keys)?,
            map(v, keys, kv_heads, HOPPER_FORWARD.keys)?,
        ];
        let params = Forward {
            tensors,
            out,
            lse,
            lists: visible.lists(visible.places.forward),
            queries: queries as u32,
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            section: (section(2 * of_keys / kv_heads, kv_heads) * heads / kv_heads) as u32,
            scale,
            scale_log2: scale * std::f32::consts::LOG2_E,
            rest: [0; 14],
        };
        let grid = [(queries.div_ceil(HOPPER_FORWARD.queries) * heads) as u32, 1, 1];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for.
        unsafe { queue.launch(&self.hopper_forward(), grid, &params) }
    }

    /// Adds to the sums of dQ, and writes dK and dV, of `some` key/value heads.
    pub(super) fn launch_hopper_backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        call: &Call,
        gradients: Gradients,
    ) -> Result<()> {
        let Shape { queries, keys, heads, kv_heads, .. } = call.shape;
        if keys == 0 {
            return Ok(());
        }
        let ([q, k, v, dout], tiling) = (call.tensors, hopper_backward(self.head_dim));
        let [q, dout] = if queries == 0 { [k, v] } else { [q, dout] };
        let map = |at, rows, heads, box_rows| self.map(queue, at, [rows, heads, box_rows]);
        let tensors = [
            map(q, queries, heads, tiling.queries)?,
            map(k, keys, kv_heads, tiling.keys)?,
            map(v, keys, kv_heads, tiling.keys)?,
            map(dout, queries, heads, tiling.queries)?,
        ];
        let some = gradients.some as usize;
        let section = section(2 * 2 * queries * heads / kv_heads * self.head_dim, some) as u32;
        let params = Backward { gradients: Gradients { section, ..gradients }, rest: [0; 6], tensors };
        let grid = [(keys.div_ceil(tiling.keys) * some) as u32, 1, 1];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for, the sums those of `some` heads.
        unsafe { queue.launch(&self.hopper_backward(), grid, &params) }
    }

    /// A tensor `[rows, heads, D]` as the copy engine takes it, in boxes of `box_rows` rows.
    fn map<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        at: Address,
        [rows, heads, box_rows]: [usize; 3],
    ) -> Result<TensorMap> {
        let (rows, heads, columns) = (rows.max(1) as u64, heads as u64, self.head_dim as u64);
        queue.runtime().driver().tensor_map(&Tensor { at, rows, heads, columns, box_rows: box_rows as u32 })
    }

    pub(super) fn hopper_kernels(&self) -> [Kernel; 2] {
        [self.hopper_forward(), self.hopper_backward()]
    }

    fn hopper_forward(&self) -> Kernel {
        let tiles = 2 * (HOPPER_FORWARD.queries + 2 * STAGES * HOPPER_FORWARD.keys) * self.head_dim;
        let text = vec![include_str!("forward_hopper.cu")];
        self.hopper_kernel("attention_forward_hopper", text, HOPPER_FORWARD, tiles + FORWARD_SIGNALS)
    }

    fn hopper_backward(&self) -> Kernel {
        let tiling = hopper_backward(self.head_dim);
        let tiles = 2 * 2 * (tiling.keys + STAGES * tiling.queries) * self.head_dim;
        let (pairs, numbers) = (2 * 2 * tiling.queries * tiling.keys, STAGES * OF_QUERY * tiling.queries);
        let text = vec![BACKWARD, include_str!("backward_hopper.cu")];
        self.hopper_kernel("attention_backward_hopper", text, tiling, tiles + pairs + numbers + BACKWARD_SIGNALS)
    }

    fn hopper_kernel(&self, entry: &'static str, own: Vec<&'static str>, tiling: Tiling, bytes: usize) -> Kernel {
        let mut constants = tiling.constants(self.head_dim);
        constants.push(("FRESH", 0));
        let mut texts = vec![HOPPER, include_str!("attention.cuh"), include_str!("panels.cuh")];
        texts.extend(own);
        let source = Source { file: "attention_hopper.cu", texts, constants };
        let (threads, shared) = (32 * tiling.warps as u32, (bytes + ALIGNMENT) as u32);
        Kernel { source, entry, threads, shared, budget: Budget { blocks: tiling.blocks } }
    }
}
