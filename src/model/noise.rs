//! Which inputs of adapters a training step leaves out; the engine and the typed model ask here, so both leave out the same.

use kernels::dropout::Mask;
use recipe_core::Target;

/// Dropout on what goes into adapters, as peft's `lora_dropout`: the frozen projection beside an
/// adapter sees everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    seed: u64,
    rate: f32,
}

impl Noise {
    /// The noise of one pass; nothing without a name for it, or where nothing is left out.
    pub(crate) fn of(dropout: f64, seed: Option<u64>) -> Option<Self> {
        seed.filter(|_| dropout > 0.0).map(|seed| Self { seed, rate: dropout as f32 })
    }

    /// The mask of one adapter's input.
    pub(crate) fn mask(&self, adapter: u64) -> Mask {
        // Multiplied by an odd number, so that neighbouring adapters draw from streams far apart.
        Mask { seed: self.seed ^ (adapter + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93), rate: self.rate }
    }
}

/// The number of the adapter on `target` in a layer.
pub(crate) fn adapter(layer: usize, target: Target) -> u64 {
    (layer * Target::ALL.len()) as u64 + target as u64
}
