//! Weights by Hugging Face name, f32, in the order of the model; in memory, or read when they are asked for.

use std::borrow::Cow;
use std::collections::HashMap;

use kernels::linear::{self, Dims, Write};

use super::error::Error;

/// One tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dimensions, outermost first; linear weights are [out, in].
    pub shape: Vec<usize>,
    /// As many values as the shape says.
    pub data: Vec<f32>,
}

impl Tensor {
    /// Adds scale · `b` [out, r] · `a` [r, in] to a matrix [out, in], as an adapter changes it.
    pub(crate) fn add_product(&mut self, b: &Self, a: &Self, scale: f32) {
        let ([rows, outputs], inputs) = ([b.shape[0], b.shape[1]], a.shape[1]);
        linear::backward_input(Dims { rows, inputs, outputs }, &b.data, &a.data, &mut self.data, scale, Write::Add);
    }
}

/// A name, a shape and its values, borrowed: what writers take.
pub type View<'a> = (&'a str, &'a [usize], &'a [f32]);

/// Where a model's tensors come from: memory ([`Weights`]), or files that are read a tensor at a time ([`Header`](super::Header)).
pub trait Tensors {
    /// Names in order.
    fn names(&self) -> Vec<String>;

    /// The tensor of that name, where there is one.
    ///
    /// # Errors
    /// What reading it from a file says.
    fn tensor(&self, name: &str) -> Result<Option<Cow<'_, Tensor>>, Error>;
}

impl Tensors for Weights {
    fn names(&self) -> Vec<String> {
        Self::names(self).map(str::to_owned).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<Cow<'_, Tensor>>, Error> {
        Ok(self.get(name).map(Cow::Borrowed))
    }
}

/// Tensors by name, in the order of insertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    entries: Vec<(String, Tensor)>,
    places: HashMap<String, usize>,
}

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor at the end, or replaces the one of that name where it stands.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        match self.places.get(&name) {
            Some(&place) => self.entries[place].1 = tensor,
            None => {
                self.places.insert(name.clone(), self.entries.len());
                self.entries.push((name, tensor));
            }
        }
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).map(|&place| &self.entries[place].1)
    }

    /// The tensor of that name, to change its values.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.places.get(name).map(|&place| &mut self.entries[place].1)
    }

    /// Takes the tensor of that name out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        let place = self.places.remove(name)?;
        for other in self.places.values_mut().filter(|other| **other > place) {
            *other -= 1;
        }
        Some(self.entries.remove(place).1)
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// What [`write`](super::write()) and [`save`](super::save()) take.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.iter().map(|(name, tensor)| (name, tensor.shape.as_slice(), tensor.data.as_slice()))
    }

    /// How many tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many values in all tensors together.
    pub fn parameters(&self) -> usize {
        self.entries.iter().map(|(_, tensor)| tensor.data.len()).sum()
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Self {
        let mut weights = Self::new();
        tensors.into_iter().for_each(|(name, tensor)| weights.insert(name, tensor));
        weights
    }
}

impl IntoIterator for Weights {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Tensor {
        Tensor { shape: vec![values.len()], data: values.to_vec() }
    }

    #[test]
    fn order_survives_replacement_and_removal() {
        let mut weights: Weights =
            ["c", "a", "b"].into_iter().zip([1.0, 2.0, 3.0]).map(|(n, v)| (n.to_string(), of(&[v]))).collect();
        weights.insert("a", of(&[5.0, 6.0]));
        assert_eq!(weights.names().collect::<Vec<_>>(), ["c", "a", "b"]);
        assert_eq!(weights.parameters(), 4);
        assert_eq!(weights.remove("c"), Some(of(&[1.0])));
        assert_eq!(weights.get("b"), Some(&of(&[3.0])));
        assert_eq!(weights.get("c"), None);
        assert_eq!(weights.len(), 2);
    }
}
