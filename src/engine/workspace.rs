//! The memory of one pass: every buffer that the layers share, allocated once for the longest batch so far.

use kernels::device::Device;
use recipe_core::{AdaptPlan, Form, Llama, Plan};

use super::Error;

/// What a layer's forward pass leaves for its backward pass, for up to `rows` rows.
#[derive(Debug)]
pub(crate) struct Activations<D: Device> {
    /// Normed input `[T, C]`.
    pub(crate) attn_in: D::Buffer,
    /// Queries `[T, H, D]` and keys `[T, G, D]` before their norms, where they have any.
    pub(crate) raw: Option<[D::Buffer; 2]>,
    /// Rotated queries `[T, H, D]`.
    pub(crate) q: D::Buffer,
    /// Rotated keys `[T, G, D]`.
    pub(crate) k: D::Buffer,
    /// Values `[T, G, D]`.
    pub(crate) v: D::Buffer,
    /// Attention's output `[T, H, D]`.
    pub(crate) attn_out: D::Buffer,
    /// Log-sum-exp `[T, H]`.
    pub(crate) lse: D::Buffer,
    /// The residual stream between attention and MLP `[T, C]`.
    pub(crate) middle: D::Buffer,
    /// Normed middle `[T, C]`.
    pub(crate) mlp_in: D::Buffer,
    /// `[T, F]`.
    pub(crate) gate: D::Buffer,
    /// `[T, F]`.
    pub(crate) up: D::Buffer,
}

impl<D: Device> Activations<D> {
    fn new(device: &D, model: &Llama, rows: usize) -> Result<Self, Error> {
        let buffer = |width: usize| device.zeros(rows * width);
        let raw = || Ok::<_, Error>([buffer(model.query_width())?, buffer(model.kv_width())?]);
        Ok(Self {
            attn_in: buffer(model.hidden)?,
            raw: model.qk_norm.then(raw).transpose()?,
            q: buffer(model.query_width())?,
            k: buffer(model.kv_width())?,
            v: buffer(model.kv_width())?,
            attn_out: buffer(model.query_width())?,
            lse: device.zeros_f32(rows * model.heads)?,
            middle: buffer(model.hidden)?,
            mlp_in: buffer(model.hidden)?,
            gate: buffer(model.ffn)?,
            up: buffer(model.ffn)?,
        })
    }
}

/// Buffers that live within one layer's pass.
#[derive(Debug)]
pub(crate) struct Scratch<D: Device> {
    /// silu(gate) · up `[T, F]`.
    pub(crate) act: D::Buffer,
    pub(crate) adapting: Adapting<D>,
    /// Where a pattern gives rows other positions than their own.
    pub(crate) remap: Option<Remap<D>>,
    /// While gates learn.
    pub(crate) gated: Option<Gated<D>>,
}

/// What gated heads need beside one attention.
#[derive(Debug)]
pub(crate) struct Gated<D: Device> {
    /// Whose full attention an open gate lets through.
    pub(crate) form: Form,
    /// The full model's last hidden states, normed `[T, C]`.
    pub(crate) taught: D::Buffer,
    /// What an open gate lets through `[T, H, D]`: the gated model's own attention of the layer at hand, or the full model's
    /// of every layer.
    pub(crate) full: Vec<D::Buffer>,
    /// The streaming part `[T, H, D]`.
    pub(crate) stream: D::Buffer,
    /// Its log-sum-exp `[T, H]`.
    pub(crate) stream_lse: D::Buffer,
    /// Its gradient `[T, H, D]`.
    pub(crate) dstream: D::Buffer,
    /// Gradients through the full part `[T, H, D]`; empty where it has none, as are the next two.
    pub(crate) dq: D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dk: D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dv: D::Buffer,
}

impl<D: Device> Gated<D> {
    fn new(device: &D, model: &Llama, rows: usize, form: Form) -> Result<Self, Error> {
        let (query, kv) = (model.query_width(), model.kv_width());
        let (kept, gradient) = match form {
            Form::Paper => (1, rows),
            Form::Code => (model.layers, 0),
        };
        Ok(Self {
            form,
            taught: device.zeros(rows * model.hidden)?,
            full: (0..kept).map(|_| device.zeros(rows * query)).collect::<Result<_, _>>()?,
            stream: device.zeros(rows * query)?,
            stream_lse: device.zeros_f32(rows * model.heads)?,
            dstream: device.zeros(rows * query)?,
            dq: device.zeros(gradient * query)?,
            dk: device.zeros(gradient * kv)?,
            dv: device.zeros(gradient * kv)?,
        })
    }
}

/// What an adapter's pass needs.
#[derive(Debug)]
pub(crate) struct Adapting<D: Device> {
    /// x Aᵀ `[T, rank]`.
    pub(crate) low: D::Buffer,
    /// x with some of it left out `[T, inputs]`; empty where nothing is.
    pub(crate) thinned: D::Buffer,
}

/// One part of an attention whose parts stand at different positions.
#[derive(Debug)]
pub(crate) struct Remap<D: Device> {
    /// Turned queries `[T, H, D]`.
    pub(crate) q: D::Buffer,
    /// Turned keys `[T, G, D]`.
    pub(crate) k: D::Buffer,
    /// Output `[T, H, D]`.
    pub(crate) out: D::Buffer,
    /// Log-sum-exp `[T, H]`.
    pub(crate) lse: D::Buffer,
    /// `[T, H, D]`; empty for inference, as are the next two.
    pub(crate) dq: D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dk: D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dv: D::Buffer,
}

impl<D: Device> Remap<D> {
    fn new(device: &D, model: &Llama, rows: usize, training: bool) -> Result<Self, Error> {
        let buffer = |width: usize| device.zeros(rows * width);
        let gradient = |width: usize| device.zeros(if training { rows * width } else { 0 });
        let (query, kv) = (model.query_width(), model.kv_width());
        Ok(Self {
            q: buffer(query)?,
            k: buffer(kv)?,
            out: buffer(query)?,
            lse: device.zeros_f32(rows * model.heads)?,
            dq: gradient(query)?,
            dk: gradient(kv)?,
            dv: gradient(kv)?,
        })
    }
}

/// Buffers that only a backward pass needs.
#[derive(Debug)]
pub(crate) struct BackwardScratch<D: Device> {
    /// Gradient of the residual stream `[T, C]`.
    pub(crate) dx: D::Buffer,
    /// Gradient of a norm's output `[T, C]`.
    pub(crate) dnorm: D::Buffer,
    /// Gradient of `act` `[T, F]`.
    pub(crate) dact: D::Buffer,
    /// `[T, H, D]`.
    pub(crate) dattn: D::Buffer,
    /// `[T, H, D]`.
    pub(crate) dq: D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dk: D::Buffer,
    /// `[T, G, D]`.
    pub(crate) dv: D::Buffer,
    /// Gradient of `low` `[T, rank]`.
    pub(crate) dlow: D::Buffer,
}

/// Everything a pass over `rows` rows writes into.
#[derive(Debug)]
pub(crate) struct Workspace<D: Device> {
    pub(crate) rows: usize,
    /// The residual stream `[T, C]`.
    pub(crate) x: D::Buffer,
    /// The final norm's output `[T, C]`.
    pub(crate) normed: D::Buffer,
    /// Layer inputs `[T, C]`, kept for the backward pass; empty for inference.
    pub(crate) inputs: Vec<D::Buffer>,
    /// One per layer without recomputation, else one that all layers share.
    pub(crate) saved: Vec<Activations<D>>,
    pub(crate) scratch: Scratch<D>,
    pub(crate) backward: Option<BackwardScratch<D>>,
}

/// What a workspace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Forward only.
    Score,
    /// Forward and backward; `recompute` as in the stage.
    Train {
        /// Activations of one layer at a time.
        recompute: bool,
    },
    /// Forward of the full and of the gated model, backward of the latter, activations of one layer at a time.
    Gates {
        /// What an open gate lets through.
        form: Form,
    },
}

impl<D: Device> Workspace<D> {
    pub(crate) fn new(device: &D, plan: &Plan, rows: usize, purpose: Purpose) -> Result<Self, Error> {
        let model = &plan.model;
        let buffer = |width: usize| device.zeros(rows * width);
        let (inputs, saved, training) = match purpose {
            Purpose::Score => (0, 1, false),
            Purpose::Train { recompute: true } | Purpose::Gates { .. } => (model.layers, 1, true),
            Purpose::Train { recompute: false } => (model.layers, model.layers, true),
        };
        let rank = rank(plan);
        let remaps = plan.layers.iter().any(|pattern| pattern.remaps());
        let remap = remaps.then(|| Remap::new(device, model, rows, training)).transpose()?;
        let thinned = if matches!(purpose, Purpose::Train { .. }) { plan.adapt.widest_thinned(model) } else { 0 };
        let adapting = Adapting { low: buffer(rank)?, thinned: buffer(thinned)? };
        let gated = match purpose {
            Purpose::Gates { form } => Some(Gated::new(device, model, rows, form)?),
            Purpose::Score | Purpose::Train { .. } => None,
        };
        Ok(Self {
            rows,
            x: buffer(model.hidden)?,
            normed: buffer(model.hidden)?,
            inputs: (0..inputs).map(|_| buffer(model.hidden)).collect::<Result<_, _>>()?,
            saved: (0..saved).map(|_| Activations::new(device, model, rows)).collect::<Result<_, _>>()?,
            scratch: Scratch { act: buffer(model.ffn)?, adapting, remap, gated },
            backward: if training { Some(BackwardScratch::new(device, model, rows, rank)?) } else { None },
        })
    }
}

impl<D: Device> BackwardScratch<D> {
    fn new(device: &D, model: &Llama, rows: usize, rank: usize) -> Result<Self, Error> {
        let buffer = |width: usize| device.zeros(rows * width);
        Ok(Self {
            dx: buffer(model.hidden)?,
            dnorm: buffer(model.hidden)?,
            dact: buffer(model.ffn)?,
            dattn: buffer(model.query_width())?,
            dq: buffer(model.query_width())?,
            dk: buffer(model.kv_width())?,
            dv: buffer(model.kv_width())?,
            dlow: buffer(rank)?,
        })
    }
}

fn rank(plan: &Plan) -> usize {
    match plan.adapt {
        AdaptPlan::Full => 0,
        AdaptPlan::Lora { rank, .. } => rank,
    }
}
