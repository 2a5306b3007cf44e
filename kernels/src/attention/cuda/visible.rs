//! Which tiles and pairs are visible in a call, in device memory.

use super::lists::{Lists, Ragged, Run};
use super::tiling::{FEW, FORWARD, FUSED, HOPPER_FORWARD, SMALL, Tiling, has_hopper, hopper_backward};
use crate::attention::{Mask, Shape};
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Hopper, Memory, Queue};
use crate::cuda::source::Compiler;

/// How the rows of a split pass are put into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) tiling: Tiling,
    /// Query heads side by side in a tile: those that share keys, so that these are read once for all of them, where they share
    /// a pattern too.
    pub(super) heads: usize,
}

impl Packing {
    fn new(mask: &Mask, shape: &Shape) -> Packing {
        let group = shape.heads / shape.kv_heads;
        let alike = (0..shape.heads).all(|head| mask.patterns.of(head) == mask.patterns.of(head / group * group));
        let heads = if alike && group <= SMALL.queries { group } else { 1 };
        let tiling = if shape.queries * heads <= FEW.queries { FEW } else { SMALL };
        Packing { tiling, heads }
    }

    /// Queries of a tile.
    pub(super) fn queries(&self) -> usize {
        self.tiling.queries / self.heads
    }

    /// Blocks of a part.
    pub(super) fn blocks(&self, shape: &Shape) -> usize {
        shape.queries.div_ceil(self.queries()) * shape.heads / self.heads
    }
}

/// Which tiles and pairs are visible in a call, in device memory: made once for a mask, it serves every call under it.
#[derive(Debug)]
pub struct Visible<D: Driver> {
    pub(super) shape: Shape,
    pub(super) passes: Passes,
    /// Which passes are those of compute capability 9.0, whose tiles are others.
    pub(super) hopper: Hopper,
    pub(super) packing: Packing,
    /// Key tiles of the query tile that has most of them, in a split pass.
    pub(super) key_tiles: usize,
    lists: Memory<D>,
    /// Where the parts of `lists` begin.
    pub(super) places: Places,
}

/// Byte offsets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    list_of: u64,
    rows: u64,
    /// Key tiles of query tiles: of the forward pass, of a split pass, of the backward pass in one order.
    pub(super) forward: [u64; 2],
    pub(super) split: [u64; 2],
    pub(super) backward_queries: [u64; 2],
    /// Query tiles of key tiles, of either backward pass.
    pub(super) backward_keys: [u64; 2],
}

/// What lists are made for, since tiles differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// [`super::Attention::forward`].
    Forward,
    /// [`super::Attention::forward_split`].
    Split,
    /// [`super::Attention::forward`], and [`super::Attention::backward`] in five products.
    Backward,
    /// [`super::Attention::forward`], and [`super::Attention::backward`] in seven products, the same bits every time.
    Deterministic,
}

impl<D: Driver> Visible<D> {
    /// The lists of a mask.
    pub fn new<C: Compiler>(queue: Queue<'_, D, C>, mask: &Mask, shape: &Shape, passes: Passes) -> Result<Visible<D>> {
        shape.check(mask);
        assert!(shape.queries.max(shape.keys) < 1 << 31, "kernels: attention over {shape:?} on a GPU");
        let packing = Packing::new(mask, shape);
        let hopper = if has_hopper(shape.head_dim) { queue.runtime().hopper() } else { Hopper::default() };
        let (mut image, mut places) = (Image::default(), Places::default());
        let of = |tiling: Tiling| Lists::new(mask, shape, (tiling.queries, tiling.keys));
        let lists = match passes {
            Passes::Split => Lists::new(mask, shape, (packing.queries(), packing.tiling.keys)),
            Passes::Forward | Passes::Backward | Passes::Deterministic => {
                of(if hopper.forward { HOPPER_FORWARD } else { FORWARD })
            }
        };
        let key_tiles = lists.keys.most_tiles();
        let place = if passes == Passes::Split { &mut places.split } else { &mut places.forward };
        *place = image.put_ragged(lists.keys);
        (places.list_of, places.rows) = (image.put(lists.list_of), image.put(lists.rows.into_iter().flatten()));
        if passes == Passes::Backward {
            let tiling = if hopper.backward { hopper_backward(shape.head_dim) } else { FUSED };
            places.backward_keys = image.put_ragged(of(tiling).queries);
        }
        if passes == Passes::Deterministic {
            let lists = of(SMALL);
            places.backward_queries = image.put_ragged(lists.keys);
            places.backward_keys = image.put_ragged(lists.queries);
        }
        let lists = queue.runtime().memory(image.0.len() as u64)?;
        lists.write(queue.stream(), &image.0)?;
        Ok(Visible { shape: *shape, passes, hopper, packing, key_tiles, lists, places })
    }

    /// Blocks that each part of a split pass has.
    pub(super) fn blocks(&self) -> usize {
        self.packing.blocks(&self.shape)
    }

    /// Which list a head has, where the runs of a place begin, the runs, the rows.
    pub(super) fn lists(&self, [first, runs]: [u64; 2]) -> [Address; 4] {
        let at = |offset| self.lists.from(offset).need("lists", 0);
        [self.places.list_of, first, runs, self.places.rows].map(at)
    }
}

/// What lies in the memory of the lists; every part begins at a multiple of 16.
#[derive(Default)]
struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, words: impl IntoIterator<Item = u32>) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(16), 0);
        let at = self.0.len() as u64;
        self.0.extend(words.into_iter().flat_map(u32::to_le_bytes));
        at
    }

    fn put_ragged(&mut self, Ragged { first, runs }: Ragged) -> [u64; 2] {
        [self.put(first), self.put(runs.iter().flat_map(|run: &Run| [run.at, run.step, run.count, run.len]))]
    }
}
