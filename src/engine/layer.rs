//! One decoder layer, forward and backward.
//!
//! x → RMSNorm → q, k, v → norms of q and k → rope → attention → o → + x → RMSNorm → SwiGLU MLP → + . Gradients of residual branches are
//! added into the stream's gradient, so a layer's backward pass turns the gradient of its output into that of its input
//! in place.

use kernels::device::{Device, Linear, Product, Weight};
use kernels::dropout::Mask;
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;
use recipe_core::Llama;

use super::attend::{Sight, Turned};
use super::store::{Adapter, LayerIndex, Projection};
use super::workspace::{Activations, Adapting, BackwardScratch, Scratch};
use crate::model::noise::Noise;

/// What every op of one pass needs to know.
pub(crate) struct Pass<'a, D: Device> {
    pub(crate) device: &'a D,
    pub(crate) batch: &'a D::Batch,
    pub(crate) model: &'a Llama,
    pub(crate) rows: usize,
    /// Tables of the places that patterns give to rows.
    pub(crate) turned: &'a Turned<D>,
    /// What adapters do not see of their inputs.
    pub(crate) noise: Option<Noise>,
    /// The gates of all layers, where they learn `[layers, G]`.
    pub(crate) gates: Option<&'a D::Buffer>,
}

/// Where a backward pass adds what it finds.
pub(crate) struct Gradients<'a, D: Device> {
    /// One for each parameter that learns.
    pub(crate) weights: &'a mut [Option<D::Buffer>],
    /// Of the gates, where they learn `[layers, G]`.
    pub(crate) gates: Option<&'a mut D::Buffer>,
}

impl<D: Device> Pass<'_, D> {
    /// Runs a layer on `input` `[T, C]`. Without `output`, only what the backward pass needs is computed.
    #[allow(clippy::too_many_arguments, reason = "the layer's weights, its sight, input and three kinds of memory")]
    pub(crate) fn layer(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        sight: Sight,
        input: &D::Buffer,
        acts: &mut Activations<D>,
        scratch: &mut Scratch<D>,
        output: Option<&mut D::Buffer>,
    ) {
        self.project_qkv(values, layer, input, acts, scratch);
        if !sight.remaps() {
            self.device.rope(self.batch, self.model.heads, &mut acts.q, Direction::Forward);
            self.device.rope(self.batch, self.model.kv_heads, &mut acts.k, Direction::Forward);
        }
        self.attend(sight, acts, scratch);
        self.device.copy(input, &mut acts.middle, self.rows * self.model.hidden);
        self.project(values, &layer.o, &acts.attn_out, &mut acts.middle, &mut scratch.adapting, Write::Add);
        self.mlp(values, layer, acts, scratch, output);
    }

    /// Normed input, and q, k and v, normed but not turned yet.
    pub(crate) fn project_qkv(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        input: &D::Buffer,
        acts: &mut Activations<D>,
        scratch: &mut Scratch<D>,
    ) {
        let adapting = &mut scratch.adapting;
        self.norm(values, layer.input_norm, input, &mut acts.attn_in);
        let [q, k] = acts.raw.as_mut().map_or([&mut acts.q, &mut acts.k], |raw| raw.each_mut());
        let [to_q, to_k, to_v] = [(&layer.q, q), (&layer.k, k), (&layer.v, &mut acts.v)];
        self.project_all(values, [to_q, to_k, to_v], &acts.attn_in, adapting, Write::Set);
        if let (Some([q_norm, k_norm]), Some([raw_q, raw_k])) = (layer.qk_norm, &acts.raw) {
            self.head_norm(values, (q_norm, self.model.heads), raw_q, &mut acts.q);
            self.head_norm(values, (k_norm, self.model.kv_heads), raw_k, &mut acts.k);
        }
    }

    /// The second half of a layer, from `acts.middle`.
    pub(crate) fn mlp(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        acts: &mut Activations<D>,
        scratch: &mut Scratch<D>,
        output: Option<&mut D::Buffer>,
    ) {
        self.norm(values, layer.post_norm, &acts.middle, &mut acts.mlp_in);
        let to = [(&layer.gate, &mut acts.gate), (&layer.up, &mut acts.up)];
        self.project_all(values, to, &acts.mlp_in, &mut scratch.adapting, Write::Set);
        self.device.swiglu(self.rows * self.model.ffn, &acts.gate, &acts.up, &mut scratch.act);
        if let Some(output) = output {
            self.device.copy(&acts.middle, output, self.rows * self.model.hidden);
            self.project(values, &layer.down, &scratch.act, output, &mut scratch.adapting, Write::Add);
        }
    }

    /// Makes `acts` and `scratch.act` those of this layer again: all of it, or only what the next layer has overwritten.
    #[allow(clippy::too_many_arguments, reason = "the layer's weights, its sight, input and two kinds of memory")]
    pub(crate) fn recompute(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        sight: Sight,
        input: &D::Buffer,
        acts: &mut Activations<D>,
        scratch: &mut Scratch<D>,
        all: bool,
    ) {
        if all {
            self.layer(values, layer, sight, input, acts, scratch, None);
        } else {
            self.device.swiglu(self.rows * self.model.ffn, &acts.gate, &acts.up, &mut scratch.act);
        }
    }

    /// Turns `back.dx` from the gradient of the layer's output into that of its input, and adds to `grads`.
    ///
    /// `acts` are those of this layer, and `scratch.act` belongs to them.
    #[allow(clippy::too_many_arguments, reason = "the layer's weights, its sight, input and four kinds of memory")]
    pub(crate) fn layer_backward(
        &self,
        values: &[Weight<D>],
        grads: &mut Gradients<'_, D>,
        layer: &LayerIndex,
        sight: Sight,
        input: &D::Buffer,
        acts: &mut Activations<D>,
        scratch: &mut Scratch<D>,
        back: &mut BackwardScratch<D>,
    ) {
        let weights = &mut *grads.weights;
        let mut at =
            Backward { pass: self, values, grads: weights, adapting: &mut scratch.adapting, dlow: &mut back.dlow };
        // MLP
        at.project(&layer.down, &scratch.act, &back.dx, &mut back.dact, Write::Set);
        self.device.swiglu_backward(self.rows * self.model.ffn, &back.dact, &mut acts.gate, &mut acts.up);
        at.project(&layer.gate, &acts.mlp_in, &acts.gate, &mut back.dnorm, Write::Set);
        at.project(&layer.up, &acts.mlp_in, &acts.up, &mut back.dnorm, Write::Add);
        at.norm(layer.post_norm, &acts.middle, &back.dnorm, &mut back.dx);
        // attention
        at.project(&layer.o, &acts.attn_out, &back.dx, &mut back.dattn, Write::Set);
        self.attend_backward(sight, acts, scratch, back, grads.gates.as_deref_mut());
        let weights = &mut *grads.weights;
        let mut at =
            Backward { pass: self, values, grads: weights, adapting: &mut scratch.adapting, dlow: &mut back.dlow };
        let [dq, dk] = match (layer.qk_norm, &acts.raw) {
            (Some([q_norm, k_norm]), Some([raw_q, raw_k])) => {
                // Turned q and k have served; their buffers take the gradients behind the norms.
                at.head_norm((q_norm, self.model.heads), raw_q, &back.dq, &mut acts.q);
                at.head_norm((k_norm, self.model.kv_heads), raw_k, &back.dk, &mut acts.k);
                [&acts.q, &acts.k]
            }
            _ => [&back.dq, &back.dk],
        };
        at.project(&layer.q, &acts.attn_in, dq, &mut back.dnorm, Write::Set);
        at.project(&layer.k, &acts.attn_in, dk, &mut back.dnorm, Write::Add);
        at.project(&layer.v, &acts.attn_in, &back.dv, &mut back.dnorm, Write::Add);
        at.norm(layer.input_norm, input, &back.dnorm, &mut back.dx);
    }

    /// RMSNorm with the parameter at `weight`.
    pub(crate) fn norm(&self, values: &[Weight<D>], weight: usize, x: &D::Buffer, y: &mut D::Buffer) {
        self.device.rms_norm(self.rows, x, &values[weight], self.model.norm_eps as f32, y);
    }

    /// RMSNorm of every head, with the parameter at `weight`.
    fn head_norm(&self, values: &[Weight<D>], (weight, heads): (usize, usize), x: &D::Buffer, y: &mut D::Buffer) {
        self.device.rms_norm(self.rows * heads, x, &values[weight], self.model.norm_eps as f32, y);
    }

    /// y (+)= x Wᵀ + b + scale · (x Aᵀ) Bᵀ, where A may miss some of x.
    pub(crate) fn project(
        &self,
        values: &[Weight<D>],
        to: &Projection,
        x: &D::Buffer,
        y: &mut D::Buffer,
        adapting: &mut Adapting<D>,
        write: Write,
    ) {
        self.project_all(values, [(to, y)], x, adapting, write);
    }

    /// [`Pass::project`] of one x by several projections.
    fn project_all<const N: usize>(
        &self,
        values: &[Weight<D>],
        to: [(&Projection, &mut D::Buffer); N],
        x: &D::Buffer,
        adapting: &mut Adapting<D>,
        write: Write,
    ) {
        let job = |to: &Projection| self.linear(to.inputs, to.outputs, 1.0, write);
        let places = to.each_ref().map(|(to, _)| *to);
        let mut products = to.map(|(to, y)| Product { job: job(to), w: &values[to.weight], y });
        self.device.linears(x, &mut products);
        for (to, Product { y, .. }) in places.into_iter().zip(products) {
            if let Some(bias) = to.bias {
                self.device.add_bias(self.rows, &values[bias], y);
            }
            if let Some(adapter) = &to.adapter {
                self.project_down(values, to, adapter, x, adapting);
                let up = self.linear(adapter.rank, to.outputs, adapter.scale, Write::Add);
                self.device.linear(up, &adapting.low, &values[adapter.b], y);
            }
        }
    }

    /// `adapting.low` = x Aᵀ; where the pass has noise, `adapting.thinned` is what A saw of x.
    fn project_down(
        &self,
        values: &[Weight<D>],
        to: &Projection,
        adapter: &Adapter,
        x: &D::Buffer,
        adapting: &mut Adapting<D>,
    ) {
        let Adapting { low, thinned } = adapting;
        let seen = match self.mask(adapter) {
            Some(mask) => {
                self.device.dropout(mask, self.rows * to.inputs, x, thinned, Write::Set);
                &*thinned
            }
            None => x,
        };
        self.device.linear(self.linear(to.inputs, adapter.rank, 1.0, Write::Set), seen, &values[adapter.a], low);
    }

    fn mask(&self, adapter: &Adapter) -> Option<Mask> {
        self.noise.map(|noise| noise.mask(adapter.number))
    }

    fn linear(&self, inputs: usize, outputs: usize, scale: f32, write: Write) -> Linear {
        Linear { dims: Dims { rows: self.rows, inputs, outputs }, scale, write }
    }
}

/// A pass with somewhere to put gradients.
struct Backward<'a, 'p, D: Device> {
    pass: &'a Pass<'p, D>,
    values: &'a [Weight<D>],
    grads: &'a mut [Option<D::Buffer>],
    adapting: &'a mut Adapting<D>,
    dlow: &'a mut D::Buffer,
}

impl<D: Device> Backward<'_, '_, D> {
    /// dx (+)= dy W + the adapter's share, and the gradients of W, b, A and B where they learn.
    fn project(&mut self, to: &Projection, x: &D::Buffer, dy: &D::Buffer, dx: &mut D::Buffer, write: Write) {
        let (pass, device) = (self.pass, self.pass.device);
        let job = |write| pass.linear(to.inputs, to.outputs, 1.0, write);
        if let Some(dw) = &mut self.grads[to.weight] {
            device.linear_backward_weight(job(Write::Add), dy, x, dw);
        }
        if let Some(db) = to.bias.and_then(|bias| self.grads[bias].as_mut()) {
            device.bias_backward(pass.rows, dy, db);
        }
        device.linear_backward_input(job(write), dy, &self.values[to.weight], dx);
        let Some(adapter) = &to.adapter else { return };
        let up = |write| pass.linear(adapter.rank, to.outputs, adapter.scale, write);
        // Where neither A nor B learns, nobody asks what A saw.
        if self.grads[adapter.b].is_some() {
            pass.project_down(self.values, to, adapter, x, self.adapting);
        }
        device.linear_backward_input(up(Write::Set), dy, &self.values[adapter.b], self.dlow);
        if let Some(db) = &mut self.grads[adapter.b] {
            device.linear_backward_weight(up(Write::Add), dy, &self.adapting.low, db);
        }
        let (down, mask) = (|write| pass.linear(to.inputs, adapter.rank, 1.0, write), pass.mask(adapter));
        if let Some(da) = &mut self.grads[adapter.a] {
            let seen = if mask.is_some() { &self.adapting.thinned } else { x };
            device.linear_backward_weight(down(Write::Add), self.dlow, seen, da);
        }
        let Some(mask) = mask else {
            return device.linear_backward_input(down(Write::Add), self.dlow, &self.values[adapter.a], dx);
        };
        device.linear_backward_input(down(Write::Set), self.dlow, &self.values[adapter.a], &mut self.adapting.thinned);
        device.dropout(mask, pass.rows * to.inputs, &self.adapting.thinned, dx, Write::Add);
    }

    fn norm(&mut self, weight: usize, x: &D::Buffer, dy: &D::Buffer, dx: &mut D::Buffer) {
        let eps = self.pass.model.norm_eps as f32;
        let (values, dw) = (&self.values[weight], self.grads[weight].as_mut());
        self.pass.device.rms_norm_backward(self.pass.rows, x, values, eps, dy, dx, dw);
    }

    /// Overwrites dx, unlike [`Self::norm`], which adds to the stream.
    fn head_norm(&mut self, (weight, heads): (usize, usize), x: &D::Buffer, dy: &D::Buffer, dx: &mut D::Buffer) {
        let (pass, eps) = (self.pass, self.pass.model.norm_eps as f32);
        let (values, dw) = (&self.values[weight], self.grads[weight].as_mut());
        pass.device.clear(dx, pass.rows * heads * pass.model.head_dim);
        pass.device.rms_norm_backward(pass.rows * heads, x, values, eps, dy, dx, dw);
    }
}
