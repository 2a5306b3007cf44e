//! Walks over a model's tensors by name: what a type holds, filling it, reading it and its gradients.
//!
//! The walkers are dfdx's: a [`TensorVisitor`] meets every tensor once, in the order of `Plan::parameters()`. There are
//! two, one over a type and one over a value, since each is compiled anew for every model type.

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
    let mut list = Vec::new();
    let walked = over_type::<M>(&mut |entry| {
        list.push(entry);
        Ok(None)
    });
    debug_assert!(walked.is_ok_and(|made| made.is_none()), "listing neither fails nor makes anything");
    list
}

/// Makes a model whose tensors hold what `values` gives for a name and a shape.
pub(super) fn build<M: TensorCollection<f32, Cpu, To<f32, Cpu> = M>>(values: &Values<'_>) -> Result<M, Error> {
    let built = over_type::<M>(&mut |entry| values(&entry.name, &entry.shape).map(Some))?;
    Ok(built.expect("every tensor was given values, so the model is made"))
}

/// Copies of all tensors.
pub(super) fn export<M: TensorCollection<f32, Cpu>>(model: &M) -> Vec<Named> {
    let mut copies = Vec::new();
    let walked = over_value(model, &mut |entry, tensor| {
        copies.push(entry.with(tensor.values()));
        Ok(())
    });
    debug_assert!(walked.is_ok(), "copying does not fail");
    copies
}

/// Shows `visit` every learning tensor with its gradient.
pub(super) fn for_gradients<M: TensorCollection<f32, Cpu>>(
    model: &M,
    gradients: &mut Gradients<f32, Cpu>,
    visit: &mut dyn FnMut(Entry, &mut [f32]),
) -> Result<(), CpuError> {
    over_value(model, &mut |entry, tensor| {
        if entry.learns {
            visit(entry, tensor.gradient(gradients)?);
        }
        Ok(())
    })
}

impl Entry {
    /// This tensor with values.
    pub(super) fn with(self, data: Vec<f32>) -> Named {
        Named { name: self.name, shape: self.shape, data }
    }
}

/// Holds the names and shapes of a type's tensors against the plan's.
pub(super) fn compare(typed: &[Entry], plan: &Plan) -> Result<(), Error> {
    let same = |a: &Entry, b: &Entry| a.name == b.name && a.shape == b.shape;
    first_difference(typed, &planned(plan), same)
}

/// Holds names, shapes, and which tensors learn against the plan's.
pub(super) fn compare_all(typed: &[Entry], plan: &Plan) -> Result<(), Error> {
    first_difference(typed, &planned(plan), Entry::eq)
}

fn planned(plan: &Plan) -> Vec<Entry> {
    (plan.parameters().into_iter())
        .map(|parameter| Entry { name: parameter.name, shape: parameter.shape, learns: parameter.trainable })
        .collect()
}

fn first_difference(typed: &[Entry], planned: &[Entry], same: fn(&Entry, &Entry) -> bool) -> Result<(), Error> {
    for at in 0..typed.len().max(planned.len()) {
        match (typed.get(at), planned.get(at)) {
            (Some(typed), Some(planned)) if same(typed, planned) => {}
            (typed, planned) => {
                let what = planned.or(typed).map_or_else(String::new, |entry| entry.name.clone());
                return Err(Error::Mismatch { typed: describe(typed, &what), planned: describe(planned, &what), what });
            }
        }
    }
    Ok(())
}

fn describe(entry: Option<&Entry>, name: &str) -> String {
    match entry {
        Some(entry) if entry.name == name => {
            format!("{:?} and {}", entry.shape, if entry.learns { "learning" } else { "frozen" })
        }
        _ => "absent".to_owned(),
    }
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

type Values<'v> = dyn Fn(&str, &[usize]) -> Result<Vec<f32>, Error> + 'v;
type Fill<'v> = dyn FnMut(Entry) -> Result<Option<Vec<f32>>, Error> + 'v;
type Visit<'v> = dyn FnMut(Entry, &dyn Held) -> Result<(), CpuError> + 'v;

/// Walks over the tensors of a type and makes those that `fill` gives values for; makes the whole when it made all.
fn over_type<M: TensorCollection<f32, Cpu>>(fill: &mut Fill<'_>) -> Result<Option<M::To<f32, Cpu>>, Error> {
    let mut walk = OverType { device: Cpu::default(), fill };
    M::iter_tensors(&mut RecursiveWalker { m: String::new(), f: &mut walk })
}

/// Walks over the tensors of a value.
fn over_value<M: TensorCollection<f32, Cpu>>(model: &M, visit: &mut Visit<'_>) -> Result<(), CpuError> {
    let mut walk = OverValue { visit };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut walk })?;
    Ok(())
}

/// A tensor whose shape does not matter.
trait Held {
    fn values(&self) -> Vec<f32>;
    fn gradient<'g>(&self, gradients: &'g mut Gradients<f32, Cpu>) -> Result<&'g mut [f32], CpuError>;
}

impl<S: Shape> Held for Tensor<S, f32, Cpu> {
    fn values(&self) -> Vec<f32> {
        read(self)
    }

    fn gradient<'g>(&self, gradients: &'g mut Gradients<f32, Cpu>) -> Result<&'g mut [f32], CpuError> {
        Ok(gradient(gradients, self)?)
    }
}

struct OverType<'v, 'f> {
    device: Cpu,
    fill: &'v mut Fill<'f>,
}

impl TensorVisitor<f32, Cpu> for OverType<'_, '_> {
    type Viewer = ViewTensorName;
    type Err = Error;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f32, Cpu>,
        name: String,
    ) -> Result<Option<Tensor<S, f32, Cpu>>, Error> {
        let entry = Entry { name, shape: options.shape.concrete().into(), learns: options.do_gradient_update };
        match (self.fill)(entry)? {
            Some(values) => Ok(Some(self.device.try_tensor_from_vec(values, options.shape)?)),
            None => Ok(None),
        }
    }
}

struct OverValue<'v, 'f> {
    visit: &'v mut Visit<'f>,
}

impl TensorVisitor<f32, Cpu> for OverValue<'_, '_> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = CpuError;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f32, Cpu>,
        (tensor, name): (&Tensor<S, f32, Cpu>, String),
    ) -> Result<Option<Tensor<S, f32, Cpu>>, CpuError> {
        let entry = Entry { name, shape: tensor.shape().concrete().into(), learns: options.do_gradient_update };
        (self.visit)(entry, tensor)?;
        Ok(None)
    }
}
