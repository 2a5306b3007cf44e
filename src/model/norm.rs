//! RMSNorm and the embedding: one tensor each.

use std::marker::PhantomData;

use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::{Dtype, Rank1, Rank2};
use dfdx::tensor::{Cpu, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::adapt::{Hold, Trained};
use super::error::Error;
use super::layer::{Layer, module};
use super::linear::zeros;
use super::ops;
use super::tape::Hidden;
use super::view::View;

/// x ÷ rms(x) · weight over rows of `C`; `rms_norm_eps` is the plan's.
#[derive(Clone, Debug)]
pub struct RmsNorm<const C: usize, H: Hold = Trained, E: Dtype = f32, D: Storage<E> = Cpu> {
    weight: Tensor<Rank1<C>, E, D>,
    hold: PhantomData<H>,
}

impl<const C: usize, H: Hold, E: Dtype, D: Storage<E>> RmsNorm<C, H, E, D> {
    /// The weight `[C]`.
    pub fn weight(&self) -> &Tensor<Rank1<C>, E, D> {
        &self.weight
    }
}

impl<const C: usize, H: Hold> Layer<C> for RmsNorm<C, H> {
    type Output<T: Tape<f32, Cpu>> = Hidden<C, T>;

    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<C, T>, view: &View) -> Result<Hidden<C, T>, Error> {
        ops::rms_norm(x, &self.weight, H::TRAINED, view.laws.norm_eps)
    }
}

impl<const C: usize, H: Hold> RmsNorm<C, H> {
    /// Every head of `C` features normed for itself.
    pub(super) fn heads<const W: usize, T: Tape<f32, Cpu>>(
        &self,
        x: Hidden<W, T>,
        view: &View,
    ) -> Result<Hidden<W, T>, Error> {
        ops::rms_norm(x, &self.weight, H::TRAINED, view.laws.norm_eps)
    }
}

module!([const C: usize, H: Hold] RmsNorm<C, H>, C);

impl<const C: usize, H: Hold, E: Dtype, D: Device<E>> TensorCollection<E, D> for RmsNorm<C, H, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = RmsNorm<C, H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let mut options = TensorOptions::reset_to_ones();
        options.do_gradient_update = H::TRAINED;
        visitor.visit_fields(Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, options), |weight| RmsNorm {
            weight,
            hold: PhantomData,
        })
    }
}

/// One row of `C` features per token of the vocabulary.
#[derive(Clone, Debug)]
pub struct Embedding<const VOCAB: usize, const C: usize, H: Hold = Trained, E: Dtype = f32, D: Storage<E> = Cpu> {
    weight: Tensor<Rank2<VOCAB, C>, E, D>,
    hold: PhantomData<H>,
}

impl<const VOCAB: usize, const C: usize, H: Hold, E: Dtype, D: Storage<E>> Embedding<VOCAB, C, H, E, D> {
    /// The weight `[VOCAB, C]`.
    pub fn weight(&self) -> &Tensor<Rank2<VOCAB, C>, E, D> {
        &self.weight
    }
}

impl<const VOCAB: usize, const C: usize, H: Hold> Embedding<VOCAB, C, H> {
    /// The rows of the view's tokens. The tape starts here.
    pub fn look_up<T: Tape<f32, Cpu>>(&self, view: &View, tape: T) -> Result<Hidden<C, T>, Error> {
        ops::embed(view, &self.weight, H::TRAINED, tape)
    }
}

impl<const VOCAB: usize, const C: usize, H: Hold, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Embedding<VOCAB, C, H, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Embedding<VOCAB, C, H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight = Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, zeros(H::TRAINED));
        visitor.visit_fields(weight, |weight| Embedding { weight, hold: PhantomData })
    }
}
