//! What the run time asks of a typed model, whatever its dimensions.

use std::sync::Arc;

use dfdx::nn::ZeroGrads;
use dfdx::optim::{AdamConfig, Optimizer, OptimizerUpdateError, WeightDecay};
use dfdx::tensor::{Cpu, Gradients, NoneTape};
use dfdx::tensor_ops::Backward;
use recipe_core::{Plan, RopePlan};

use super::adapt::Adapt;
use super::error::Error;
use super::llama::Llama;
use super::tape::{read, tape};
use super::view::Input;
use super::weights::{self, Entry, Named, Source};

/// AdamW's numbers for one step (arXiv 1711.05101).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; infinity for no clipping.
    pub clip: f64,
}

/// What a training step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Mean cross entropy before the update.
    pub loss: f32,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
}

/// A typed model as the run time sees it: the executable specification of a plan.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a typed model",
    label = "expected `Llama<…>` with the recipe's numbers",
    note = "`recipe!` writes the type; a model of your own implements `TypedModel`"
)]
pub trait TypedModel {
    /// The plan's model with the weights that `source` gives for Hugging Face's names.
    ///
    /// # Errors
    /// When the plan has other tensors than this type, or lets others learn, and when a weight is missing or has another shape.
    fn from_weights(plan: &Plan, source: &Source<'_>) -> Result<Self, Error>
    where
        Self: Sized;

    /// The rotary law of the passes that follow; the plan's until then. A stage may train under its own.
    fn set_rope(&mut self, rope: &RopePlan);

    /// Logits, row-major `[T, vocab]`.
    fn logits(&self, input: &Input<'_>) -> Result<Vec<f32>, Error>;

    /// Mean cross entropy over the targets that are not −100.
    fn loss(&self, input: &Input<'_>, targets: &[i32]) -> Result<f32, Error>;

    /// The loss and the gradient of every tensor that learns, in the order of `Plan::parameters()`.
    fn loss_and_gradients(&self, input: &Input<'_>, targets: &[i32]) -> Result<(f32, Vec<Named>), Error>;

    /// One step of dfdx's Adam with decoupled weight decay, after clipping.
    fn train_step(&mut self, input: &Input<'_>, targets: &[i32], hyper: &Hyper) -> Result<Step, Error>;

    /// Copies of all tensors, adapters among them, in the order of `Plan::parameters()`.
    fn export(&self) -> Vec<Named>;
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    const TIED: bool,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
> TypedModel for Llama<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>
{
    fn from_weights(plan: &Plan, source: &Source<'_>) -> Result<Self, Error> {
        weights::compare_all(&Self::catalogue(), plan)?;
        Self::load(plan, source)
    }

    fn set_rope(&mut self, rope: &RopePlan) {
        Arc::make_mut(&mut self.laws).rope = rope.clone();
    }

    fn logits(&self, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        Ok(read(&self.logits_on(&self.view(input)?, NoneTape)?))
    }

    fn loss(&self, input: &Input<'_>, targets: &[i32]) -> Result<f32, Error> {
        Ok(read(&self.loss_on(&self.view(input)?, targets, NoneTape)?)[0])
    }

    fn loss_and_gradients(&self, input: &Input<'_>, targets: &[i32]) -> Result<(f32, Vec<Named>), Error> {
        let (loss, mut gradients) = self.traced(input, targets)?;
        let mut list = Vec::new();
        let mut keep = |entry: Entry, gradient: &mut [f32]| list.push(entry.with(gradient.to_vec()));
        weights::for_gradients(&self.weights, &mut gradients, &mut keep)?;
        Ok((loss, list))
    }

    fn train_step(&mut self, input: &Input<'_>, targets: &[i32], hyper: &Hyper) -> Result<Step, Error> {
        let (loss, mut gradients) = self.traced(input, targets)?;
        let grad_norm = clip(&self.weights, &mut gradients, hyper.clip)?;
        self.adam.cfg = hyper.config();
        match self.adam.update(&mut self.weights, &gradients) {
            // Every learning tensor has a gradient, since `alloc_grads` made one for each.
            Ok(()) | Err(OptimizerUpdateError::UnusedParams(_)) => Ok(Step { loss, grad_norm }),
            Err(OptimizerUpdateError::DeviceError(error)) => Err(error.into()),
        }
    }

    fn export(&self) -> Vec<Named> {
        weights::export(&self.weights)
    }
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    const TIED: bool,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
> Llama<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>
{
    /// The loss and dfdx's gradients of everything that learns.
    fn traced(&self, input: &Input<'_>, targets: &[i32]) -> Result<(f32, Gradients<f32, Cpu>), Error> {
        let view = self.view(input)?;
        let loss = self.loss_on(&view, targets, tape(self.weights.try_alloc_grads()?))?;
        Ok((read(&loss)[0], loss.try_backward()?))
    }
}

impl Hyper {
    fn config(&self) -> AdamConfig {
        AdamConfig {
            lr: self.lr,
            betas: [self.beta1, self.beta2],
            eps: self.eps,
            weight_decay: Some(WeightDecay::Decoupled(self.weight_decay)),
        }
    }
}

/// Scales all gradients so that their norm is at most `limit`, as torch's `clip_grad_norm_`; returns the norm before.
fn clip<M: dfdx::nn::TensorCollection<f32, Cpu>>(
    model: &M,
    gradients: &mut Gradients<f32, Cpu>,
    limit: f64,
) -> Result<f64, Error> {
    let mut sum = 0.0;
    weights::for_gradients(model, gradients, &mut |_, g| sum += kernels::reduce::sum_of_squares(g))?;
    let norm = sum.sqrt();
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 {
        let mut scale = |_, gradient: &mut [f32]| gradient.iter_mut().for_each(|g| *g *= factor as f32);
        weights::for_gradients(model, gradients, &mut scale)?;
    }
    Ok(norm)
}
