//! The key/value cache of one generation: a layer keeps the rows that its pattern can still see, and no others.
//!
//! A full layer keeps every row. A window layer keeps the document's first `sink` rows and the recent ones, a strided one
//! every `stride`-th block and the recent ones, in two segments that are attended to separately and joined by their
//! log-sum-exp: a window's memory does not grow with the text, a stride's grows by one block in `stride`.
//! Rows are those of one document: row = position, and the document starts at row 0.

use std::ops::Range;

use kernels::attention::{self, Patterns, Shape};
use kernels::device::{Attention, Device, Rows};
use kernels::rope::Direction;
use recipe_core::{Pattern, Plan};

use super::Error;
use super::layer::Pass;
use crate::model::parts::{Part, Places};

/// Keys and values of all layers for the text read so far.
///
/// Made by [`Engine::cache`](super::Engine::cache), filled by [`Engine::prefill`](super::Engine::prefill).
#[derive(Debug)]
pub struct Cache<D: Device> {
    layers: Vec<Layer<D>>,
    /// Layers, key width G·D, hidden size, vocabulary: what an engine must share to use this cache.
    pub(super) fit: [usize; 4],
    /// Rows that every layer has seen.
    rows: usize,
    /// Rows that will have been seen when the present text is read.
    ahead: usize,
    growth: Growth,
    work: Work<D>,
    /// The final norm's output at the last row `[C]`.
    pub(super) last: D::Buffer,
    /// Logits after the last row `[V]`.
    pub(super) logits: D::Buffer,
}

/// How far segments grow.
#[derive(Clone, Copy, Debug)]
struct Growth {
    /// Most rows at once: what a window layer keeps beyond its window.
    chunk: usize,
    /// Rows of the whole text, as far as the caller knows.
    limit: usize,
}

impl<D: Device> Cache<D> {
    /// An empty cache for texts of about `limit` rows, read at most `chunk` rows at a time.
    pub(super) fn new(device: &D, plan: &Plan, limit: usize, chunk: usize) -> Result<Self, Error> {
        let model = &plan.model;
        let width = model.kv_width();
        let layer = |&pattern: &Pattern| -> Result<Layer<D>, Error> {
            Ok(Layer { pattern, recent: Segment::new(device, 0, 0, width)?, far: None })
        };
        Ok(Self {
            layers: plan.layers.iter().map(layer).collect::<Result<_, _>>()?,
            fit: Self::fit(plan),
            rows: 0,
            ahead: 0,
            growth: Growth { chunk: chunk.max(1), limit },
            work: Work {
                out: Grown::new(device)?,
                lse: Grown::new(device)?,
                keys: Grown::new(device)?,
                queries: Grown::new(device)?,
            },
            last: device.zeros(model.hidden)?,
            logits: device.zeros(model.vocab)?,
        })
    }

    /// See the field.
    pub(super) fn fit(plan: &Plan) -> [usize; 4] {
        [plan.layers.len(), plan.model.kv_width(), plan.model.hidden, plan.model.vocab]
    }

    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of keys and values on the device, with the room that is not used yet.
    pub fn bytes(&self) -> u64 {
        let of = |layer: &Layer<D>| layer.recent.bytes + layer.far.as_ref().map_or(0, |far| far.segment.bytes);
        self.layers.iter().map(of).sum()
    }

    /// Most rows of one pass.
    pub(super) fn chunk(&self) -> usize {
        self.growth.chunk
    }

    /// Says that `rows` more rows follow, so that full layers grow once.
    pub(super) fn announce(&mut self, rows: usize) {
        self.ahead = self.rows + rows;
    }

    /// Counts the rows that every layer has stored. Until then a pass that fails leaves no trace.
    pub(super) fn commit(&mut self, rows: usize) {
        self.rows += rows;
    }

    /// Puts a pass's keys and values `[T, G, D]` behind those of layer `index`.
    pub(super) fn store(
        &mut self,
        pass: &Pass<'_, D>,
        index: usize,
        keys: &D::Buffer,
        values: &D::Buffer,
    ) -> Result<(), Error> {
        let (device, layer) = (pass.device, &mut self.layers[index]);
        layer.make_room(device, self.rows, pass.rows, self.ahead, self.growth)?;
        let to = &mut layer.recent;
        let width = to.width;
        let offset = (self.rows - to.first) * width;
        device.copy_range(keys, 0, &mut to.keys, offset, pass.rows * width);
        device.copy_range(values, 0, &mut to.values, offset, pass.rows * width);
        Ok(())
    }

    /// Attention of a pass's queries over all that layer `index` keeps. With `late`, keys are stored as they were before
    /// rotation and turned now, and so are the queries of a pattern that remaps.
    pub(super) fn attend(
        &mut self,
        pass: &Pass<'_, D>,
        index: usize,
        mut late: Option<&mut Turn<'_, D>>,
        q: &D::Buffer,
        (out, lse): (&mut D::Buffer, &mut D::Buffer),
    ) -> Result<(), Error> {
        let (device, model, layer, work) = (pass.device, pass.model, &self.layers[index], &mut self.work);
        let (begin, end) = (self.rows, self.rows + pass.rows);
        let mut turned_for = None;
        for (nth, part) in pass.parts(layer.pattern).iter().enumerate() {
            let [query, key] = part.places.map_or([Places::OWN; 2], |places| places);
            let q = match late.as_deref_mut().filter(|_| part.places.is_some()) {
                Some(turn) => {
                    let positions = (begin..end).map(|row| query.of(row)).collect();
                    turn.copy(pass, (q, model.heads), positions, &mut work.queries)?
                }
                None => q,
            };
            for kept in layer.kept(end) {
                let k = match late.as_deref_mut() {
                    // Parts often want the same keys.
                    Some(_) if turned_for == Some(key) && layer.far.is_none() => &work.keys.buffer,
                    Some(turn) => {
                        turned_for = Some(key);
                        let positions = (0..kept.len).map(|index| key.of(kept.row(index))).collect();
                        turn.copy(pass, (&kept.segment.keys, model.kv_heads), positions, &mut work.keys)?
                    }
                    None => &kept.segment.keys,
                };
                let whole = pass.attention_job(kept.patterns(part));
                let shape = Shape { keys: kept.len, ..whole.shape };
                let job = Attention { shape, query_row: begin, key_row: kept.key_row(), ..whole };
                if nth == 0 && kept.far.is_none() {
                    device.attention(pass.batch, &job, q, k, &kept.segment.values, out, lse);
                    continue;
                }
                let more = work.out.at_least(device, pass.rows * model.query_width())?;
                let more_lse = work.lse.at_least(device, pass.rows * model.heads)?;
                device.attention(pass.batch, &job, q, k, &kept.segment.values, more, more_lse);
                device.merge(&job, (out, lse), (more, more_lse));
            }
        }
        Ok(())
    }
}

/// What one layer keeps.
#[derive(Debug)]
struct Layer<D: Device> {
    pattern: Pattern,
    /// The rows up to the last one.
    recent: Segment<D>,
    /// Rows before those of `recent` that every later row sees.
    far: Option<Far<D>>,
}

/// Rows without the ones between them, which nobody sees any more.
#[derive(Debug)]
struct Far<D: Device> {
    segment: Segment<D>,
    /// Which rows they are, ascending.
    rows: Vec<usize>,
}

/// One piece of what a layer keeps.
struct Kept<'a, D: Device> {
    segment: &'a Segment<D>,
    len: usize,
    /// Their rows, where they are not consecutive.
    far: Option<&'a [usize]>,
}

impl<D: Device> Kept<'_, D> {
    fn row(&self, index: usize) -> usize {
        self.far.map_or(self.segment.first + index, |rows| rows[index])
    }

    /// What a query sees of them: all of those that are far.
    fn patterns<'p>(&self, part: &'p Part) -> Patterns<'p> {
        if self.far.is_some() { attention::Pattern::Full.into() } else { part.patterns() }
    }

    /// Far rows count from 0, which leaves all of them before any query.
    fn key_row(&self) -> usize {
        if self.far.is_some() { 0 } else { self.segment.first }
    }
}

impl<D: Device> Layer<D> {
    fn kept(&self, end: usize) -> impl Iterator<Item = Kept<'_, D>> {
        let recent = Kept { segment: &self.recent, len: end - self.recent.first, far: None };
        let far = self.far.as_ref();
        let far = far.map(|far| Kept { segment: &far.segment, len: far.rows.len(), far: Some(&far.rows) });
        [recent].into_iter().chain(far)
    }

    /// Makes `recent` fit `rows` more rows behind the first `held`.
    fn make_room(&mut self, device: &D, held: usize, rows: usize, ahead: usize, growth: Growth) -> Result<(), Error> {
        let (end, most) = (held + rows, self.most(growth.chunk));
        if end - self.recent.first > most {
            self.drop_unseen(device, held)?;
        }
        let (first, capacity) = (self.recent.first, self.recent.capacity);
        let needed = end - first;
        if needed <= capacity {
            return Ok(());
        }
        let bound = if end <= growth.limit { most.min(growth.limit - first) } else { most };
        let roomy = capacity.max(ahead.saturating_sub(first)).saturating_mul(2);
        self.recent.grow(device, first..held, needed.max(roomy.min(bound)))
    }

    /// Rows that `recent` may hold: all, or those that the next chunk sees besides the chunk itself.
    fn most(&self, chunk: usize) -> usize {
        match self.pattern {
            Pattern::Window { window, sink } => window.saturating_sub(1).max(sink).saturating_add(chunk),
            Pattern::Strided { block, local, .. } => local.saturating_mul(block).saturating_add(chunk),
            _ => usize::MAX,
        }
    }

    /// Drops the rows that no row from `held` on sees. Those that all of them see move to `far`.
    fn drop_unseen(&mut self, device: &D, held: usize) -> Result<(), Error> {
        let first = self.recent.first;
        let (seen, far): (usize, Vec<usize>) = match self.pattern {
            Pattern::Window { window, sink } => {
                let seen = (held + 1).saturating_sub(window).max(sink).min(held);
                (seen, (first..sink).collect())
            }
            Pattern::Strided { block, stride, local } => {
                let seen = ((held / block + 1).saturating_sub(local) * block).min(held);
                (seen, (first..seen).filter(|row| (row / block).is_multiple_of(stride)).collect())
            }
            _ => return Ok(()),
        };
        if !far.is_empty() {
            let width = self.recent.width;
            let empty = || Ok::<_, Error>(Far { segment: Segment::new(device, 0, 0, width)?, rows: vec![] });
            let to = self.far.take().map_or_else(empty, Ok)?;
            self.far = Some(to.with(device, &self.recent, far)?);
        }
        self.recent.drop_before(device, seen, held);
        Ok(())
    }
}

impl<D: Device> Far<D> {
    /// Takes `rows` over from `recent`.
    fn with(mut self, device: &D, recent: &Segment<D>, rows: Vec<usize>) -> Result<Self, Error> {
        let (held, width) = (self.rows.len(), recent.width);
        self.rows.extend(rows);
        if self.rows.len() > self.segment.capacity {
            // One piece, as a window's sinks are, takes just its room; one that goes on growing doubles.
            let capacity = if held == 0 { self.rows.len() } else { 2 * self.rows.len() };
            self.segment.grow(device, 0..held, capacity)?;
        }
        for index in held..self.rows.len() {
            let from = (self.rows[index] - recent.first) * width;
            device.copy_range(&recent.keys, from, &mut self.segment.keys, index * width, width);
            device.copy_range(&recent.values, from, &mut self.segment.values, index * width, width);
        }
        Ok(self)
    }
}

/// Keys and values of consecutive rows, `[capacity, G, D]` each.
#[derive(Debug)]
struct Segment<D: Device> {
    keys: D::Buffer,
    values: D::Buffer,
    /// The row at index 0.
    first: usize,
    capacity: usize,
    /// G·D.
    width: usize,
    bytes: u64,
}

impl<D: Device> Segment<D> {
    fn new(device: &D, first: usize, capacity: usize, width: usize) -> Result<Self, Error> {
        let before = device.memory().0;
        let (keys, values) = (device.zeros(capacity * width)?, device.zeros(capacity * width)?);
        let bytes = device.memory().0.saturating_sub(before);
        Ok(Self { keys, values, first, capacity, width, bytes })
    }

    /// Moves to a larger place, with `rows`.
    fn grow(&mut self, device: &D, rows: Range<usize>, capacity: usize) -> Result<(), Error> {
        let mut larger = Self::new(device, self.first, capacity, self.width)?;
        larger.copy(device, self, rows);
        *self = larger;
        Ok(())
    }

    fn copy(&mut self, device: &D, from: &Self, rows: Range<usize>) {
        let at = |segment: &Self| (rows.start - segment.first) * segment.width;
        let (source, target, len) = (at(from), at(self), rows.len() * self.width);
        device.copy_range(&from.keys, source, &mut self.keys, target, len);
        device.copy_range(&from.values, source, &mut self.values, target, len);
    }

    /// Moves the rows `row..end` to the beginning.
    fn drop_before(&mut self, device: &D, row: usize, end: usize) {
        let (offset, len) = ((row - self.first) * self.width, (end - row) * self.width);
        device.move_within(&mut self.keys, offset, 0, len);
        device.move_within(&mut self.values, offset, 0, len);
        self.first = row;
    }
}

/// Buffers that one layer's attention needs while it runs.
#[derive(Debug)]
struct Work<D: Device> {
    /// Attention over another part or piece `[T, H, D]`.
    out: Grown<D>,
    /// Its log-sum-exp `[T, H]`.
    lse: Grown<D>,
    /// Keys turned at use `[rows, G, D]`.
    keys: Grown<D>,
    /// Queries turned at use `[T, H, D]`.
    queries: Grown<D>,
}

/// A buffer that grows to the largest size asked of it.
#[derive(Debug)]
struct Grown<D: Device> {
    buffer: D::Buffer,
    len: usize,
}

impl<D: Device> Grown<D> {
    fn new(device: &D) -> Result<Self, Error> {
        Ok(Self { buffer: device.zeros(0)?, len: 0 })
    }

    fn at_least(&mut self, device: &D, len: usize) -> Result<&mut D::Buffer, Error> {
        if self.len < len {
            *self = Self { buffer: device.zeros(len)?, len };
        }
        Ok(&mut self.buffer)
    }
}

/// Rotation at use: for a base that follows the length, where keys that were cached rotated would keep the base of their
/// own time (Peng et al. 2023, arXiv 2309.00071, section 3.3), and for patterns whose parts want other positions.
pub(super) struct Turn<'a, D: Device> {
    inv_freq: &'a [f64],
    attention_factor: f64,
    /// Tables by positions: layers of one pattern share them.
    tables: Vec<(Vec<u32>, D::Batch)>,
}

impl<'a, D: Device> Turn<'a, D> {
    pub(super) fn new(inv_freq: &'a [f64], attention_factor: f64) -> Self {
        Self { inv_freq, attention_factor, tables: vec![] }
    }

    /// The first rows of `x` `[rows, heads, D]`, turned to `positions`.
    fn copy<'w>(
        &mut self,
        pass: &Pass<'_, D>,
        (x, heads): (&D::Buffer, usize),
        positions: Vec<u32>,
        into: &'w mut Grown<D>,
    ) -> Result<&'w D::Buffer, Error> {
        let len = positions.len() * heads * pass.model.head_dim;
        let into = into.at_least(pass.device, len)?;
        pass.device.copy(x, into, len);
        pass.device.rope(self.table(pass.device, positions)?, heads, into, Direction::Forward);
        Ok(into)
    }

    fn table(&mut self, device: &D, positions: Vec<u32>) -> Result<&D::Batch, Error> {
        let found = self.tables.iter().position(|(made_for, _)| *made_for == positions);
        let index = found.unwrap_or(self.tables.len());
        if found.is_none() {
            let tokens = vec![0; positions.len()];
            let made = batch(device, &tokens, &positions, self.inv_freq, self.attention_factor)?;
            self.tables.push((positions, made));
        }
        Ok(&self.tables[index].1)
    }
}

/// Rows of the one document, at `positions`.
pub(super) fn batch<D: Device>(
    device: &D,
    tokens: &[u32],
    positions: &[u32],
    inv_freq: &[f64],
    attention_factor: f64,
) -> Result<D::Batch, Error> {
    let starts = vec![0; tokens.len()];
    Ok(device.batch(&Rows { tokens, positions, starts: &starts, targets: &[], inv_freq, attention_factor })?)
}

#[cfg(test)]
pub(super) mod tests;
