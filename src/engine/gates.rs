//! Learning which heads need the whole context (DuoAttention, arXiv 2410.10819 §3.2): a gate for each key/value head of each
//! layer, on weights that stay.
//!
//! The full model reads a batch first and leaves its last hidden states. The gated model, whose heads mix full and streaming
//! attention, reads it again and is held to these where a token is predicted.

use kernels::adamw::Hyper;
use kernels::device::{Device, Distance};
use recipe_core::{Form, Learns, Llama, Pattern};

use super::workspace::{Purpose, Scratch};
use super::{Engine, Error};
use crate::data::Batch;
use crate::hub::{Tensor, Weights};

/// What gates are called among tensors.
pub const GATES: &str = "gates";

/// Gates with their gradients and AdamW's moments, `[layers, G]` each.
#[derive(Debug)]
pub(crate) struct GateStore<D: Device> {
    layers: usize,
    heads: usize,
    pub(crate) values: D::Buffer,
    pub(crate) grads: D::Buffer,
    pub(crate) first: D::Buffer,
    pub(crate) second: D::Buffer,
}

impl<D: Device> GateStore<D> {
    /// All open: the model begins as the full one.
    pub(crate) fn new(device: &D, model: &Llama) -> Result<Self, Error> {
        let (layers, heads) = (model.layers, model.kv_heads);
        let zeros = || device.zeros_f32(layers * heads);
        let mut values = zeros()?;
        device.write(&vec![1.0; layers * heads], &mut values);
        Ok(Self { layers, heads, values, grads: zeros()?, first: zeros()?, second: zeros()? })
    }

    pub(crate) fn clear_gradients(&mut self, device: &D) {
        device.clear(&mut self.grads, self.layers * self.heads);
    }

    /// Values and both moments, as [`Engine::trained`] and [`Engine::moments`] gave them; nothing changes unless all fit.
    pub(crate) fn restore(&mut self, device: &D, sources: [&Weights; 3]) -> Result<(), Error> {
        let expected = vec![self.layers, self.heads];
        for source in sources {
            match source.get(GATES) {
                Some(tensor) if tensor.shape == expected => {}
                Some(tensor) => {
                    return Err(Error::Shape { name: GATES.to_owned(), expected, got: tensor.shape.clone() });
                }
                None => return Err(Error::MissingTensor { name: GATES.to_owned(), expected }),
            }
        }
        for (source, buffer) in sources.into_iter().zip([&mut self.values, &mut self.first, &mut self.second]) {
            if let Some(tensor) = source.get(GATES) {
                device.write(&tensor.data, buffer);
            }
        }
        Ok(())
    }

    fn read(&self, device: &D, buffer: &D::Buffer) -> Vec<f32> {
        device.download(buffer, self.layers * self.heads)
    }
}

/// Keeps what a layer of the full model attended to, where gates let that through.
pub(crate) fn teach<D: Device>(scratch: &mut Scratch<D>, device: &D, layer: usize, attended: &D::Buffer, len: usize) {
    if let Some(gated) = scratch.gated.as_mut().filter(|gated| gated.form == Form::Code) {
        device.copy(attended, &mut gated.full[layer], len);
    }
}

impl<D: Device> Engine<D> {
    /// Adds the gradients of `grad_scale` · Σ distance to the gates', and gives the distance at every row: the mean squared
    /// difference of the last hidden states, 0 where nothing is predicted.
    ///
    /// # Errors
    /// A batch that does not fit the model, too little memory, or a plan that learns no gates.
    pub fn learn_gates(&mut self, batch: &Batch, learns: Learns, grad_scale: f32) -> Result<Vec<f32>, Error> {
        let Learns::Gates { sink, recent, form, .. } = learns else { return Err(Error::NoGates) };
        if self.gates.is_none() {
            return Err(Error::NoGates);
        }
        let (rows, gated) = (batch.len(), Some(Pattern::Window { window: recent, sink }));
        let learned = D::run(|| {
            let ready = self.ready(batch, Purpose::Gates { form })?;
            self.forward(&ready, rows, None);
            self.keep_taught(rows);
            self.forward(&ready, rows, gated);
            let distances = self.distances(&ready.batch, rows, grad_scale)?;
            self.layers_backward(&ready, rows, gated);
            self.check_device().map(|()| distances)
        });
        learned.map_err(|error: Error| error.in_training(&self.plan))
    }

    /// What the full model ends with is what the gated one is held to.
    fn keep_taught(&mut self, rows: usize) {
        let Some((_, ws, _)) = &mut self.workspace else { return };
        if let Some(gated) = &mut ws.scratch.gated {
            self.device.copy(&ws.normed, &mut gated.taught, rows * self.plan.model.hidden);
        }
    }

    /// Of each row, and the gradient of the final norm's output.
    fn distances(&mut self, batch: &D::Batch, rows: usize, grad_scale: f32) -> Result<Vec<f32>, Error> {
        let Some((_, ws, _)) = &mut self.workspace else { return Err(Error::Empty) };
        let (Some(gated), Some(back)) = (&ws.scratch.gated, &mut ws.backward) else { return Err(Error::Empty) };
        let job = Distance { rows, hidden: self.plan.model.hidden, grad_scale };
        Ok(self.device.distance(batch, job, &ws.normed, &gated.taught, &mut back.dbranch))
    }

    /// Gates go back into [0, 1], where a step may have left it.
    pub fn clamp_gates(&mut self) {
        let Some(gates) = &mut self.gates else { return };
        let values: Vec<f32> =
            gates.read(&self.device, &gates.values).iter().map(|gate| gate.clamp(0.0, 1.0)).collect();
        self.device.write(&values, &mut gates.values);
    }

    /// Adds the gradient of `reg` · mean |α| to the gates'.
    pub fn price_gates(&mut self, reg: f64) {
        let Some(gates) = &mut self.gates else { return };
        let values = gates.read(&self.device, &gates.values);
        let price = (reg / values.len().max(1) as f64) as f32;
        let slope = |gate: f32| if gate == 0.0 { 0.0 } else { price * gate.signum() };
        let grads = gates.read(&self.device, &gates.grads);
        let grads: Vec<f32> = grads.iter().zip(&values).map(|(grad, gate)| grad + slope(*gate)).collect();
        self.device.write(&grads, &mut gates.grads);
    }

    /// The 2-norm of the gates' gradient.
    pub fn gates_gradient_norm(&self) -> f64 {
        self.gates.as_ref().map_or(0.0, |gates| self.device.sum_of_squares(&gates.grads).sqrt())
    }

    /// One AdamW step on the gates.
    pub fn update_gates(&mut self, hyper: &Hyper) {
        if let Some(GateStore { values, grads, first, second, .. }) = &mut self.gates {
            self.device.adamw(hyper, values, grads, first, second);
        }
    }

    /// The gates in [0, 1], layer by layer; nothing where the plan learns none.
    pub fn gates(&self) -> Option<Vec<Vec<f64>>> {
        let gates = self.gates.as_ref()?;
        let values = gates.read(&self.device, &gates.values);
        let layer = |heads: &[f32]| heads.iter().map(|gate| f64::from(gate.clamp(0.0, 1.0))).collect();
        Some(values.chunks(gates.heads.max(1)).map(layer).collect())
    }

    /// One of the gates' tensors by its name.
    pub(crate) fn gate_tensor(&self, buffer: impl Fn(&GateStore<D>) -> &D::Buffer) -> Option<(String, Tensor)> {
        let gates = self.gates.as_ref()?;
        let data = gates.read(&self.device, buffer(gates));
        Some((GATES.to_owned(), Tensor { shape: vec![gates.layers, gates.heads], data }))
    }
}
