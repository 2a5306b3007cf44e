//! The whole model by Hugging Face name, adapters merged: W + scale · B A.

use std::borrow::Cow;
use std::cell::RefCell;

use kernels::device::{Device, Weight};
use recipe_core::Parameter;

use super::store::{self, ModelIndex, Store};
use super::{Engine, Error};
use crate::hub::{self, Tensor, Tensors, Weights};

/// A trained model on its way into another engine: a tensor can be read once, and its memory on the device is free then.
#[derive(Debug)]
pub struct Merged<D: Device> {
    device: D,
    specs: Vec<Parameter>,
    index: ModelIndex,
    values: RefCell<Vec<Option<Weight<D>>>>,
}

impl<D: Device> Engine<D> {
    /// All of it at once, in the host's memory.
    pub fn merged(&self) -> Weights {
        whole(&self.store.specs).map(|place| self.merged_tensor(place)).collect()
    }

    /// The same, a tensor at a time; what training needs beside the weights is given back now.
    pub fn into_merged(self) -> Merged<D> {
        let Self { device, store: Store { specs, values, .. }, index, .. } = self;
        Merged { device, specs, index, values: RefCell::new(values.into_iter().map(Some).collect()) }
    }

    fn merged_tensor(&self, place: usize) -> (String, Tensor) {
        let name = self.store.specs[place].name.clone();
        (name, merged(&self.index, place, |place| self.named(place).1))
    }
}

impl<D: Device> Merged<D> {
    /// As [`Engine::check_device`]: what was read after a failure is nothing.
    ///
    /// # Errors
    /// The first failure.
    pub fn check_device(&self) -> Result<(), Error> {
        Ok(self.device.check()?)
    }

    fn take(&self, place: usize) -> Tensor {
        let spec = &self.specs[place];
        let value = self.values.borrow_mut()[place].take();
        let data = value.map(|value| store::read(&self.device, spec, &value)).unwrap_or_default();
        Tensor { shape: spec.shape.clone(), data }
    }
}

impl<D: Device> Tensors for Merged<D> {
    fn names(&self) -> Vec<String> {
        whole(&self.specs).map(|place| self.specs[place].name.clone()).collect()
    }

    /// Nothing where it was read before.
    fn tensor(&self, name: &str) -> Result<Option<Cow<'_, Tensor>>, hub::Error> {
        let unread = |place: &usize| self.specs[*place].name == name && self.values.borrow()[*place].is_some();
        let place = whole(&self.specs).find(unread);
        Ok(place.map(|place| Cow::Owned(merged(&self.index, place, |place| self.take(place)))))
    }
}

/// Every parameter but adapters.
fn whole(specs: &[Parameter]) -> impl Iterator<Item = usize> {
    specs.iter().enumerate().filter(|(_, spec)| !spec.name.contains(".lora_")).map(|(place, _)| place)
}

/// A parameter, and what its adapter adds.
fn merged(index: &ModelIndex, place: usize, read: impl Fn(usize) -> Tensor) -> Tensor {
    let mut tensor = read(place);
    let projections = index.layers.iter().flat_map(|l| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down]);
    if let Some(adapter) = projections.filter(|p| p.weight == place).find_map(|p| p.adapter.as_ref()) {
        tensor.add_product(&read(adapter.b), &read(adapter.a), adapter.scale);
    }
    tensor
}
