//! A layer's attention: its parts, each at its own rotary positions, joined by their log-sum-exp.

use kernels::attention::{Patterns, Shape};
use kernels::device::{Attention, Device, Grads, Rows, Saved};
use kernels::rope::Direction;
use recipe_core::{Pattern, Plan};

use super::Error;
use super::layer::Pass;
use super::workspace::{Activations, BackwardScratch, Remap};
use crate::model::parts::{Part, Places, parts, places};

/// Rotary tables of positions that patterns give to the rows of a pass.
pub(crate) struct Turned<D: Device>(Vec<(Places, D::Batch)>);

impl<D: Device> Turned<D> {
    /// The tables of every part of the plan's patterns for rows whose documents begin at `rows.starts`.
    pub(crate) fn new(device: &D, plan: &Plan, rows: &Rows<'_>) -> Result<Self, Error> {
        let mut tables: Vec<(Places, D::Batch)> = vec![];
        for places in places(&plan.layers) {
            let positions: Vec<u32> =
                rows.starts.iter().enumerate().map(|(row, start)| places.of(row - start)).collect();
            tables.push((places, device.batch(&Rows { positions: &positions, targets: &[], ..*rows })?));
        }
        Ok(Self(tables))
    }

    /// For a pass whose keys come out of a cache, which turns them itself.
    pub(crate) fn none() -> Self {
        Self(vec![])
    }

    fn at(&self, places: Places) -> Option<&D::Batch> {
        self.0.iter().find(|(made_for, _)| *made_for == places).map(|(_, table)| table)
    }
}

impl<D: Device> Pass<'_, D> {
    /// `acts.attn_out` and `acts.lse` of `acts.q`, `acts.k`, `acts.v`; a pattern that remaps finds q and k not turned yet.
    pub(crate) fn attend(&self, pattern: Pattern, acts: &mut Activations<D>, remap: Option<&mut Remap<D>>) {
        let (parts, device) = (self.parts(pattern), self.device);
        let Some(remap) = remap.filter(|_| pattern.remaps()) else {
            let job = self.attention_job(parts[0].patterns());
            return device.attention(self.batch, &job, &acts.q, &acts.k, &acts.v, &mut acts.attn_out, &mut acts.lse);
        };
        for (index, part) in parts.iter().enumerate() {
            self.turn(part, acts, remap);
            let job = self.attention_job(part.patterns());
            let (out, lse) =
                if index == 0 { (&mut acts.attn_out, &mut acts.lse) } else { (&mut remap.out, &mut remap.lse) };
            device.attention(self.batch, &job, &remap.q, &remap.k, &acts.v, out, lse);
            if index > 0 {
                device.merge(&job, (&mut acts.attn_out, &mut acts.lse), (&remap.out, &remap.lse));
            }
        }
    }

    /// `back.dq`, `back.dk` and `back.dv` from `back.dattn`, turned back.
    ///
    /// With the joint output and log-sum-exp, each part's backward pass gives that part's share of the gradient.
    pub(crate) fn attend_backward(
        &self,
        pattern: Pattern,
        acts: &Activations<D>,
        remap: Option<&mut Remap<D>>,
        back: &mut BackwardScratch<D>,
    ) {
        let (parts, device) = (self.parts(pattern), self.device);
        let Some(remap) = remap.filter(|_| pattern.remaps()) else {
            let saved =
                Saved { q: &acts.q, k: &acts.k, v: &acts.v, out: &acts.attn_out, lse: &acts.lse, dout: &back.dattn };
            let grads = Grads { dq: &mut back.dq, dk: &mut back.dk, dv: &mut back.dv };
            device.attention_backward(self.batch, &self.attention_job(parts[0].patterns()), saved, grads);
            device.rope(self.batch, self.model.heads, &mut back.dq, Direction::Backward);
            device.rope(self.batch, self.model.kv_heads, &mut back.dk, Direction::Backward);
            return;
        };
        for (index, part) in parts.iter().enumerate() {
            self.turn(part, acts, remap);
            let job = self.attention_job(part.patterns());
            let (out, lse) = (&acts.attn_out, &acts.lse);
            let saved = Saved { q: &remap.q, k: &remap.k, v: &acts.v, out, lse, dout: &back.dattn };
            let (dq, dk, dv) = match index {
                0 => (&mut back.dq, &mut back.dk, &mut back.dv),
                _ => (&mut remap.dq, &mut remap.dk, &mut remap.dv),
            };
            device.attention_backward(self.batch, &job, saved, Grads { dq, dk, dv });
            let (heads, kv_heads) = (self.model.heads, self.model.kv_heads);
            let [query, key] = self.tables(part);
            device.rope(query, heads, if index == 0 { &mut back.dq } else { &mut remap.dq }, Direction::Backward);
            device.rope(key, kv_heads, if index == 0 { &mut back.dk } else { &mut remap.dk }, Direction::Backward);
            if index > 0 {
                let [query, key] = [self.model.query_width(), self.model.kv_width()].map(|width| width * self.rows);
                device.add(&remap.dq, &mut back.dq, query);
                device.add(&remap.dk, &mut back.dk, key);
                device.add(&remap.dv, &mut back.dv, key);
            }
        }
    }

    /// Turned copies of q and k in `remap`.
    fn turn(&self, part: &Part, acts: &Activations<D>, remap: &mut Remap<D>) {
        let (device, [query, key]) = (self.device, self.tables(part));
        device.copy(&acts.q, &mut remap.q, self.rows * self.model.query_width());
        device.copy(&acts.k, &mut remap.k, self.rows * self.model.kv_width());
        device.rope(query, self.model.heads, &mut remap.q, Direction::Forward);
        device.rope(key, self.model.kv_heads, &mut remap.k, Direction::Forward);
    }

    /// The tables of a part's queries and keys; the batch's own where it has no places of its own.
    fn tables(&self, part: &Part) -> [&D::Batch; 2] {
        let table = |index: usize| part.places.and_then(|places| self.turned.at(places[index])).unwrap_or(self.batch);
        [table(0), table(1)]
    }

    pub(crate) fn parts(&self, pattern: Pattern) -> Vec<Part> {
        parts(pattern, self.model.heads, self.model.kv_heads)
    }

    /// Self-attention over the pass's own rows.
    pub(crate) fn attention_job<'p>(&self, patterns: Patterns<'p>) -> Attention<'p> {
        let shape = Shape {
            queries: self.rows,
            keys: self.rows,
            heads: self.model.heads,
            kv_heads: self.model.kv_heads,
            head_dim: self.model.head_dim,
        };
        // YaRN's temperature rides on cos and sin instead.
        let scale = (1.0 / (self.model.head_dim as f64).sqrt()) as f32;
        Attention { shape, patterns, query_row: 0, key_row: 0, scale }
    }
}
