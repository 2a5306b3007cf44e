//! A projection, with or without a bias and a LoRA adapter.

use std::marker::PhantomData;

use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::{ConstShape, Dtype, Rank1, Rank2};
use dfdx::tensor::{Cpu, Storage, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{Device, ReshapeTo, TryAdd, TryMul};

use super::adapt::{Hold, Trained};
use super::error::Error;
use super::layer::{Layer, module};
use super::maybe::Maybe;
use super::ops;
use super::tape::Hidden;
use super::view::View;

/// y = x Wᵀ, with a bias + b, and with an adapter + scale · (x Aᵀ) Bᵀ (arXiv 2106.09685), where A may miss some of x in
/// training.
///
/// Takes `I` features, gives `O`. `Linear<64, 10>` is a trained one without an adapter and without a bias.
#[derive(Clone, Debug)]
pub struct Linear<
    const I: usize,
    const O: usize,
    const R: usize = 0,
    H: Hold = Trained,
    const BIAS: bool = false,
    E: Dtype = f32,
    D: Storage<E> = Cpu,
> {
    weight: Tensor<Rank2<O, I>, E, D>,
    /// There exactly when the type says `BIAS`.
    bias: Option<Tensor<Rank1<O>, E, D>>,
    /// There exactly when the type says `H::ADAPTED`.
    adapter: Option<Adapter<I, O, R, E, D>>,
    hold: PhantomData<H>,
}

/// The low-rank pair beside a frozen projection.
#[derive(Clone, Debug)]
pub struct Adapter<const I: usize, const O: usize, const R: usize, E: Dtype = f32, D: Storage<E> = Cpu> {
    /// `lora_A` `[R, I]`.
    pub a: Tensor<Rank2<R, I>, E, D>,
    /// `lora_B` `[O, R]`.
    pub b: Tensor<Rank2<O, R>, E, D>,
}

const OFFSET: &str = "a projection whose type has a bias is only ever made with it";
const PAIR: &str = "a projection whose type is adapted is only ever made with its adapter";

impl<const I: usize, const O: usize> Linear<I, O> {
    /// A trained projection with this weight `[O, I]`.
    pub fn new(weight: Tensor<Rank2<O, I>, f32, Cpu>) -> Result<Self, Error> {
        // A permuted view would be read in the wrong order.
        Ok(Self { weight: weight.try_contiguous()?, bias: None, adapter: None, hold: PhantomData })
    }
}

impl<const I: usize, const O: usize, const R: usize, H: Hold, const BIAS: bool, E: Dtype, D: Storage<E>>
    Linear<I, O, R, H, BIAS, E, D>
{
    /// The weight `[O, I]`.
    pub fn weight(&self) -> &Tensor<Rank2<O, I>, E, D> {
        &self.weight
    }

    /// The bias `[O]`, if the type has one; it learns where the weight does.
    pub fn bias(&self) -> Option<&Tensor<Rank1<O>, E, D>> {
        self.bias.as_ref()
    }

    /// The adapter, if the type has one.
    pub fn adapter(&self) -> Option<&Adapter<I, O, R, E, D>> {
        self.adapter.as_ref()
    }

    fn offset(&self) -> &Tensor<Rank1<O>, E, D> {
        self.bias.as_ref().expect(OFFSET)
    }

    fn offset_mut(&mut self) -> &mut Tensor<Rank1<O>, E, D> {
        self.bias.as_mut().expect(OFFSET)
    }

    fn pair(&self) -> &Adapter<I, O, R, E, D> {
        self.adapter.as_ref().expect(PAIR)
    }

    fn pair_mut(&mut self) -> &mut Adapter<I, O, R, E, D> {
        self.adapter.as_mut().expect(PAIR)
    }
}

impl<const I: usize, const O: usize, const R: usize, H: Hold, const BIAS: bool> Linear<I, O, R, H, BIAS> {
    /// The projection without its adapter.
    fn base<T: Tape<f32, Cpu>>(&self, x: Hidden<I, T>) -> Result<Hidden<O, T>, Error> {
        let y = ops::linear(x, &self.weight, H::TRAINED)?;
        match &self.bias {
            Some(bias) => ops::add_bias(y, bias, H::TRAINED),
            None => Ok(y),
        }
    }
}

impl<const I: usize, const O: usize, const R: usize, H: Hold, const BIAS: bool> Layer<I> for Linear<I, O, R, H, BIAS> {
    type Output<T: Tape<f32, Cpu>> = Hidden<O, T>;

    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<I, T>, view: &View) -> Result<Hidden<O, T>, Error> {
        let Some(adapter) = &self.adapter else {
            return self.base(x);
        };
        let seen = ops::dropout(x.with_empty_tape(), view.left_out())?;
        let low = ops::linear(seen, &adapter.a, true)?;
        let part = ops::linear(low, &adapter.b, true)?.try_mul(view.laws.adapter_scale)?;
        Ok(self.base(x)?.try_add(part)?)
    }
}

module!([const I: usize, const O: usize, const R: usize, H: Hold, const BIAS: bool] Linear<I, O, R, H, BIAS>, I);

impl<const I: usize, const O: usize, const R: usize, H: Hold, const BIAS: bool, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for Linear<I, O, R, H, BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Linear<I, O, R, H, BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight = Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, zeros(H::TRAINED));
        let bias = BIAS.then(|| Self::tensor("bias", |s| s.offset(), |s| s.offset_mut(), zeros(H::TRAINED)));
        let pair = H::ADAPTED.then(|| {
            (
                Self::tensor("lora_A.weight", |s| &s.pair().a, |s| &mut s.pair_mut().a, zeros(true)),
                Self::tensor("lora_B.weight", |s| &s.pair().b, |s| &mut s.pair_mut().b, zeros(true)),
            )
        });
        visitor.visit_fields((weight, Maybe(bias), Maybe(pair)), |(weight, bias, pair)| Linear {
            weight,
            bias,
            adapter: pair.map(|(a, b)| Adapter { a, b }),
            hold: PhantomData,
        })
    }
}

/// A tensor that starts at zero; real values come from a checkpoint or the plan's initialisation.
pub(super) fn zeros<S: ConstShape, E: Dtype, D: Device<E>>(learns: bool) -> TensorOptions<S, E, D> {
    if learns { TensorOptions::reset_to_zeros() } else { TensorOptions::detached(|t| t.try_fill_with_zeros()) }
}
