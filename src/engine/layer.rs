//! One decoder layer, forward and backward.
//!
//! x → RMSNorm → q, k, v → norms of q and k → rope → attention → o → + x → RMSNorm → SwiGLU MLP → + . Both halves add to the residual
//! stream in place, and their backward passes to its gradient: it turns from that of a layer's output into that of its input.
//!
//! A row of an MLP depends on no other, so the MLP goes over tiles of rows; gradients of its weights add up tile by tile.

use kernels::device::{Device, Linear, Product, Weight};
use kernels::dropout::Mask;
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;

use super::attend::{Gradient, Sight};
use super::pass::{Gradients, Pass};
use super::store::{Adapter, LayerIndex, Projection};
use super::workspace::{Activations, Adapting, BackwardScratch, Kept, Mlp, Scratch};

/// Buffers of an MLP for the rows at hand.
struct MlpRows<'a, D: Device> {
    normed: &'a mut D::Buffer,
    gate: &'a mut D::Buffer,
    up: &'a mut D::Buffer,
    act: &'a mut D::Buffer,
}

impl<'a, D: Device> MlpRows<'a, D> {
    /// Those that all layers share, or a layer's own gate and up.
    fn of(mlp: &'a mut Mlp<D>, kept: Option<&'a mut Kept<D>>) -> (Self, [&'a mut D::Buffer; 3]) {
        let Mlp::<D> { x, dx, normed, gate, up, act, dact, .. } = mlp;
        let (gate, up) = kept.map_or((gate, up), |kept| (&mut kept.gate, &mut kept.up));
        (Self { normed, gate, up, act }, [x, dx, dact])
    }

    fn again(&mut self) -> MlpRows<'_, D> {
        MlpRows { normed: self.normed, gate: self.gate, up: self.up, act: self.act }
    }
}

impl<D: Device> Pass<'_, D> {
    /// Runs a layer on `x` `[T, C]` in place; `kept` keeps what the MLP would compute again.
    #[allow(clippy::too_many_arguments, reason = "the layer's weights, its sight, input and three kinds of memory")]
    pub(crate) fn layer(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        sight: Sight,
        x: &mut D::Buffer,
        acts: &mut Activations<D>,
        kept: Option<&mut Kept<D>>,
        scratch: &mut Scratch<D>,
    ) {
        self.attention_half(values, layer, sight, x, acts, scratch);
        self.mlp(values, layer, x, kept, scratch);
    }

    /// The first half of a layer, on `x` in place.
    pub(crate) fn attention_half(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        sight: Sight,
        x: &mut D::Buffer,
        acts: &mut Activations<D>,
        scratch: &mut Scratch<D>,
    ) {
        self.project_qkv(values, layer, x, acts, scratch);
        if !sight.remaps() {
            self.device.rope(self.batch, self.model.heads, &mut acts.q, Direction::Forward);
            self.device.rope(self.batch, self.model.kv_heads, &mut acts.k, Direction::Forward);
        }
        self.attend(sight, acts, scratch);
        self.project(values, &layer.o, &acts.attn, x, &mut scratch.adapting, Write::Add);
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
        self.norm(values, layer.input_norm, input, &mut acts.attn);
        let [q, k] = acts.raw.as_mut().map_or([&mut acts.q, &mut acts.k], |raw| raw.each_mut());
        let [to_q, to_k, to_v] = [(&layer.q, q), (&layer.k, k), (&layer.v, &mut acts.v)];
        self.project_all(values, [to_q, to_k, to_v], &acts.attn, adapting, Write::Set);
        if let (Some([q_norm, k_norm]), Some([raw_q, raw_k])) = (layer.qk_norm, &acts.raw) {
            self.head_norm(values, (q_norm, self.model.heads), raw_q, &mut acts.q);
            self.head_norm(values, (k_norm, self.model.kv_heads), raw_k, &mut acts.k);
        }
    }

    /// The second half of a layer, on `x` in place.
    pub(crate) fn mlp(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        x: &mut D::Buffer,
        mut kept: Option<&mut Kept<D>>,
        scratch: &mut Scratch<D>,
    ) {
        if let Some(kept) = &mut kept {
            self.device.copy(x, &mut kept.middle, self.rows * self.model.hidden);
        }
        let (tile, adapting) = (scratch.mlp.rows, &mut scratch.adapting);
        let (mut to, [part, ..]) = MlpRows::of(&mut scratch.mlp, kept);
        if self.rows <= tile {
            return self.mlp_rows(values, layer, x, to, adapting);
        }
        for pass in self.tiles(tile) {
            let (at, len) = (pass.first * self.model.hidden, pass.rows * self.model.hidden);
            self.device.copy_range(x, at, part, 0, len);
            pass.mlp_rows(values, layer, part, to.again(), adapting);
            self.device.copy_range(part, 0, x, at, len);
        }
    }

    fn mlp_rows(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        x: &mut D::Buffer,
        to: MlpRows<'_, D>,
        adapting: &mut Adapting<D>,
    ) {
        self.norm(values, layer.post_norm, x, to.normed);
        let act = self.activated(values, layer, to, adapting);
        self.project(values, &layer.down, act, x, adapting, Write::Add);
    }

    /// silu(gate) · up of rows that are normed.
    fn activated<'b>(
        &self,
        values: &[Weight<D>],
        layer: &LayerIndex,
        to: MlpRows<'b, D>,
        adapting: &mut Adapting<D>,
    ) -> &'b D::Buffer {
        let MlpRows { normed, gate, up, act } = to;
        let both = [(&layer.gate, &mut *gate), (&layer.up, &mut *up)];
        self.project_all(values, both, normed, adapting, Write::Set);
        self.device.swiglu(self.rows * self.model.ffn, gate, up, act);
        act
    }

    /// This pass over parts of its rows.
    fn tiles(&self, rows: usize) -> impl Iterator<Item = Pass<'_, D>> {
        let part = move |first: usize| Pass { first, rows: rows.min(self.rows - first), ..*self };
        (0..self.rows).step_by(rows.max(1)).map(part)
    }

    /// Turns `dx` from the gradient of the layer's output into that of its input, and adds to `grads`.
    ///
    /// `acts` and `kept` are those of this layer, and `middle` is the stream between its halves, which is not left.
    #[allow(clippy::too_many_arguments, reason = "the layer's weights, its sight, input and five kinds of memory")]
    pub(crate) fn layer_backward(
        &self,
        values: &[Weight<D>],
        grads: &mut Gradients<'_, D>,
        layer: &LayerIndex,
        sight: Sight,
        (input, middle): (&D::Buffer, &mut D::Buffer),
        (acts, kept): (&mut Activations<D>, Option<&mut Kept<D>>),
        scratch: &mut Scratch<D>,
        back: &mut BackwardScratch<D>,
        dx: &mut D::Buffer,
    ) {
        self.mlp_backward(values, grads, layer, (middle, kept), scratch, back, dx);
        let mut at = self.backward(values, grads, &mut scratch.adapting, &mut back.dlow);
        at.project(&layer.o, &acts.attn, dx, &mut back.dbranch, Write::Set);
        let BackwardScratch::<D> { dbranch, dk, dv, dlow } = back;
        // Nobody asks for the stream between the halves any more.
        let dq = middle;
        let mut gradient = Gradient { dout: dbranch, dq, dk, dv };
        self.attend_backward(sight, acts, scratch, &mut gradient, grads.gates.as_deref_mut());
        let Gradient { dout: dbranch, dq, dk, dv } = gradient;
        // What attention gave has served; what it read is cheap to make again.
        self.norm(values, layer.input_norm, input, &mut acts.attn);
        let mut at = self.backward(values, grads, &mut scratch.adapting, dlow);
        let [dq, dk] = match (layer.qk_norm, &acts.raw) {
            (Some([q_norm, k_norm]), Some([raw_q, raw_k])) => {
                // Turned q and k have served; their buffers take the gradients behind the norms.
                at.head_norm((q_norm, self.model.heads), raw_q, dq, &mut acts.q);
                at.head_norm((k_norm, self.model.kv_heads), raw_k, dk, &mut acts.k);
                [&acts.q, &acts.k]
            }
            _ => [&*dq, &*dk],
        };
        at.project(&layer.q, &acts.attn, dq, dbranch, Write::Set);
        at.project(&layer.k, &acts.attn, dk, dbranch, Write::Add);
        at.project(&layer.v, &acts.attn, dv, dbranch, Write::Add);
        at.norm(layer.input_norm, input, dbranch, dx);
    }

    /// Turns `dx` from the gradient of the MLP's output into that of its input.
    #[allow(clippy::too_many_arguments, reason = "the layer's weights, its input and four kinds of memory")]
    fn mlp_backward(
        &self,
        values: &[Weight<D>],
        grads: &mut Gradients<'_, D>,
        layer: &LayerIndex,
        (x, kept): (&D::Buffer, Option<&mut Kept<D>>),
        scratch: &mut Scratch<D>,
        back: &mut BackwardScratch<D>,
        dx: &mut D::Buffer,
    ) {
        let (tile, adapting, again) = (scratch.mlp.rows, &mut scratch.adapting, kept.is_none());
        let (mut to, [part, dpart, dact]) = MlpRows::of(&mut scratch.mlp, kept);
        let BackwardScratch::<D> { dbranch, dlow, .. } = back;
        if self.rows <= tile {
            return self.backward(values, grads, adapting, dlow).mlp(layer, (x, dx), to, [dact, dbranch], again);
        }
        for pass in self.tiles(tile) {
            let (at, len) = (pass.first * self.model.hidden, pass.rows * self.model.hidden);
            self.device.copy_range(x, at, part, 0, len);
            self.device.copy_range(dx, at, dpart, 0, len);
            let mut rows = pass.backward(values, grads, adapting, dlow);
            rows.mlp(layer, (part, dpart), to.again(), [dact, dbranch], again);
            self.device.copy_range(dpart, 0, dx, at, len);
        }
    }

    fn backward<'b>(
        &'b self,
        values: &'b [Weight<D>],
        grads: &'b mut Gradients<'_, D>,
        adapting: &'b mut Adapting<D>,
        dlow: &'b mut D::Buffer,
    ) -> Backward<'b, 'b, D> {
        Backward { pass: self, values, grads: &mut *grads.weights, adapting, dlow }
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
        let Adapting::<D> { low, thinned } = adapting;
        let seen = match self.mask(to, adapter) {
            Some(mask) => {
                self.device.dropout(mask, self.rows * to.inputs, x, thinned, Write::Set);
                &*thinned
            }
            None => x,
        };
        self.device.linear(self.linear(to.inputs, adapter.rank, 1.0, Write::Set), seen, &values[adapter.a], low);
    }

    /// What the adapter does not see of these rows.
    fn mask(&self, to: &Projection, adapter: &Adapter) -> Option<Mask> {
        self.noise.map(|noise| noise.mask(adapter.number).from((self.first * to.inputs) as u64))
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
    /// The MLP of the pass's rows: `dx` from the gradient of its output to that of its input `x`. What is not kept is made
    /// again.
    fn mlp(
        &mut self,
        layer: &LayerIndex,
        (x, dx): (&D::Buffer, &mut D::Buffer),
        mut to: MlpRows<'_, D>,
        [dact, dnormed]: [&mut D::Buffer; 2],
        again: bool,
    ) {
        let (pass, device, len) = (self.pass, self.pass.device, self.pass.rows * self.pass.model.ffn);
        pass.norm(self.values, layer.post_norm, x, to.normed);
        if again {
            pass.activated(self.values, layer, to.again(), self.adapting);
        } else {
            device.swiglu(len, to.gate, to.up, to.act);
        }
        self.project(&layer.down, to.act, dx, dact, Write::Set);
        device.swiglu_backward(len, dact, to.gate, to.up);
        self.project(&layer.gate, to.normed, to.gate, dnormed, Write::Set);
        self.project(&layer.up, to.normed, to.up, dnormed, Write::Add);
        self.norm(layer.post_norm, x, dnormed, dx);
    }

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
        let (down, mask) = (|write| pass.linear(to.inputs, adapter.rank, 1.0, write), pass.mask(to, adapter));
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
