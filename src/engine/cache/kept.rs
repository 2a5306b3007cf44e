//! What a layer keeps of its keys and values: recent rows, and far ones that every later row sees.

use std::ops::Range;

use kernels::attention::{self, Patterns};
use kernels::device::Device;
use recipe_core::Pattern;

use super::Growth;
use crate::engine::Error;
use crate::model::parts::Part;

/// What a layer keeps of key/value heads that see the same.
#[derive(Debug)]
pub(super) struct Group<D: Device> {
    /// The heads, ascending.
    pub(super) heads: Vec<usize>,
    pub(super) pattern: Pattern,
    /// The rows up to the last one.
    recent: Segment<D>,
    /// Rows before those of `recent` that every later row sees.
    pub(super) far: Option<Far<D>>,
}

/// Rows without the ones between them, which nobody sees any more.
#[derive(Debug)]
pub(super) struct Far<D: Device> {
    segment: Segment<D>,
    /// Which rows they are, ascending.
    rows: Vec<usize>,
}

/// One piece of what a layer keeps.
pub(super) struct Kept<'a, D: Device> {
    pub(super) segment: &'a Segment<D>,
    pub(super) len: usize,
    /// Their rows, where they are not consecutive.
    pub(super) far: Option<&'a [usize]>,
}

impl<D: Device> Kept<'_, D> {
    pub(super) fn row(&self, index: usize) -> usize {
        self.far.map_or(self.segment.first + index, |rows| rows[index])
    }

    /// What a query sees of them: all of those that are far.
    pub(super) fn patterns<'p>(&self, part: &'p Part) -> Patterns<'p> {
        if self.far.is_some() { attention::Pattern::Full.into() } else { part.patterns() }
    }

    /// Far rows count from 0, which leaves all of them before any query.
    pub(super) fn key_row(&self) -> usize {
        if self.far.is_some() { 0 } else { self.segment.first }
    }
}

impl<D: Device> Group<D> {
    /// The groups of a layer's `kv_heads` heads of `head_dim`, empty yet.
    pub(super) fn all(device: &D, pattern: Pattern, kv_heads: usize, head_dim: usize) -> Result<Vec<Self>, Error> {
        let group = |(heads, pattern): (Vec<usize>, Pattern)| -> Result<Self, Error> {
            let recent = Segment::new(device, 0, 0, heads.len() * head_dim)?;
            Ok(Self { heads, pattern, recent, far: None })
        };
        let apart = match pattern {
            Pattern::Duo { window, sink, .. } => {
                let (stream, full): (Vec<usize>, Vec<usize>) = (0..kv_heads).partition(|head| pattern.streams(*head));
                vec![(full, Pattern::Full), (stream, Pattern::Window { window, sink })]
            }
            whole => vec![((0..kv_heads).collect(), whole)],
        };
        apart.into_iter().filter(|(heads, _)| !heads.is_empty()).map(group).collect()
    }

    /// Bytes of keys and values, with the room that is not used yet.
    pub(super) fn bytes(&self) -> u64 {
        self.recent.bytes + self.far.as_ref().map_or(0, |far| far.segment.bytes)
    }

    /// Puts the group's heads of a pass's keys and values `[T, G, D]` behind those that are there.
    pub(super) fn append(&mut self, device: &D, held: usize, rows: usize, step: usize, new: [&D::Buffer; 2]) {
        let to = &mut self.recent;
        let (width, head_dim) = (to.width, to.width / self.heads.len());
        for (from, to_row, len) in runs(&self.heads) {
            let offset = (held - to.first) * width + to_row * head_dim;
            let from = from * head_dim;
            device.copy_columns(rows, len * head_dim, (new[0], from, step), (&mut to.keys, offset, width));
            device.copy_columns(rows, len * head_dim, (new[1], from, step), (&mut to.values, offset, width));
        }
    }

    pub(super) fn kept(&self, end: usize) -> impl Iterator<Item = Kept<'_, D>> {
        let recent = Kept { segment: &self.recent, len: end - self.recent.first, far: None };
        let far = self.far.as_ref();
        let far = far.map(|far| Kept { segment: &far.segment, len: far.rows.len(), far: Some(&far.rows) });
        [recent].into_iter().chain(far)
    }

    /// Makes `recent` fit `rows` more rows behind the first `held`.
    pub(super) fn make_room(
        &mut self,
        device: &D,
        held: usize,
        rows: usize,
        ahead: usize,
        growth: Growth,
    ) -> Result<(), Error> {
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
pub(super) struct Segment<D: Device> {
    pub(super) keys: D::Buffer,
    pub(super) values: D::Buffer,
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

/// Runs of consecutive numbers: the first, its place in the list, and how many.
pub(super) fn runs(heads: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = vec![];
    for (place, &head) in heads.iter().enumerate() {
        match runs.last_mut().filter(|(first, _, len)| first + len == head) {
            Some((_, _, len)) => *len += 1,
            None => runs.push((head, place, 1)),
        }
    }
    runs
}
