//! The whole model by Hugging Face name, adapters merged: W + scale · B A.

use std::borrow::Cow;

use kernels::device::Device;

use super::{Engine, Error};
use crate::hub::{self, Tensor, Tensors, Weights};

/// A model that has been trained, on its device still, to be read a tensor at a time.
#[derive(Debug)]
pub struct Merged<D: Device>(Engine<D>);

impl<D: Device> Engine<D> {
    /// All of it at once, in the host's memory.
    pub fn merged(&self) -> Weights {
        self.whole().map(|index| self.merged_tensor(index)).collect()
    }

    /// The same, a tensor at a time; gradients, moments and buffers of passes are given back now.
    pub fn into_merged(mut self) -> Merged<D> {
        self.store.grads.iter_mut().for_each(|grad| *grad = None);
        self.store.moments.iter_mut().for_each(|moments| *moments = None);
        self.workspace = None;
        Merged(self)
    }

    /// Every parameter but adapters.
    fn whole(&self) -> impl Iterator<Item = usize> {
        let specs = self.store.specs.iter().enumerate();
        specs.filter(|(_, spec)| !spec.name.contains(".lora_")).map(|(index, _)| index)
    }

    fn merged_tensor(&self, index: usize) -> (String, Tensor) {
        let (name, mut tensor) = self.named(index);
        let projections = self.index.layers.iter().flat_map(|l| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down]);
        let adapter = projections.filter(|p| p.weight == index).find_map(|p| p.adapter.as_ref());
        if let Some(adapter) = adapter {
            tensor.add_product(&self.named(adapter.b).1, &self.named(adapter.a).1, adapter.scale);
        }
        (name, tensor)
    }
}

impl<D: Device> Merged<D> {
    /// As [`Engine::check_device`]: what was read after a failure is nothing.
    ///
    /// # Errors
    /// The first failure.
    pub fn check_device(&self) -> Result<(), Error> {
        self.0.check_device()
    }
}

impl<D: Device> Tensors for Merged<D> {
    fn names(&self) -> Vec<String> {
        self.0.whole().map(|index| self.0.store.specs[index].name.clone()).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<Cow<'_, Tensor>>, hub::Error> {
        let index = self.0.whole().find(|&index| self.0.store.specs[index].name == name);
        Ok(index.map(|index| Cow::Owned(self.0.merged_tensor(index).1)))
    }
}
