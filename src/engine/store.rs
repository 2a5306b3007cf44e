//! The parameters on the device, in the order of [`Plan::parameters`], and where each layer finds its own.

use std::borrow::Cow;

use kernels::adamw::{Hyper, eight_bit};
use kernels::device::{Device, Format, Weight};
use recipe_core::{AdaptPlan, Init, Optimizer, Parameter, Plan, Target};

use super::{Error, Mode};
use crate::data::Rng;
use crate::hub::{Tensor, Tensors};
use crate::model::noise;

/// Values, gradients and optimiser state, one entry per parameter of the plan.
#[derive(Debug)]
pub(crate) struct Store<D: Device> {
    pub(crate) specs: Vec<Parameter>,
    pub(crate) values: Vec<Weight<D>>,
    /// Present for trainable parameters while training.
    pub(crate) grads: Vec<Option<D::Buffer>>,
    /// AdamW's moments, where there is a gradient.
    pub(crate) moments: Vec<Option<Moments<D>>>,
}

/// AdamW's state of one parameter.
#[derive(Debug)]
pub(crate) enum Moments<D: Device> {
    F32 { first: D::Buffer, second: D::Buffer },
    EightBit(D::Moments),
}

impl<D: Device> Moments<D> {
    fn new(device: &D, optimizer: Optimizer, len: usize) -> Result<Self, Error> {
        if optimizer.packs(len as u64) {
            return Ok(Self::EightBit(device.moments_8bit(len)?));
        }
        Ok(Self::F32 { first: device.zeros_f32(len)?, second: device.zeros_f32(len)? })
    }

    /// As before the first step.
    pub(crate) fn clear(&mut self, device: &D, len: usize) {
        match self {
            Self::F32 { first, second } => [first, second].into_iter().for_each(|moment| device.clear(moment, len)),
            Self::EightBit(moments) => device.write_8bit(&eight_bit::Moments::zeros(len), moments),
        }
    }

    /// One step of the parameter that they belong to.
    pub(crate) fn step(&mut self, device: &D, hyper: &Hyper, param: &mut D::Buffer, grad: &D::Buffer) {
        match self {
            Self::F32 { first, second } => device.adamw(hyper, param, grad, first, second),
            Self::EightBit(moments) => device.adamw_8bit(hyper, param, grad, moments),
        }
    }
}

impl<D: Device> Store<D> {
    /// Uploads `weights`; what they lack (adapters of a fresh run, or everything) is initialised from `seed`.
    pub(crate) fn new(device: &D, plan: &Plan, weights: &dyn Tensors, seed: u64, mode: Mode) -> Result<Self, Error> {
        let specs = plan.parameters();
        let mut store = Self { values: vec![], grads: vec![], moments: vec![], specs: vec![] };
        for (index, spec) in specs.into_iter().enumerate() {
            let tensor = weights.tensor(&spec.name)?;
            let data = match &tensor {
                Some(tensor) => Cow::Borrowed(checked(&spec, tensor)?),
                None if may_be_fresh(&spec, weights) => Cow::Owned(initial(&spec, seed, index as u64)),
                None => return Err(Error::MissingTensor { name: spec.name, expected: spec.shape }),
            };
            store.push(device, plan, spec, &data, mode)?;
        }
        Ok(store)
    }

    fn push(&mut self, device: &D, plan: &Plan, spec: Parameter, data: &[f32], mode: Mode) -> Result<(), Error> {
        let learns = mode == Mode::Train && spec.trainable;
        self.values.push(match format(&spec, plan, mode) {
            Some(format) => Weight::Quantized(device.quantize(data, format)?),
            None if learns => Weight::Dense(device.upload_master(data)?),
            None => Weight::Dense(device.upload(data)?),
        });
        self.grads.push(if learns { Some(device.zeros_f32(data.len())?) } else { None });
        self.moments.push(if learns { Some(Moments::new(device, plan.optimizer, data.len())?) } else { None });
        self.specs.push(spec);
        Ok(())
    }

    /// The parameter's numbers, dequantised where needed.
    pub(crate) fn download(&self, device: &D, index: usize) -> Vec<f32> {
        read(device, &self.specs[index], &self.values[index])
    }

    /// The first moment (0) or the second (1) of a parameter whose moments are f32.
    pub(crate) fn moment(&self, index: usize, which: usize) -> Option<&D::Buffer> {
        match self.moments[index].as_ref()? {
            Moments::F32 { first, second } => Some(if which == 0 { first } else { second }),
            Moments::EightBit(_) => None,
        }
    }

    /// Where parameter `name` stands.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.specs.iter().position(|spec| spec.name == name)
    }
}

/// A parameter's numbers, dequantised where needed.
pub(crate) fn read<D: Device>(device: &D, spec: &Parameter, value: &Weight<D>) -> Vec<f32> {
    match value {
        Weight::Dense(buffer) => device.download(buffer, numel(spec)),
        Weight::Quantized(matrix) => device.dequantize(matrix),
    }
}

/// Number of elements of a parameter.
pub(crate) fn numel(spec: &Parameter) -> usize {
    spec.shape.iter().product()
}

fn checked<'a>(spec: &Parameter, tensor: &'a Tensor) -> Result<&'a [f32], Error> {
    if tensor.shape == spec.shape {
        return Ok(&tensor.data);
    }
    Err(Error::Shape { name: spec.name.clone(), expected: spec.shape.clone(), got: tensor.shape.clone() })
}

/// Adapters start fresh on any checkpoint; a whole model starts fresh only when nothing at all was given.
fn may_be_fresh(spec: &Parameter, weights: &dyn Tensors) -> bool {
    weights.names().is_empty() || spec.name.contains(".lora_")
}

/// QLoRA (arXiv 2305.14314) keeps the frozen projections in four bits; embeddings and norms stay as they are. In eight bits
/// are, as in a GGUF file, all matrices.
fn format(spec: &Parameter, plan: &Plan, mode: Mode) -> Option<Format> {
    let four = matches!(plan.adapt, AdaptPlan::Lora { quantized: true, .. }) && spec.name.ends_with("_proj.weight");
    let blocks = || spec.shape.len() == 2 && spec.shape[1].is_multiple_of(kernels::q8_0::BLOCK);
    match mode {
        _ if four => Some(Format::Nf4),
        Mode::InferQ8_0 if blocks() => Some(Format::Q8_0),
        _ => None,
    }
}

fn initial(spec: &Parameter, seed: u64, stream: u64) -> Vec<f32> {
    let mut rng = Rng::new(&[seed, stream]);
    let mut fill = |draw: &dyn Fn(&mut Rng) -> f64| (0..numel(spec)).map(|_| draw(&mut rng) as f32).collect();
    match spec.init {
        Init::Zeros => vec![0.0; numel(spec)],
        Init::Ones => vec![1.0; numel(spec)],
        Init::Normal { std } => fill(&|rng| std * normal(rng)),
        Init::KaimingUniform => {
            let bound = 1.0 / (spec.shape[1] as f64).sqrt();
            fill(&|rng| bound * (2.0 * uniform(rng) - 1.0))
        }
    }
}

/// A number in (0, 1).
fn uniform(rng: &mut Rng) -> f64 {
    ((rng.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * uniform(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}

/// A projection's place in the store.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) adapter: Option<Adapter>,
}

/// The low-rank pair beside a projection: y += scale · (x Aᵀ) Bᵀ.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) rank: usize,
    pub(crate) scale: f32,
    /// Which of the model's adapters it is.
    pub(crate) number: u64,
}

/// Where one decoder layer's parameters stand.
#[derive(Clone, Debug)]
pub(crate) struct LayerIndex {
    pub(crate) input_norm: usize,
    pub(crate) q: Projection,
    pub(crate) k: Projection,
    pub(crate) v: Projection,
    /// Norms of each head's q and k.
    pub(crate) qk_norm: Option<[usize; 2]>,
    pub(crate) o: Projection,
    pub(crate) post_norm: usize,
    pub(crate) gate: Projection,
    pub(crate) up: Projection,
    pub(crate) down: Projection,
}

/// Where the whole model's parameters stand.
#[derive(Clone, Debug)]
pub(crate) struct ModelIndex {
    pub(crate) embed: usize,
    pub(crate) layers: Vec<LayerIndex>,
    pub(crate) norm: usize,
    /// The same as `embed` when tied.
    pub(crate) head: usize,
}

impl ModelIndex {
    /// Looks every parameter of `plan` up in the store that was made from it.
    pub(crate) fn of<D: Device>(store: &Store<D>, plan: &Plan) -> Result<Self, Error> {
        let find = |name: &str| {
            store.find(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned(), expected: vec![] })
        };
        let projection = |layer: usize, target: Target| -> Result<Projection, Error> {
            let path = format!("model.layers.{layer}.{}.{}", target.block(), target.name());
            let weight = find(&format!("{path}.weight"))?;
            let shape = &store.specs[weight].shape;
            let (outputs, inputs) = (shape[0], shape[1]);
            let bias = store.find(&format!("{path}.bias"));
            Ok(Projection { weight, bias, inputs, outputs, adapter: adapter(store, plan, &path, (layer, target)) })
        };
        let qk_norm = |l: usize| -> Result<[usize; 2], Error> {
            let norm = |name: &str| find(&format!("model.layers.{l}.self_attn.{name}.weight"));
            Ok([norm("q_norm")?, norm("k_norm")?])
        };
        let layer = |l: usize| -> Result<LayerIndex, Error> {
            Ok(LayerIndex {
                input_norm: find(&format!("model.layers.{l}.input_layernorm.weight"))?,
                q: projection(l, Target::Q)?,
                k: projection(l, Target::K)?,
                v: projection(l, Target::V)?,
                qk_norm: plan.model.qk_norm.then(|| qk_norm(l)).transpose()?,
                o: projection(l, Target::O)?,
                post_norm: find(&format!("model.layers.{l}.post_attention_layernorm.weight"))?,
                gate: projection(l, Target::Gate)?,
                up: projection(l, Target::Up)?,
                down: projection(l, Target::Down)?,
            })
        };
        let embed = find("model.embed_tokens.weight")?;
        let head = if plan.model.tied { embed } else { find("lm_head.weight")? };
        let layers = (0..plan.model.layers).map(layer).collect::<Result<_, _>>()?;
        Ok(Self { embed, layers, norm: find("model.norm.weight")?, head })
    }
}

fn adapter<D: Device>(store: &Store<D>, plan: &Plan, path: &str, (layer, target): (usize, Target)) -> Option<Adapter> {
    let AdaptPlan::Lora { rank, scale, .. } = plan.adapt else { return None };
    let a = store.find(&format!("{path}.lora_A.weight"))?;
    let b = store.find(&format!("{path}.lora_B.weight"))?;
    Some(Adapter { a, b, rank, scale: scale as f32, number: noise::adapter(layer, target) })
}
