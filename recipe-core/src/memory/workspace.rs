//! Every buffer that the layers of a pass share: the one list that the engine allocates and [`Plan::memory`] adds up.
//!
//! T is the number of rows, C the hidden size, H and G heads of queries and of keys, D a head's size, F the MLP's width. An MLP
//! goes over `t` rows at a time, [`Plan::tile`] at most. Large buffers that are never needed at once are one buffer, whose line
//! says when it is what: in attention's backward pass, where most is needed, everything is in use but the MLP's tile.

use std::convert::Infallible;

use crate::model::Llama;
use crate::plan::Plan;
use crate::terms::{Form, Target};

/// Layer inputs that stay in the device's memory where the others leave it: the one at hand, and one on its way.
pub const NEAR: usize = 2;

/// One buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// How many numbers it holds.
    pub len: usize,
    /// Whether they are f32 on every device; else they are as the device stores activations.
    pub exact: bool,
    /// Whether it waits for the backward pass, one for each layer.
    pub waits: bool,
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward only.
    Score,
    /// Forward and backward; both as in the stage.
    Train {
        /// Activations of one layer at a time.
        recompute: bool,
        /// Layer inputs wait outside of the device's memory; two of them are in it.
        offload: bool,
    },
    /// Forward of the full and of the gated model, backward of the latter, activations of one layer at a time.
    Gates {
        /// What an open gate lets through.
        form: Form,
    },
}

impl Purpose {
    /// Layers whose activations are kept; 0 where they are computed again, or nobody asks for them.
    fn kept(self, layers: usize) -> usize {
        if matches!(self, Self::Train { recompute: false, .. }) { layers } else { 0 }
    }

    /// Layers whose inputs wait outside of the device's memory; the last two never leave.
    fn offloaded(self, layers: usize) -> usize {
        if matches!(self, Self::Train { offload: true, .. }) { layers.saturating_sub(NEAR) } else { 0 }
    }
}

/// Everything a pass over `rows` rows writes into.
#[derive(Debug)]
pub struct Workspace<B> {
    /// T.
    pub rows: usize,
    /// The residual stream `[T, C]`: the input of a layer, and between its attention and its MLP; in the backward pass of
    /// attention the gradient of its queries `[T, H, D]`.
    pub x: B,
    /// The final norm's output `[T, C]`; in the backward pass the gradient of the residual stream.
    pub normed: B,
    /// Layer inputs `[T, C]`, kept for the backward pass; empty for inference. Where they are offloaded, [`NEAR`] of them: a
    /// layer's is the one at its number modulo that.
    pub inputs: Vec<B>,
    /// One per layer where activations are kept, else one that all layers share.
    pub saved: Vec<Activations<B>>,
    /// One per layer where activations are kept, else none.
    pub kept: Vec<Kept<B>>,
    /// Buffers that live within one layer's pass.
    pub scratch: Scratch<B>,
    /// While something learns.
    pub backward: Option<Backward<B>>,
}

/// What a layer's attention leaves for its backward pass.
#[derive(Debug)]
pub struct Activations<B> {
    /// Queries `[T, H, D]` and keys `[T, G, D]` before their norms, where they have any.
    pub raw: Option<[B; 2]>,
    /// Rotated queries `[T, H, D]`.
    pub q: B,
    /// Rotated keys `[T, G, D]`.
    pub k: B,
    /// Values `[T, G, D]`.
    pub v: B,
    /// Attention's output `[T, H, D]`; before it, and behind its backward pass again, the normed input `[T, C]`.
    pub attn: B,
    /// Log-sum-exp `[T, H]`.
    pub lse: B,
}

/// What is kept of a layer's second half where nothing is computed again.
#[derive(Debug)]
pub struct Kept<B> {
    /// The residual stream between attention and MLP `[T, C]`.
    pub middle: B,
    /// `[T, F]`.
    pub gate: B,
    /// `[T, F]`.
    pub up: B,
}

/// Buffers that live within one layer's pass.
#[derive(Debug)]
pub struct Scratch<B> {
    /// The MLP's.
    pub mlp: Mlp<B>,
    /// The adapters'.
    pub adapting: Adapting<B>,
    /// Where a pattern gives rows other positions than their own.
    pub remap: Option<Remap<B>>,
    /// While gates learn.
    pub gated: Option<Gated<B>>,
}

/// What an MLP needs for `t` rows.
#[derive(Debug)]
pub struct Mlp<B> {
    /// t.
    pub rows: usize,
    /// The rows of the residual stream `[t, C]`; empty where all rows are one tile.
    pub x: B,
    /// The rows of its gradient `[t, C]`; empty there, and for inference.
    pub dx: B,
    /// Normed rows `[t, C]`.
    pub normed: B,
    /// `[t, F]`; empty where gate and up are kept, as is `up`.
    pub gate: B,
    /// `[t, F]`.
    pub up: B,
    /// silu(gate) · up `[t, F]`.
    pub act: B,
    /// Gradient of `act` `[t, F]`; empty for inference.
    pub dact: B,
}

/// What an adapter's pass needs.
#[derive(Debug)]
pub struct Adapting<B> {
    /// x Aᵀ `[T, rank]`.
    pub low: B,
    /// x with some of it left out, `[T, C]` or what an MLP's tile has; empty where nothing is.
    pub thinned: B,
}

/// One part of an attention whose parts stand at different positions.
#[derive(Debug)]
pub struct Remap<B> {
    /// Turned queries `[T, H, D]`.
    pub q: B,
    /// Turned keys `[T, G, D]`.
    pub k: B,
    /// Output `[T, H, D]`.
    pub out: B,
    /// Log-sum-exp `[T, H]`.
    pub lse: B,
    /// `[T, H, D]`; empty for inference, as are the next two.
    pub dq: B,
    /// `[T, G, D]`.
    pub dk: B,
    /// `[T, G, D]`.
    pub dv: B,
}

/// What gated heads need beside one attention.
#[derive(Debug)]
pub struct Gated<B> {
    /// Whose full attention an open gate lets through.
    pub form: Form,
    /// The full model's last hidden states, normed `[T, C]`.
    pub taught: B,
    /// What an open gate lets through `[T, H, D]`: the gated model's own attention of the layer at hand, or the full model's
    /// of every layer.
    pub full: Vec<B>,
    /// The streaming part `[T, H, D]`.
    pub stream: B,
    /// Its log-sum-exp `[T, H]`.
    pub stream_lse: B,
    /// Its gradient `[T, H, D]`.
    pub dstream: B,
    /// Gradients through the full part `[T, H, D]`; empty where it has none, as are the next two.
    pub dq: B,
    /// `[T, G, D]`.
    pub dk: B,
    /// `[T, G, D]`.
    pub dv: B,
}

/// Buffers that only a backward pass needs.
#[derive(Debug)]
pub struct Backward<B> {
    /// Gradient of a norm's output `[T, C]`; between the two, that of attention's output `[T, H, D]`.
    pub dbranch: B,
    /// `[T, G, D]`.
    pub dk: B,
    /// `[T, G, D]`.
    pub dv: B,
    /// Gradient of `low` `[T, rank]`.
    pub dlow: B,
}

impl Plan {
    /// The workspace of a pass over `rows` rows, its buffers made by `make`, which is asked for the same ones in the same order
    /// every time.
    ///
    /// # Errors
    /// The first of `make`.
    pub fn workspace<B, E>(
        &self,
        rows: usize,
        purpose: Purpose,
        make: &mut impl FnMut(Slot) -> Result<B, E>,
    ) -> Result<Workspace<B>, E> {
        Maker { plan: self, rows, purpose, make }.workspace()
    }

    /// Numbers of each layer input that waits outside of the device's memory in such a pass, and how many layers' do: the first
    /// ones.
    pub fn offloaded(&self, rows: usize, purpose: Purpose) -> (usize, usize) {
        (rows.saturating_mul(self.model.hidden), purpose.offloaded(self.layers.len()))
    }

    /// The buffers of that workspace.
    pub fn slots(&self, rows: usize, purpose: Purpose) -> Vec<Slot> {
        let mut slots = vec![];
        let all = self.workspace(rows, purpose, &mut |slot| {
            slots.push(slot);
            Ok::<_, Infallible>(())
        });
        match all {
            Ok(_) => slots,
        }
    }
}

struct Maker<'a, F> {
    plan: &'a Plan,
    rows: usize,
    purpose: Purpose,
    make: &'a mut F,
}

impl<B, E, F: FnMut(Slot) -> Result<B, E>> Maker<'_, F> {
    fn workspace(mut self) -> Result<Workspace<B>, E> {
        let (layers, training) = (self.plan.layers.len(), self.purpose != Purpose::Score);
        let kept = self.purpose.kept(layers);
        let near = layers - self.purpose.offloaded(layers);
        let hidden = self.plan.model.hidden;
        let stream = if training { self.branch() } else { hidden };
        Ok(Workspace {
            rows: self.rows,
            x: self.stored(stream)?,
            normed: self.stored(hidden)?,
            inputs: self.each(if training { near } else { 0 }, |maker| maker.waiting(hidden))?,
            saved: self.each(kept.max(1), |maker| maker.activations(kept > 0))?,
            kept: self.each(kept, Self::kept)?,
            scratch: self.scratch(kept > 0)?,
            backward: if training { Some(self.backward()?) } else { None },
        })
    }

    fn activations(&mut self, waits: bool) -> Result<Activations<B>, E> {
        let Llama { heads, qk_norm, .. } = self.plan.model;
        let (query, kv) = self.widths();
        let wide = self.branch();
        let mut buffer = |width: usize, exact: bool| self.slot(self.rows, width, exact, waits);
        Ok(Activations {
            raw: if qk_norm { Some([buffer(query, false)?, buffer(kv, false)?]) } else { None },
            q: buffer(query, false)?,
            k: buffer(kv, false)?,
            v: buffer(kv, false)?,
            attn: buffer(wide, false)?,
            lse: buffer(heads, true)?,
        })
    }

    fn kept(&mut self) -> Result<Kept<B>, E> {
        let Llama { hidden, ffn, .. } = self.plan.model;
        Ok(Kept { middle: self.waiting(hidden)?, gate: self.waiting(ffn)?, up: self.waiting(ffn)? })
    }

    fn scratch(&mut self, kept: bool) -> Result<Scratch<B>, E> {
        let (adapt, model) = (&self.plan.adapt, &self.plan.model);
        let trains = matches!(self.purpose, Purpose::Train { .. });
        let tile = self.tile(kept);
        let widest = |rows: usize, wanted: fn(Target) -> bool| rows.saturating_mul(adapt.widest_thinned(model, wanted));
        let thinned = widest(self.rows, |target| !target.in_mlp()).max(widest(tile, Target::in_mlp));
        let rank = adapt.widest_rank();
        Ok(Scratch {
            mlp: self.mlp(tile, kept)?,
            adapting: Adapting {
                low: self.stored(rank)?,
                thinned: self.slot(if trains { thinned } else { 0 }, 1, false, false)?,
            },
            remap: if self.plan.remaps() { Some(self.remap()?) } else { None },
            gated: match self.purpose {
                Purpose::Gates { form } => Some(self.gated(form)?),
                Purpose::Score | Purpose::Train { .. } => None,
            },
        })
    }

    fn mlp(&mut self, rows: usize, kept: bool) -> Result<Mlp<B>, E> {
        let Llama { hidden, ffn, .. } = self.plan.model;
        let backward = if self.purpose == Purpose::Score { 0 } else { 1 };
        let apart = if rows < self.rows { hidden } else { 0 };
        let own = if kept { 0 } else { ffn };
        let mut buffer = |width: usize| self.slot(rows, width, false, false);
        Ok(Mlp {
            rows,
            x: buffer(apart)?,
            dx: buffer(backward * apart)?,
            normed: buffer(hidden)?,
            gate: buffer(own)?,
            up: buffer(own)?,
            act: buffer(ffn)?,
            dact: buffer(ffn.saturating_mul(backward))?,
        })
    }

    fn remap(&mut self) -> Result<Remap<B>, E> {
        let (query, kv) = self.widths();
        let backward = if self.purpose == Purpose::Score { 0 } else { 1 };
        Ok(Remap {
            q: self.stored(query)?,
            k: self.stored(kv)?,
            out: self.stored(query)?,
            lse: self.slot(self.rows, self.plan.model.heads, true, false)?,
            dq: self.stored(query.saturating_mul(backward))?,
            dk: self.stored(kv.saturating_mul(backward))?,
            dv: self.stored(kv.saturating_mul(backward))?,
        })
    }

    fn gated(&mut self, form: Form) -> Result<Gated<B>, E> {
        let (query, kv) = self.widths();
        let own = if form == Form::Paper { 1 } else { 0 };
        let full = match form {
            Form::Paper => vec![self.stored(query)?],
            Form::Code => self.each(self.plan.layers.len(), |maker| maker.waiting(query))?,
        };
        Ok(Gated {
            form,
            taught: self.stored(self.plan.model.hidden)?,
            full,
            stream: self.stored(query)?,
            stream_lse: self.slot(self.rows, self.plan.model.heads, true, false)?,
            dstream: self.stored(query)?,
            dq: self.stored(query.saturating_mul(own))?,
            dk: self.stored(kv.saturating_mul(own))?,
            dv: self.stored(kv.saturating_mul(own))?,
        })
    }

    fn backward(&mut self) -> Result<Backward<B>, E> {
        let (_, kv) = self.widths();
        let wide = self.branch();
        Ok(Backward {
            dbranch: self.stored(wide)?,
            dk: self.stored(kv)?,
            dv: self.stored(kv)?,
            dlow: self.stored(self.plan.adapt.widest_rank())?,
        })
    }

    /// Rows of an MLP's tile: all of them where gate and up are kept anyway.
    fn tile(&self, kept: bool) -> usize {
        if kept { self.rows } else { self.plan.tile.clamp(1, self.rows.max(1)).min(self.rows) }
    }

    /// Of queries, and of keys.
    fn widths(&self) -> (usize, usize) {
        (self.plan.model.query_width(), self.plan.model.kv_width())
    }

    /// Of a buffer for what attention reads and for what it gives.
    fn branch(&self) -> usize {
        self.plan.model.hidden.max(self.plan.model.query_width())
    }

    fn stored(&mut self, width: usize) -> Result<B, E> {
        self.slot(self.rows, width, false, false)
    }

    fn waiting(&mut self, width: usize) -> Result<B, E> {
        self.slot(self.rows, width, false, true)
    }

    fn slot(&mut self, rows: usize, width: usize, exact: bool, waits: bool) -> Result<B, E> {
        (self.make)(Slot { len: rows.saturating_mul(width), exact, waits })
    }

    fn each<T>(&mut self, count: usize, one: impl Fn(&mut Self) -> Result<T, E>) -> Result<Vec<T>, E> {
        (0..count).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::llama2_128k;

    /// While attention goes backwards, an MLP's tile is all that waits: sharing its bytes, too, would save less than 3% of a step
    /// of Llama-2 7B at 128K.
    #[test]
    fn little_is_left_to_share() {
        let plan = llama2_128k().plan().unwrap();
        let purpose = plan.purpose(&plan.stages[0]);
        let all: usize = plan.slots(131_072, purpose).iter().map(|slot| slot.len).sum();
        let rest = Plan { tile: 1, ..plan.clone() };
        let rest: usize = rest.slots(131_072, purpose).iter().map(|slot| slot.len).sum();
        let idle = 2 * (all - rest) as u64;
        assert!((idle as f64) < 0.03 * plan.memory().total as f64, "{idle} of {}", plan.memory());
    }

    /// Nothing of a layer but its input grows with the number of layers, and nothing with the MLP's width but the tile.
    #[test]
    fn what_grows() {
        let plan = llama2_128k().plan().unwrap();
        let bytes =
            |plan: &Plan| plan.slots(131_072, plan.purpose(&plan.stages[0])).iter().map(|slot| slot.len).sum::<usize>();
        let mut wider = plan.clone();
        wider.model.ffn += 1;
        assert_eq!(bytes(&wider) - bytes(&plan), 4 * plan.tile);
        let mut deeper = plan.clone();
        deeper.layers.to_mut().push(plan.layers[0]);
        assert_eq!(bytes(&deeper) - bytes(&plan), 131_072 * plan.model.hidden);
    }
}
