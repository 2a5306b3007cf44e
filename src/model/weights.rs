//! Walks over a model's tensors by name: what a type holds, filling it, reading it and its gradients.
//!
//! The walkers are dfdx's: a [`TensorVisitor`] meets every tensor once, in the order of `Plan::parameters()`.

use std::convert::Infallible;

use dfdx::nn::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorName, ViewTensorRef};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, CpuError, Gradients, Tensor, TensorFromVec};
use recipe_core::{Plan, Target};

use super::error::Error;
use super::tape::{gradient, read};

/// Where weights come from: Hugging Face's name → shape and values, row-major.
pub type Source<'s> = dyn Fn(&str) -> Option<(&'s [usize], &'s [f32])> + 's;

/// A tensor under Hugging Face's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Rows first.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub data: Vec<f32>,
}

/// A tensor as a type describes it.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    name: String,
    shape: Vec<usize>,
    learns: bool,
}

/// The tensors that the type `M` holds. Makes none of them.
pub(super) fn catalogue<M: TensorCollection<f32, Cpu>>() -> Vec<Entry> {
    let mut list = Catalogue(Vec::new());
    let mut walker = RecursiveWalker { m: String::new(), f: &mut list };
    let Ok(_) = M::iter_tensors(&mut walker);
    list.0
}

/// Holds a type's tensors against the plan's.
pub(super) fn compare(typed: &[Entry], plan: &Plan) -> Result<(), Error> {
    let planned: Vec<Entry> = (plan.parameters().into_iter())
        .map(|parameter| Entry { name: parameter.name, shape: parameter.shape, learns: parameter.trainable })
        .collect();
    let Some(at) = (0..typed.len().max(planned.len())).find(|&at| typed.get(at) != planned.get(at)) else {
        return Ok(());
    };
    let (typed, planned) = (typed.get(at), planned.get(at));
    let what = match planned.or(typed) {
        Some(entry) => format!("`{}`", entry.name),
        None => "the list of tensors".to_owned(),
    };
    Err(Error::Mismatch { what, typed: describe(typed), planned: describe(planned) })
}

fn describe(entry: Option<&Entry>) -> String {
    let Some(Entry { name, shape, learns }) = entry else { return "absent".to_owned() };
    format!("{name} {shape:?}, {}", if *learns { "learning" } else { "frozen" })
}

/// Makes a model whose tensors hold what `values` gives for a name and a shape.
pub(super) fn build<M: TensorCollection<f32, Cpu, To<f32, Cpu> = M>>(
    values: &mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, Error>,
) -> Result<M, Error> {
    let mut builder = Builder { device: Cpu::default(), values };
    let built = M::iter_tensors(&mut RecursiveWalker { m: String::new(), f: &mut builder })?;
    Ok(built.expect("the builder makes every tensor"))
}

/// The values of one tensor out of `source`, rounded to NF4 where the plan holds it so.
pub(super) fn look_up(plan: &Plan, source: &Source<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
    let Some((got, values)) = source(name) else {
        return Err(Error::MissingWeight { name: name.to_owned(), expected: shape.to_vec() });
    };
    if got != shape || values.len() != shape.iter().product::<usize>() {
        let (name, expected) = (name.to_owned(), shape.to_vec());
        return Err(Error::WrongShape { name, expected, got: got.to_vec(), values: values.len() });
    }
    let mut values = values.to_vec();
    if plan.adapt.quantized() && is_projection(name) {
        let packed = kernels::nf4::quantize(&values);
        packed.dequantize_into(0..values.len(), &mut values);
    }
    Ok(values)
}

fn is_projection(name: &str) -> bool {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    Target::ALL.iter().any(|target| module.ends_with(target.name()))
}

/// Copies of all tensors.
pub(super) fn export<M: TensorCollection<f32, Cpu>>(model: &M) -> Vec<Named> {
    let mut copies = Copies(Vec::new());
    let mut walker = RecursiveWalker { m: (model, String::new()), f: &mut copies };
    let Ok(_) = M::iter_tensors(&mut walker);
    copies.0
}

/// What each learning tensor's gradient holds, by `visit`.
pub(super) fn for_gradients<M: TensorCollection<f32, Cpu>>(
    model: &M,
    gradients: &mut Gradients<f32, Cpu>,
    visit: &mut dyn FnMut(Found<'_>),
) -> Result<(), CpuError> {
    let mut visitor = GradientVisitor { gradients, visit };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut visitor })?;
    Ok(())
}

/// The gradient of one learning tensor.
pub(super) struct Found<'g> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) gradient: &'g mut [f32],
}

struct Catalogue(Vec<Entry>);

impl TensorVisitor<f32, Cpu> for Catalogue {
    type Viewer = ViewTensorName;
    type Err = Infallible;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f32, Cpu>,
        name: String,
    ) -> Result<Option<Tensor<S, f32, Cpu>>, Infallible> {
        let shape = options.shape.concrete().into();
        self.0.push(Entry { name, shape, learns: options.do_gradient_update });
        Ok(None)
    }
}

struct Builder<'v> {
    device: Cpu,
    values: &'v mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, Error>,
}

impl TensorVisitor<f32, Cpu> for Builder<'_> {
    type Viewer = ViewTensorName;
    type Err = Error;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f32, Cpu>,
        name: String,
    ) -> Result<Option<Tensor<S, f32, Cpu>>, Error> {
        let shape: Vec<usize> = options.shape.concrete().into();
        let values = (self.values)(&name, &shape)?;
        Ok(Some(self.device.try_tensor_from_vec(values, options.shape)?))
    }
}

struct Copies(Vec<Named>);

impl TensorVisitor<f32, Cpu> for Copies {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Infallible;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, Cpu>,
        (tensor, name): (&Tensor<S, f32, Cpu>, String),
    ) -> Result<Option<Tensor<S, f32, Cpu>>, Infallible> {
        self.0.push(Named { name, shape: tensor.shape().concrete().into(), data: read(tensor) });
        Ok(None)
    }
}

struct GradientVisitor<'v> {
    gradients: &'v mut Gradients<f32, Cpu>,
    visit: &'v mut dyn FnMut(Found<'_>),
}

impl TensorVisitor<f32, Cpu> for GradientVisitor<'_> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = CpuError;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f32, Cpu>,
        (tensor, name): (&Tensor<S, f32, Cpu>, String),
    ) -> Result<Option<Tensor<S, f32, Cpu>>, CpuError> {
        if options.do_gradient_update {
            let shape = tensor.shape().concrete().into();
            (self.visit)(Found { name, shape, gradient: gradient(self.gradients, tensor)? });
        }
        Ok(None)
    }
}
