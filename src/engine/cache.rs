//! The key/value cache of one generation: a layer keeps the rows that its pattern can still see, and no others.
//!
//! A full layer keeps every row. A window layer keeps the document's first `sink` rows and the recent ones, in two
//! segments that are attended to separately and joined by their log-sum-exp, so its memory does not grow with the text.
//! Rows are those of one document: row = position, and the document starts at row 0.

use std::ops::Range;

use kernels::attention::Shape;
use kernels::device::{Attention, Device, Rows};
use kernels::rope::Direction;
use recipe_core::{Pattern, Plan};

use super::Error;
use super::layer::Pass;

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
            Ok(Layer { pattern, recent: Segment::new(device, 0, 0, width)?, sinks: None })
        };
        Ok(Self {
            layers: plan.layers.iter().map(layer).collect::<Result<_, _>>()?,
            fit: Self::fit(plan),
            rows: 0,
            ahead: 0,
            growth: Growth { chunk: chunk.max(1), limit },
            work: Work { out: Grown::new(device)?, lse: Grown::new(device)?, keys: Grown::new(device)? },
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
        let of = |layer: &Layer<D>| layer.recent.bytes + layer.sinks.as_ref().map_or(0, |sinks| sinks.bytes);
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

    /// Attention of a pass's rotated queries over all that layer `index` keeps. `turn` says that keys are stored as they
    /// were before rotation.
    pub(super) fn attend(
        &mut self,
        pass: &Pass<'_, D>,
        index: usize,
        mut turn: Option<&mut Turn<'_, D>>,
        q: &D::Buffer,
        (out, lse): (&mut D::Buffer, &mut D::Buffer),
    ) -> Result<(), Error> {
        let (device, model, work, layer) = (pass.device, pass.model, &mut self.work, &self.layers[index]);
        let whole = Attention { query_row: self.rows, ..pass.attention_job(layer.pattern) };
        let job = |rows: &Range<usize>| {
            let shape = Shape { keys: rows.len(), ..whole.shape };
            Attention { shape, key_row: rows.start, ..whole }
        };
        let rows = layer.recent.first..self.rows + pass.rows;
        let keys = turned(pass, &layer.recent, &rows, turn.as_deref_mut(), &mut work.keys)?;
        device.attention(pass.batch, &job(&rows), q, keys, &layer.recent.values, out, lse);
        let Some(sinks) = &layer.sinks else { return Ok(()) };
        let rows = 0..sinks.capacity;
        let keys = turned(pass, sinks, &rows, turn, &mut work.keys)?;
        let sink_out = work.out.at_least(device, pass.rows * model.query_width())?;
        let sink_lse = work.lse.at_least(device, pass.rows * model.heads)?;
        device.attention(pass.batch, &job(&rows), q, keys, &sinks.values, sink_out, sink_lse);
        device.merge(&job(&rows), (out, lse), (sink_out, sink_lse));
        Ok(())
    }
}

/// What one layer keeps.
#[derive(Debug)]
struct Layer<D: Device> {
    pattern: Pattern,
    /// The rows up to the last one.
    recent: Segment<D>,
    /// The first `sink` rows, once `recent` no longer starts at row 0.
    sinks: Option<Segment<D>>,
}

impl<D: Device> Layer<D> {
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
            Pattern::Full => usize::MAX,
            Pattern::Window { window, sink } => window.saturating_sub(1).max(sink).saturating_add(chunk),
        }
    }

    /// Drops the rows that no row from `held` on sees. The sinks move to their own segment, so the two never overlap.
    fn drop_unseen(&mut self, device: &D, held: usize) -> Result<(), Error> {
        let Pattern::Window { window, sink } = self.pattern else { return Ok(()) };
        if self.sinks.is_none() && sink > 0 {
            let mut sinks = Segment::new(device, 0, sink, self.recent.width)?;
            sinks.copy(device, &self.recent, 0..sink);
            self.sinks = Some(sinks);
        }
        let seen = (held + 1).saturating_sub(window).max(sink).min(held);
        self.recent.drop_before(device, seen, held);
        Ok(())
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
    /// Attention over the sinks `[T, H, D]`.
    out: Grown<D>,
    /// Its log-sum-exp `[T, H]`.
    lse: Grown<D>,
    /// Keys turned at use `[rows, G, D]`.
    keys: Grown<D>,
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

/// Rotation of keys at use, for a base that follows the length: keys that were cached rotated would keep the base of
/// their own time (Peng et al. 2023, arXiv 2309.00071, section 3.3).
pub(super) struct Turn<'a, D: Device> {
    inv_freq: &'a [f64],
    attention_factor: f64,
    /// Tables by rows: layers of one pattern share them.
    tables: Vec<(Range<usize>, D::Batch)>,
}

impl<'a, D: Device> Turn<'a, D> {
    pub(super) fn new(inv_freq: &'a [f64], attention_factor: f64) -> Self {
        Self { inv_freq, attention_factor, tables: vec![] }
    }

    fn table(&mut self, device: &D, rows: &Range<usize>) -> Result<&D::Batch, Error> {
        let found = self.tables.iter().position(|(made_for, _)| made_for == rows);
        let index = found.unwrap_or(self.tables.len());
        if found.is_none() {
            let made = batch(device, &vec![0; rows.len()], rows.start, self.inv_freq, self.attention_factor)?;
            self.tables.push((rows.clone(), made));
        }
        Ok(&self.tables[index].1)
    }
}

/// The segment's keys at `rows` as attention wants them: as stored, or turned now.
fn turned<'a, D: Device>(
    pass: &Pass<'_, D>,
    segment: &'a Segment<D>,
    rows: &Range<usize>,
    turn: Option<&mut Turn<'_, D>>,
    into: &'a mut Grown<D>,
) -> Result<&'a D::Buffer, Error> {
    let Some(turn) = turn else { return Ok(&segment.keys) };
    let into = into.at_least(pass.device, segment.capacity * segment.width)?;
    pass.device.copy(&segment.keys, into, rows.len() * segment.width);
    pass.device.rope(turn.table(pass.device, rows)?, pass.model.kv_heads, into, Direction::Forward);
    Ok(into)
}

/// Rows of the one document from row `first` on.
pub(super) fn batch<D: Device>(
    device: &D,
    tokens: &[u32],
    first: usize,
    inv_freq: &[f64],
    attention_factor: f64,
) -> Result<D::Batch, Error> {
    let positions: Vec<u32> = (first as u32..).take(tokens.len()).collect();
    let starts = vec![0; tokens.len()];
    Ok(device.batch(&Rows {
        tokens,
        positions: &positions,
        starts: &starts,
        targets: &[],
        inv_freq,
        attention_factor,
    })?)
}

#[cfg(test)]
pub(super) mod tests;
