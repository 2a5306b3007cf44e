//! The fast path: forward, recompute, backward and optimiser step over planned memory, written once for every device.
//!
//! The engine takes a plan as a value, never as a type. It computes the same function as the typed model in
//! [`model`](crate::model); tests hold the two together.
//!
//! ```
//! use context_recipe::Cpu;
//! use context_recipe::data::Batch;
//! use context_recipe::engine::{Engine, Mode};
//! use context_recipe::hub::Checkpoint;
//! use context_recipe::plan::{Recipe, presets};
//!
//! # fn main() -> context_recipe::Result<()> {
//! let plan = Recipe::new(presets::tiny(), 256).plan().expect("nothing changes");
//! let model = Checkpoint::open("assets/tiny".as_ref())?;
//! let mut engine = Engine::new(Cpu::new(), &plan, &model.weights, 0, Mode::Train)?;
//! let batch = Batch::sequence((300..364).collect(), &[0])?;
//! let loss = engine.score(&batch)?.nll.iter().sum::<f32>() / 63.0;
//! engine.learn(&batch, 1.0 / 63.0, true)?;
//! assert!(loss.is_finite() && engine.gradient_norm() > 0.0);
//! # Ok(())
//! # }
//! ```

mod attend;
mod cache;
mod error;
mod gates;
mod generate;
mod inputs;
mod layer;
mod merged;
mod moments;
mod pass;
mod store;
mod workspace;

pub use kernels::adamw::Hyper;
pub use kernels::device::Device;
use kernels::device::{Head, HeadGrads, Rows, Scores};
use recipe_core::{GatesPlan, Pattern, Plan, RopePlan};

use crate::data::Batch;
use crate::hub::{Tensor, Tensors, Weights};
use crate::model::noise::Noise;
use attend::Sight;
pub use cache::Cache;
pub use error::Error;
pub use gates::GATES;
use gates::{GateStore, teach};
pub use generate::{Generated, Sampling, SamplingError};
use inputs::Inputs;
pub use merged::Merged;
pub use moments::{Moments, Packed};
use pass::{Gradients, Pass, Turned};
use store::{ModelIndex, Store};
use workspace::{Purpose, Workspace, workspace};

/// Rows of logits that exist at once.
const LOGIT_ROWS: usize = 512;

/// A model on a device, ready to score, to learn and to be read back.
#[derive(Debug)]
pub struct Engine<D: Device> {
    device: D,
    plan: Plan,
    store: Store<D>,
    index: ModelIndex,
    /// Where the plan learns gates and the mode is not to infer.
    gates: Option<GateStore<D>>,
    workspace: Option<(Purpose, Workspace<D>, Inputs<D>)>,
    noise: Option<u64>,
    offload: bool,
}

/// What an engine is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Scoring and generation: no gradients, no optimiser state.
    Infer,
    /// The same over matrices of 8 bits: GGUF's Q8_0 wherever rows are whole blocks.
    InferQ8_0,
    /// Training: gradients and AdamW's moments for every parameter that learns, and for gates.
    Train,
    /// Learning gates on weights that stay: gradients and moments for gates alone.
    Gates,
}

impl Mode {
    /// What the stages of `plan` take.
    pub fn training(plan: &Plan) -> Self {
        if plan.gates_stage().is_some() && !plan.trains_weights() { Self::Gates } else { Self::Train }
    }

    fn learns(self) -> bool {
        matches!(self, Self::Train | Self::Gates)
    }
}

impl<D: Device> Engine<D> {
    /// Puts `weights` (Hugging Face names) on the device, each read once, one after the other: those of a
    /// [`Header`](crate::hub::Header), which is to be [checked](crate::hub::Header::checked) first, are never in memory together.
    ///
    /// Adapters that `weights` lack start fresh from `seed`, and so does a whole model when `weights` are empty.
    ///
    /// # Errors
    /// A missing, misshapen or unreadable tensor, or too little memory.
    pub fn new(device: D, plan: &Plan, weights: &dyn Tensors, seed: u64, mode: Mode) -> Result<Self, Error> {
        let store = Store::new(&device, plan, weights, seed, mode);
        let store = if mode.learns() { store.map_err(|error| error.in_training(plan))? } else { store? };
        let index = ModelIndex::of(&store, plan)?;
        let learned = matches!(plan.gates, GatesPlan::Learned { .. }) && mode.learns();
        let gates = if learned { Some(GateStore::new(&device, &plan.model)?) } else { None };
        Ok(Self { device, plan: plan.clone(), store, index, gates, workspace: None, noise: None, offload: false })
    }

    /// The plan that the engine runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The rotary law of the passes that follow; the plan's until then. A stage may train under its own.
    pub fn set_rope(&mut self, rope: &RopePlan) {
        self.plan.rope = rope.clone();
    }

    /// Names the dropout of the training passes that follow; none until then.
    pub fn set_noise(&mut self, seed: u64) {
        self.noise = Some(seed);
    }

    /// Says whether layer inputs of the training passes that follow leave the device's memory until they are needed again, where
    /// layers are recomputed; they stay until then.
    pub fn set_offload(&mut self, offload: bool) {
        self.offload = offload;
    }

    /// The device it runs on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What went wrong on the device in a call that could not say so: numbers that were read since are nothing.
    ///
    /// # Errors
    /// The first failure.
    pub fn check_device(&self) -> Result<(), Error> {
        let learns = self.gates.is_some() || self.store.grads.iter().any(Option::is_some);
        let checked = self.device.check().map_err(Error::from);
        checked.map_err(|error| if learns { error.in_training(&self.plan) } else { error })
    }

    /// Loss and most likely token at every row; nothing is learned.
    ///
    /// # Errors
    /// A batch that does not fit the model, or too little memory.
    pub fn score(&mut self, batch: &Batch) -> Result<Scores, Error> {
        D::run(|| {
            let on_device = self.ready(batch, Purpose::Score)?;
            self.forward(&on_device, batch.len(), None);
            let head = self.head_job(batch.len(), 0.0);
            let Some((_, ws, _)) = &self.workspace else { return Err(Error::Empty) };
            Ok(self.device.head(&on_device.batch, head, &ws.normed, &self.store.values[self.index.head], None)?)
        })
    }

    /// Adds the gradients of `grad_scale` · Σ nll to what [`Engine::clear_gradients`] last cleared.
    ///
    /// # Errors
    /// A batch that does not fit the model, or too little memory.
    pub fn learn(&mut self, batch: &Batch, grad_scale: f32, recompute: bool) -> Result<Scores, Error> {
        let learned = D::run(|| {
            let offload = self.offload && recompute;
            let on_device = self.ready(batch, Purpose::Train { recompute, offload })?;
            self.forward(&on_device, batch.len(), None);
            self.backward(&on_device, batch.len(), grad_scale)
        });
        learned.map_err(|error: Error| error.in_training(&self.plan))
    }

    /// Logits `[T, V]`. The whole matrix is made: for comparison with other tools, not for long inputs.
    ///
    /// # Errors
    /// A batch that does not fit the model, or too little memory.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>, Error> {
        let on_device = self.ready(batch, Purpose::Score)?;
        self.forward(&on_device, batch.len(), None);
        let Some((_, ws, _)) = &self.workspace else { return Err(Error::Empty) };
        let (rows, vocab) = (batch.len(), self.plan.model.vocab);
        let mut logits = self.device.zeros_f32(rows * vocab)?;
        let dims = kernels::linear::Dims { rows, inputs: self.plan.model.hidden, outputs: vocab };
        let job = kernels::device::Linear { dims, scale: 1.0, write: kernels::linear::Write::Set };
        self.device.linear(job, &ws.normed, &self.store.values[self.index.head], &mut logits);
        let logits = self.device.download(&logits, rows * vocab);
        self.check_device().map(|()| logits)
    }

    /// Sets all gradients to zero.
    pub fn clear_gradients(&mut self) {
        for (grad, spec) in self.store.grads.iter_mut().zip(&self.store.specs) {
            if let Some(grad) = grad {
                self.device.clear(grad, store::numel(spec));
            }
        }
        if let Some(gates) = &mut self.gates {
            gates.clear_gradients(&self.device);
        }
    }

    /// The 2-norm of all weights' gradients together, summed in parameter order.
    pub fn gradient_norm(&self) -> f64 {
        let squares = || self.store.grads.iter().flatten().map(|grad| self.device.sum_of_squares(grad)).sum::<f64>();
        D::run(squares).sqrt()
    }

    /// One AdamW step on every weight that learns.
    pub fn update(&mut self, hyper: &Hyper) {
        let Store { values, grads, moments, .. } = &mut self.store;
        D::run(|| {
            for ((value, grad), moments) in values.iter_mut().zip(grads).zip(moments) {
                if let (kernels::device::Weight::Dense(value), Some(grad), Some(moments)) = (value, grad, moments) {
                    moments.step(&self.device, hyper, value, grad);
                }
            }
        });
    }

    /// Gradients by Hugging Face name; those of gates as [`GATES`].
    pub fn gradients(&self) -> Weights {
        self.read_back(|index| self.store.grads[index].as_ref(), |gates| &gates.grads)
    }

    /// Values of everything that learns, by Hugging Face name; gates as [`GATES`].
    pub fn trained(&self) -> Weights {
        let learns = |index: &usize| self.store.grads[*index].is_some();
        let weights = (0..self.store.specs.len()).filter(learns).map(|index| self.named(index));
        weights.chain(self.gate_tensor(|gates| &gates.values)).collect()
    }

    /// Every parameter as it stands, adapters apart, by Hugging Face name.
    pub fn values(&self) -> Weights {
        (0..self.store.specs.len()).map(|index| self.named(index)).collect()
    }

    /// Goes on from `trained` (what [`Engine::trained`] gave, changed) with moments as of a fresh optimiser.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape; nothing is changed then.
    pub fn restart(&mut self, trained: &Weights) -> Result<(), Error> {
        let learns: Vec<usize> = (0..self.store.specs.len()).filter(|&i| self.store.grads[i].is_some()).collect();
        learns.iter().try_for_each(|&index| expect(trained, &self.store.specs[index]).map(drop))?;
        for index in learns {
            let spec = &self.store.specs[index];
            if let kernels::device::Weight::Dense(value) = &mut self.store.values[index] {
                self.device.write(expect(trained, spec)?, value);
            }
            if let Some(moments) = &mut self.store.moments[index] {
                moments.clear(&self.device, store::numel(spec));
            }
        }
        Ok(())
    }

    fn named(&self, index: usize) -> (String, Tensor) {
        let spec = &self.store.specs[index];
        let data = self.store.download(&self.device, index);
        (spec.name.clone(), Tensor { shape: spec.shape.clone(), data })
    }

    fn read_back<'a>(
        &'a self,
        buffer: impl Fn(usize) -> Option<&'a D::Buffer>,
        of_gates: impl Fn(&GateStore<D>) -> &D::Buffer,
    ) -> Weights {
        let specs = self.store.specs.iter().enumerate();
        let tensor = |(index, spec): (usize, &recipe_core::Parameter)| {
            let data = self.device.download(buffer(index)?, store::numel(spec));
            Some((spec.name.clone(), Tensor { shape: spec.shape.clone(), data }))
        };
        specs.filter_map(tensor).chain(self.gate_tensor(of_gates)).collect()
    }

    /// Checks the batch, makes room for it, and uploads it.
    fn ready(&mut self, batch: &Batch, purpose: Purpose) -> Result<OnDevice<D>, Error> {
        batch.check(self.plan.model.vocab)?;
        if batch.is_empty() {
            return Err(Error::Empty);
        }
        self.make_room(batch.len(), purpose)?;
        let last = batch.positions.iter().max().map_or(0, |&last| last as usize);
        let rows = Rows {
            tokens: &batch.tokens,
            positions: &batch.positions,
            starts: &batch.starts(),
            targets: &batch.targets,
            inv_freq: &self.plan.rope.stretched(batch.stretch).inv_freq(last + 1),
            attention_factor: self.plan.rope.attention_factor(),
        };
        Ok(OnDevice {
            turned: Turned::new(&self.device, &self.plan, &rows)?,
            batch: self.device.batch(&rows)?,
            noise: Noise::of(
                self.plan.adapt.dropout(),
                self.noise.filter(|_| matches!(purpose, Purpose::Train { .. })),
            ),
        })
    }

    /// A workspace for `rows` rows, unless the one that is there will do.
    fn make_room(&mut self, rows: usize, purpose: Purpose) -> Result<(), Error> {
        let fits = |(made_for, ws, _): &(Purpose, Workspace<D>, Inputs<D>)| *made_for == purpose && ws.rows >= rows;
        if !self.workspace.as_ref().is_some_and(fits) {
            self.workspace = None;
            let workspace = workspace(&self.device, &self.plan, rows, purpose)?;
            self.workspace = Some((purpose, workspace, Inputs::new(&self.device, &self.plan, rows, purpose)?));
        }
        Ok(())
    }

    /// Embedding, all layers, final norm; with `gated`, heads mix full attention with this streaming one.
    fn forward(&mut self, OnDevice { batch, turned, noise }: &OnDevice<D>, rows: usize, gated: Option<Pattern>) {
        let Some((_, ws, inputs)) = &mut self.workspace else { return };
        let gates = self.gates.as_ref().map(|gates| &gates.values);
        let pass =
            Pass { device: &self.device, batch, model: &self.plan.model, rows, first: 0, turned, noise: *noise, gates };
        let values = &self.store.values;
        let hidden = self.plan.model.hidden;
        self.device.embed(batch, &values[self.index.embed], hidden, &mut ws.x);
        for (l, (layer, &pattern)) in self.index.layers.iter().zip(self.plan.layers.iter()).enumerate() {
            inputs.keep(&self.device, &ws.x, &mut ws.inputs, l, rows * hidden);
            let kept = ws.kept.get_mut(l);
            let acts = &mut ws.saved[if kept.is_some() { l } else { 0 }];
            pass.layer(values, layer, sight(l, pattern, gated), &mut ws.x, acts, kept, &mut ws.scratch);
            if gated.is_none() {
                teach::<D>(&mut ws.scratch, &self.device, l, &acts.attn, rows * self.plan.model.query_width());
            }
        }
        pass.norm(values, self.index.norm, &ws.x, &mut ws.normed);
    }

    /// Loss, then every layer from the top, then the embedding.
    fn backward(&mut self, ready: &OnDevice<D>, rows: usize, grad_scale: f32) -> Result<Scores, Error> {
        let head = self.head_job(rows, grad_scale);
        let Some((_, ws, _)) = &mut self.workspace else { return Err(Error::Empty) };
        let Some(back) = &mut ws.backward else { return Err(Error::Empty) };
        let Store { values, grads, .. } = &mut self.store;
        let into = HeadGrads { dx: &mut back.dbranch, dw: grads[self.index.head].as_mut() };
        let scores = self.device.head(&ready.batch, head, &ws.normed, &values[self.index.head], Some(into))?;
        self.layers_backward(ready, rows, None);
        if let (Some((_, ws, _)), Some(dtable)) = (&self.workspace, &mut self.store.grads[self.index.embed]) {
            self.device.embed_backward(&ready.batch, &ws.normed, self.plan.model.hidden, dtable);
        }
        self.check_device().map(|()| scores)
    }

    /// From the gradient of the final norm's output to that of the embedding's: the final norm, and every layer from the top.
    /// With `gated`, the gradients of gates are added to, and no weight's.
    fn layers_backward(&mut self, ready: &OnDevice<D>, rows: usize, gated: Option<Pattern>) {
        let OnDevice { batch, turned, noise } = ready;
        let Some((_, ws, inputs)) = &mut self.workspace else { return };
        let Some(back) = &mut ws.backward else { return };
        let Store { values, grads, .. } = &mut self.store;
        let mut frozen: Vec<Option<D::Buffer>> =
            if gated.is_some() { grads.iter().map(|_| None).collect() } else { vec![] };
        let (gates, dgates) = self.gates.as_mut().map(|gates| (&gates.values, &mut gates.grads)).unzip();
        let mut grads = Gradients { weights: if gated.is_some() { &mut frozen } else { grads }, gates: dgates };
        let model = &self.plan.model;
        // What the final norm gave has served.
        let dx = &mut ws.normed;
        self.device.clear(dx, rows * model.hidden);
        let (weight, dweight) = (&values[self.index.norm], grads.weights[self.index.norm].as_mut());
        let eps = model.norm_eps as f32;
        self.device.rms_norm_backward(rows, &ws.x, weight, eps, &back.dbranch, dx, dweight);
        let pass = Pass { device: &self.device, batch, model, rows, first: 0, turned, noise: *noise, gates };
        for (l, (layer, &pattern)) in self.index.layers.iter().zip(self.plan.layers.iter()).enumerate().rev() {
            let (sight, kept) = (sight(l, pattern, gated), ws.kept.get_mut(l));
            let input = &ws.inputs[inputs.back(&self.device, l)];
            let acts = &mut ws.saved[if kept.is_some() { l } else { 0 }];
            let from = kept.as_ref().map_or(input, |kept| &kept.middle);
            self.device.copy(from, &mut ws.x, rows * model.hidden);
            if kept.is_none() {
                pass.attention_half(values, layer, sight, &mut ws.x, acts, &mut ws.scratch);
            }
            let at = (input, &mut ws.x);
            pass.layer_backward(values, &mut grads, layer, sight, at, (acts, kept), &mut ws.scratch, back, dx);
            inputs.served(&self.device, &mut ws.inputs, l, rows * model.hidden);
        }
    }

    fn head_job(&self, rows: usize, grad_scale: f32) -> Head {
        let model = &self.plan.model;
        Head { rows, hidden: model.hidden, vocab: model.vocab, chunk: LOGIT_ROWS, grad_scale }
    }
}

/// What a layer's heads do: what its pattern says, or mix.
fn sight(layer: usize, pattern: Pattern, gated: Option<Pattern>) -> Sight {
    match gated {
        None => Sight::Pattern(pattern),
        Some(stream) => Sight::Gated { layer, stream },
    }
}

/// A batch made ready.
struct OnDevice<D: Device> {
    batch: D::Batch,
    turned: Turned<D>,
    noise: Option<Noise>,
}

fn expect<'a>(source: &'a Weights, spec: &recipe_core::Parameter) -> Result<&'a [f32], Error> {
    let tensor = source
        .get(&spec.name)
        .ok_or_else(|| Error::MissingTensor { name: spec.name.clone(), expected: spec.shape.clone() })?;
    if tensor.shape == spec.shape {
        return Ok(&tensor.data);
    }
    Err(Error::Shape { name: spec.name.clone(), expected: spec.shape.clone(), got: tensor.shape.clone() })
}
