//! The key/value cache of one generation: a layer keeps the rows that its pattern can still see, and no others.
//!
//! A full layer keeps every row. A window layer keeps the document's first `sink` rows and the recent ones, a strided one
//! every `stride`-th block and the recent ones, in two segments that are attended to separately and joined by their
//! log-sum-exp: a window's memory does not grow with the text, a stride's grows by one block in `stride`.
//! Rows are those of one document: row = position, and the document starts at row 0.

mod kept;
mod turn;

use kernels::attention::Shape;
use kernels::device::{Attention, Device};
use recipe_core::{Pattern, Plan};

use super::Error;
use super::pass::Pass;
use crate::model::parts::Places;
use kept::{Group, runs};
use turn::Grown;
pub(super) use turn::{Turn, batch};

/// Keys and values of all layers for the text read so far.
///
/// Made by [`Engine::cache`](super::Engine::cache), filled by [`Engine::prefill`](super::Engine::prefill).
#[derive(Debug)]
pub struct Cache<D: Device> {
    layers: Vec<Vec<Group<D>>>,
    /// Layers, key width G·D, hidden size, vocabulary: what an engine must share to use this cache.
    pub(super) fit: [usize; 4],
    /// Rows that every layer has seen.
    rows: usize,
    /// Rows that will have been seen when the present text is read.
    ahead: usize,
    growth: Growth,
    work: Work<D>,
    /// Where the heads of a layer differ.
    own: Option<Own<D>>,
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
        let layer = |&pattern: &Pattern| Group::all(device, pattern, model.kv_heads, model.head_dim);
        Ok(Self {
            layers: plan.layers.iter().map(layer).collect::<Result<_, _>>()?,
            fit: Self::fit(plan),
            rows: 0,
            ahead: 0,
            growth: Growth { chunk: chunk.max(1), limit },
            work: Work {
                out: Grown::new(device)?,
                lse: Grown::new_f32(device)?,
                keys: Grown::new(device)?,
                queries: Grown::new(device)?,
            },
            own: None,
            last: device.zeros(model.hidden)?,
            logits: device.zeros_f32(model.vocab)?,
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
        self.layers.iter().flatten().map(Group::bytes).sum()
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
        for group in &mut self.layers[index] {
            group.make_room(pass.device, self.rows, pass.rows, self.ahead, self.growth)?;
            group.append(pass.device, self.rows, pass.rows, pass.model.kv_width(), [keys, values]);
        }
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
        let at = Span { pass, begin: self.rows };
        let groups = &self.layers[index];
        if let [whole] = &groups[..] {
            return at.attend(whole, late, q, (out, lse), &mut self.work);
        }
        // Heads that see different things have caches of different lengths: each group is attended to by itself.
        let mut own = self.own.take().map_or_else(|| Own::new(pass.device), Ok)?;
        for group in groups {
            own.gather(pass, group, q)?;
            let into = (&mut own.out.buffer, &mut own.lse.buffer);
            at.attend(group, late.as_deref_mut(), &own.q.buffer, into, &mut self.work)?;
            own.scatter(pass, group, (out, lse));
        }
        self.own = Some(own);
        Ok(())
    }
}

/// The rows of one pass behind those that a cache holds.
struct Span<'a, 'p, D: Device> {
    pass: &'a Pass<'p, D>,
    begin: usize,
}

impl<D: Device> Span<'_, '_, D> {
    /// Attention of the group's queries over all that it keeps.
    fn attend(
        &self,
        group: &Group<D>,
        mut late: Option<&mut Turn<'_, D>>,
        q: &D::Buffer,
        (out, lse): (&mut D::Buffer, &mut D::Buffer),
        work: &mut Work<D>,
    ) -> Result<(), Error> {
        let (pass, device, end) = (self.pass, self.pass.device, self.begin + self.pass.rows);
        let (kv_heads, heads) = (group.heads.len(), self.heads(group));
        let mut turned_for = None;
        for (nth, part) in pass.parts(group.pattern).iter().enumerate() {
            let [query, key] = part.places.map_or([Places::OWN; 2], |places| places);
            let q = match late.as_deref_mut().filter(|_| part.places.is_some()) {
                Some(turn) => {
                    let positions = (self.begin..end).map(|row| query.of(row)).collect();
                    turn.copy(pass, (q, heads), positions, &mut work.queries)?
                }
                None => q,
            };
            for kept in group.kept(end) {
                let k = match late.as_deref_mut() {
                    // Parts often want the same keys.
                    Some(_) if turned_for == Some(key) && group.far.is_none() => &work.keys.buffer,
                    Some(turn) => {
                        turned_for = Some(key);
                        let positions = (0..kept.len).map(|index| key.of(kept.row(index))).collect();
                        turn.copy(pass, (&kept.segment.keys, kv_heads), positions, &mut work.keys)?
                    }
                    None => &kept.segment.keys,
                };
                let whole = pass.attention_job(kept.patterns(part));
                let shape = Shape { keys: kept.len, heads, kv_heads, ..whole.shape };
                let job = Attention { shape, query_row: self.begin, key_row: kept.key_row(), ..whole };
                if nth == 0 && kept.far.is_none() {
                    device.attention(pass.batch, &job, q, k, &kept.segment.values, out, lse);
                    continue;
                }
                let more = work.out.at_least(device, pass.rows * heads * pass.model.head_dim)?;
                let more_lse = work.lse.at_least(device, pass.rows * heads)?;
                device.attention(pass.batch, &job, q, k, &kept.segment.values, more, more_lse);
                device.merge(&job, (out, lse), (more, more_lse));
            }
        }
        Ok(())
    }

    /// Query heads of a group.
    fn heads(&self, group: &Group<D>) -> usize {
        group.heads.len() * (self.pass.model.heads / self.pass.model.kv_heads)
    }
}

/// Queries, output and log-sum-exp of one group of heads, side by side.
#[derive(Debug)]
struct Own<D: Device> {
    q: Grown<D>,
    out: Grown<D>,
    lse: Grown<D>,
}

impl<D: Device> Own<D> {
    fn new(device: &D) -> Result<Self, Error> {
        Ok(Self { q: Grown::new(device)?, out: Grown::new(device)?, lse: Grown::new_f32(device)? })
    }

    /// Takes the group's queries out of all `[T, H, D]`, and makes room for what they will see.
    fn gather(&mut self, pass: &Pass<'_, D>, group: &Group<D>, q: &D::Buffer) -> Result<(), Error> {
        let (device, rows, share) = (pass.device, pass.rows, pass.model.heads / pass.model.kv_heads);
        let (each, heads) = (share * pass.model.head_dim, share * group.heads.len());
        let own = self.q.at_least(device, rows * heads * pass.model.head_dim)?;
        for (from, place, len) in runs(&group.heads) {
            let (from, to) =
                ((q, from * each, pass.model.query_width()), (&mut *own, place * each, heads * pass.model.head_dim));
            device.copy_columns(rows, len * each, from, to);
        }
        self.out.at_least(device, rows * heads * pass.model.head_dim)?;
        self.lse.at_least(device, rows * heads)?;
        Ok(())
    }

    /// Puts what the group's queries saw among all.
    fn scatter(&self, pass: &Pass<'_, D>, group: &Group<D>, (out, lse): (&mut D::Buffer, &mut D::Buffer)) {
        let (device, rows, share) = (pass.device, pass.rows, pass.model.heads / pass.model.kv_heads);
        let (head_dim, heads) = (pass.model.head_dim, share * group.heads.len());
        for (to, place, len) in runs(&group.heads) {
            let (each, step) = (share * head_dim, pass.model.query_width());
            let from = (&self.out.buffer, place * each, heads * head_dim);
            device.copy_columns(rows, len * each, from, (&mut *out, to * each, step));
            let from = (&self.lse.buffer, place * share, heads);
            device.copy_columns(rows, len * share, from, (&mut *lse, to * share, pass.model.heads));
        }
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

#[cfg(test)]
pub(super) mod tests;
