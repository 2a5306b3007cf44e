//! Layer inputs on their way through the backward pass: all of them on the device, or the last two there and the others outside.
//!
//! An input leaves while its layer runs, and comes back while the layer above runs backwards; a buffer on the device takes the next
//! one when the last has left or has served.

use kernels::device::Device;
use recipe_core::Plan;
use recipe_core::workspace::NEAR;

use super::Error;
use super::workspace::Purpose;

/// Where the layer inputs of one workspace are. `near` are its own buffers for them.
#[derive(Debug)]
pub(crate) struct Inputs<D: Device> {
    /// Those that wait outside, of the first layers; empty where all are on the device.
    away: Vec<D::Away>,
}

impl<D: Device> Inputs<D> {
    /// Room outside for what a pass over `rows` rows offloads.
    pub(crate) fn new(device: &D, plan: &Plan, rows: usize, purpose: Purpose) -> Result<Self, Error> {
        let (len, layers) = plan.offloaded(rows, purpose);
        let away = (0..layers).map(|_| device.away(len)).collect::<Result<_, _>>()?;
        Ok(Self { away })
    }

    /// Keeps the stream `x` as the input of `layer`, where the pass keeps inputs.
    pub(crate) fn keep(&mut self, device: &D, x: &D::Buffer, near: &mut [D::Buffer], layer: usize, len: usize) {
        let place = self.place(layer);
        let Some(input) = near.get_mut(place) else { return };
        if let Some(before) = layer.checked_sub(NEAR).and_then(|before| self.away.get(before)) {
            device.settle(before);
        }
        device.copy(x, input, len);
        if let Some(away) = self.away.get_mut(layer) {
            device.send(input, away, len);
        }
    }

    /// Where the input of `layer` is on the device, once it has come back.
    pub(crate) fn back(&self, device: &D, layer: usize) -> usize {
        if let Some(away) = self.away.get(layer) {
            device.settle(away);
        }
        self.place(layer)
    }

    /// The input of `layer` has served: its place is the next one's.
    pub(crate) fn served(&self, device: &D, near: &mut [D::Buffer], layer: usize, len: usize) {
        let Some(next) = layer.checked_sub(NEAR) else { return };
        if let Some(away) = self.away.get(next) {
            device.bring(away, &mut near[layer % NEAR], len);
        }
    }

    fn place(&self, layer: usize) -> usize {
        if self.away.is_empty() { layer } else { layer % NEAR }
    }
}
