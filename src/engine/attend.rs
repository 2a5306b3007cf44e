//! A layer's attention: its parts, each at its own rotary positions, joined by their log-sum-exp; or, while gates learn, a
//! mixture of full and streaming attention.

use kernels::attention::{Patterns, Shape};
use kernels::device::{Attention, Device, GateGrads, Grads, Saved};
use kernels::rope::Direction;
use recipe_core::{Form, Pattern};

use super::pass::Pass;
use super::workspace::{Activations, Gated, Remap, Scratch};
use crate::model::parts::{Part, parts};

/// What the heads of a layer attend to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    /// What the pattern shows.
    Pattern(Pattern),
    /// α · full + (1 − α) · stream in each head (DuoAttention, arXiv 2410.10819, equation 2).
    Gated {
        /// Which layer's gates.
        layer: usize,
        /// What a closed gate leaves.
        stream: Pattern,
    },
}

/// Gradients of a layer's attention.
pub(crate) struct Gradient<'a, D: Device> {
    /// Of its output `[T, H, D]`.
    pub(crate) dout: &'a mut D::Buffer,
    /// `[T, H, D]`.
    pub(crate) dq: &'a mut D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dk: &'a mut D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dv: &'a mut D::Buffer,
}

impl Sight {
    pub(crate) fn remaps(self) -> bool {
        matches!(self, Self::Pattern(pattern) if pattern.remaps())
    }
}

impl<D: Device> Pass<'_, D> {
    /// `acts.attn` and `acts.lse` of `acts.q`, `acts.k`, `acts.v`; a pattern that remaps finds q and k not turned yet.
    pub(crate) fn attend(&self, sight: Sight, acts: &mut Activations<D>, scratch: &mut Scratch<D>) {
        match (sight, scratch.gated.as_mut()) {
            (Sight::Gated { layer, stream }, Some(gated)) => self.attend_gated((layer, stream), acts, gated),
            (Sight::Pattern(pattern), _) => self.attend_pattern(pattern, acts, scratch.remap.as_mut()),
            (Sight::Gated { .. }, None) => {}
        }
    }

    /// `back.dq`, `back.dk` and `back.dv` from `back.dout`, turned back; to `dgates` those of the layer's gates are added.
    pub(crate) fn attend_backward(
        &self,
        sight: Sight,
        acts: &Activations<D>,
        scratch: &mut Scratch<D>,
        back: &mut Gradient<'_, D>,
        dgates: Option<&mut D::Buffer>,
    ) {
        match (sight, scratch.gated.as_mut(), dgates) {
            (Sight::Gated { layer, stream }, Some(gated), Some(dgates)) => {
                self.gated_backward((layer, stream), acts, gated, back, dgates);
            }
            (Sight::Pattern(pattern), ..) => self.pattern_backward(pattern, acts, scratch.remap.as_mut(), back),
            (Sight::Gated { .. }, ..) => {}
        }
    }

    /// The mixture in `acts.attn`. The full part is the layer's own, with its log-sum-exp in `acts.lse`, or the full
    /// model's, which is there already.
    fn attend_gated(&self, (layer, stream): (usize, Pattern), acts: &mut Activations<D>, gated: &mut Gated<D>) {
        let (device, batch) = (self.device, self.batch);
        let Some(gates) = self.gates else { return };
        let [full_parts, stream_parts] = [Pattern::Full, stream].map(|pattern| self.parts(pattern));
        let job = self.attention_job(full_parts[0].patterns());
        if gated.form == Form::Paper {
            device.attention(batch, &job, &acts.q, &acts.k, &acts.v, &mut gated.full[0], &mut acts.lse);
        }
        let streaming = self.attention_job(stream_parts[0].patterns());
        let (out, lse) = (&mut gated.stream, &mut gated.stream_lse);
        device.attention(batch, &streaming, &acts.q, &acts.k, &acts.v, out, lse);
        let full = &gated.full[if gated.form == Form::Paper { 0 } else { layer }];
        device.gate(&job, (gates, layer * self.model.kv_heads), full, &gated.stream, &mut acts.attn);
    }

    /// The gradient of each part is the mixture's times α or 1 − α; those of q, k and v add up where both parts have one.
    fn gated_backward(
        &self,
        (layer, stream): (usize, Pattern),
        acts: &Activations<D>,
        gated: &mut Gated<D>,
        back: &mut Gradient<'_, D>,
        dgates: &mut D::Buffer,
    ) {
        let (device, batch) = (self.device, self.batch);
        let Some(gates) = self.gates else { return };
        let [full_parts, stream_parts] = [Pattern::Full, stream].map(|pattern| self.parts(pattern));
        let job = self.attention_job(full_parts[0].patterns());
        let full = &gated.full[if gated.form == Form::Paper { 0 } else { layer }];
        let into = GateGrads { dout: &mut *back.dout, dstream: &mut gated.dstream, dgates };
        device.gate_backward(&job, (gates, layer * self.model.kv_heads), (full, &gated.stream), into);
        let saved = Saved {
            q: &acts.q,
            k: &acts.k,
            v: &acts.v,
            out: &gated.stream,
            lse: &gated.stream_lse,
            dout: &gated.dstream,
        };
        let grads = Grads { dq: &mut *back.dq, dk: &mut *back.dk, dv: &mut *back.dv };
        device.attention_backward(batch, &self.attention_job(stream_parts[0].patterns()), saved, grads);
        if gated.form == Form::Paper {
            let saved = Saved { q: &acts.q, k: &acts.k, v: &acts.v, out: full, lse: &acts.lse, dout: back.dout };
            let grads = Grads { dq: &mut gated.dq, dk: &mut gated.dk, dv: &mut gated.dv };
            device.attention_backward(batch, &job, saved, grads);
            self.add_to(back, [&gated.dq, &gated.dk, &gated.dv]);
        }
        self.turn_back(back);
    }

    /// Adds gradients of q, k and v.
    fn add_to(&self, back: &mut Gradient<'_, D>, [dq, dk, dv]: [&D::Buffer; 3]) {
        let [query, key] = [self.model.query_width(), self.model.kv_width()].map(|width| width * self.rows);
        self.device.add(dq, back.dq, query);
        self.device.add(dk, back.dk, key);
        self.device.add(dv, back.dv, key);
    }

    /// Gradients of turned queries and keys become those of the unturned ones.
    fn turn_back(&self, back: &mut Gradient<'_, D>) {
        self.device.rope(self.batch, self.model.heads, back.dq, Direction::Backward);
        self.device.rope(self.batch, self.model.kv_heads, back.dk, Direction::Backward);
    }

    fn attend_pattern(&self, pattern: Pattern, acts: &mut Activations<D>, remap: Option<&mut Remap<D>>) {
        let (parts, device) = (self.parts(pattern), self.device);
        let Some(remap) = remap.filter(|_| pattern.remaps()) else {
            let job = self.attention_job(parts[0].patterns());
            return device.attention(self.batch, &job, &acts.q, &acts.k, &acts.v, &mut acts.attn, &mut acts.lse);
        };
        for (index, part) in parts.iter().enumerate() {
            self.turn(part, acts, remap);
            let job = self.attention_job(part.patterns());
            let (out, lse) =
                if index == 0 { (&mut acts.attn, &mut acts.lse) } else { (&mut remap.out, &mut remap.lse) };
            device.attention(self.batch, &job, &remap.q, &remap.k, &acts.v, out, lse);
            if index > 0 {
                device.merge(&job, (&mut acts.attn, &mut acts.lse), (&remap.out, &remap.lse));
            }
        }
    }

    /// With the joint output and log-sum-exp, each part's backward pass gives that part's share of the gradient.
    fn pattern_backward(
        &self,
        pattern: Pattern,
        acts: &Activations<D>,
        remap: Option<&mut Remap<D>>,
        back: &mut Gradient<'_, D>,
    ) {
        let (parts, device) = (self.parts(pattern), self.device);
        let Some(remap) = remap.filter(|_| pattern.remaps()) else {
            let saved = Saved { q: &acts.q, k: &acts.k, v: &acts.v, out: &acts.attn, lse: &acts.lse, dout: back.dout };
            let grads = Grads { dq: &mut *back.dq, dk: &mut *back.dk, dv: &mut *back.dv };
            device.attention_backward(self.batch, &self.attention_job(parts[0].patterns()), saved, grads);
            self.turn_back(back);
            return;
        };
        for (index, part) in parts.iter().enumerate() {
            self.turn(part, acts, remap);
            let job = self.attention_job(part.patterns());
            let (out, lse) = (&acts.attn, &acts.lse);
            let saved = Saved { q: &remap.q, k: &remap.k, v: &acts.v, out, lse, dout: back.dout };
            let (dq, dk, dv) = match index {
                0 => (&mut *back.dq, &mut *back.dk, &mut *back.dv),
                _ => (&mut remap.dq, &mut remap.dk, &mut remap.dv),
            };
            device.attention_backward(self.batch, &job, saved, Grads { dq, dk, dv });
            let (heads, kv_heads) = (self.model.heads, self.model.kv_heads);
            let [query, key] = self.tables(part);
            device.rope(query, heads, if index == 0 { back.dq } else { &mut remap.dq }, Direction::Backward);
            device.rope(key, kv_heads, if index == 0 { back.dk } else { &mut remap.dk }, Direction::Backward);
            if index > 0 {
                self.add_to(back, [&remap.dq, &remap.dk, &remap.dv]);
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
