//! One step in both: the engine against the typed dfdx model, same weights, same text.

use kernels::device::Device;

use super::Error;
use crate::data::Batch;
use crate::engine::Engine;
use crate::hub::{Tensor, Weights};
use crate::model::{Input, Named, TypedModel};

/// What rounding in f32 explains, as in the tests against PyTorch.
const LOSS_LIMIT: f64 = 1e-4;
const GRADIENT_LIMIT: f64 = 1e-3;

/// How far apart they are, relative to the largest value.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// The loss that both found.
    pub loss: f64,
    /// Relative difference of the losses.
    pub loss_difference: f64,
    /// Largest relative difference of a gradient tensor.
    pub gradient_difference: f64,
    /// Gradient tensors compared.
    pub tensors: usize,
}

/// Runs one forward and backward pass in both.
///
/// # Errors
/// When they differ by more than rounding explains.
pub(super) fn agree<D: Device, M: TypedModel>(
    engine: &mut Engine<D>,
    typed: &M,
    batch: &Batch,
) -> Result<Agreement, Error> {
    let starts = batch.starts();
    let (noise, stretch) = (1, batch.stretch);
    let input =
        Input { tokens: &batch.tokens, positions: &batch.positions, starts: &starts, stretch, noise: Some(noise) };
    let (typed_loss, typed_grads) = typed.loss_and_gradients(&input, &batch.targets)?;
    let counted = batch.counted().max(1);
    engine.clear_gradients();
    engine.set_noise(noise);
    let scores = engine.learn(batch, 1.0 / counted as f32, true)?;
    let loss = scores.nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / counted as f64;
    let gradients = engine.gradients();
    let loss_difference = (loss - f64::from(typed_loss)).abs() / loss.abs();
    within("the loss", loss_difference, LOSS_LIMIT)?;
    let mut worst = 0.0_f64;
    for Named { name, data, .. } in &typed_grads {
        let ours = gradients.get(name).map_or(&[][..], |tensor| &tensor.data);
        let difference = relative(ours, data);
        within(&format!("the gradient of `{name}`"), difference, GRADIENT_LIMIT)?;
        worst = worst.max(difference);
    }
    Ok(Agreement { loss, loss_difference, gradient_difference: worst, tensors: typed_grads.len() })
}

fn within(what: &str, difference: f64, limit: f64) -> Result<(), Error> {
    if difference <= limit {
        return Ok(());
    }
    Err(Error::Disagreement { what: what.to_owned(), difference, limit })
}

/// max |a − b| ÷ max |b|; infinite when the lengths differ.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let largest = b.iter().fold(0.0_f32, |most, b| most.max(b.abs()));
    let apart = a.iter().zip(b).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    if apart == 0.0 { 0.0 } else { f64::from(apart / largest) }
}

/// A typed model with the engine's weights, adapters among them.
pub(super) fn typed_model<M: TypedModel>(plan: &recipe_core::Plan, weights: &Weights) -> Result<M, Error> {
    let source = |name: &str| weights.get(name).map(|tensor| (&tensor.shape[..], &tensor.data[..]));
    Ok(M::from_weights(plan, &source)?)
}

/// The typed model's tensors as weights.
pub(super) fn weights_of<M: TypedModel>(typed: &M) -> Weights {
    typed.export().into_iter().map(|Named { name, shape, data }| (name, Tensor { shape, data })).collect()
}
