//! The whole model: its tensors as a dfdx collection, and with the plan's laws something that runs.

use std::sync::Arc;

use dfdx::nn::modules::Repeated;
use dfdx::nn::{Module, ModuleVisitor, TensorCollection};
use dfdx::optim::{Adam, AdamConfig};
use dfdx::shapes::{Dtype, Rank2};
use dfdx::tensor::{Cpu, NoneTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;
use recipe_core::Plan;

use super::adapt::{Adapt, Full, Hold};
use super::block::Block;
use super::error::Error;
use super::layer::Through;
use super::linear::Linear;
use super::maybe::Maybe;
use super::norm::{Embedding, RmsNorm};
use super::ops;
use super::tape::Hidden;
use super::view::{Input, Laws, View, check_targets};
use super::weights::{self, Entry, Source};

/// A Llama with every dimension in its type.
///
/// `QUERY` is heads · head_dim and `KV` is kv heads · head_dim; `RANK` is the rank of the adapters, 0 without any; `TIED`
/// says that the embedding is the head as well; `A` says which tensors learn. Qwen2 has a `BIAS` on q, k and v; Qwen3 a
/// `NORM` over the head_dim features of each head's q and k, 0 without one.
#[derive(Clone, Debug)]
pub struct Llama<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize = 0,
    const TIED: bool = false,
    A: Adapt = Full,
    const BIAS: bool = false,
    const NORM: usize = 0,
> {
    /// The tensors: what dfdx's `alloc_grads`, optimisers and `save_safetensors` take.
    pub weights: Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>,
    pub(super) laws: Arc<Laws>,
    /// dfdx's optimiser; it holds nothing before the first training step.
    pub(super) adam: Adam<Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>, f32, Cpu>,
}

const OWN_HEAD: &str = "a model whose type is not tied is only ever made with its head";

/// The tensors of a [`Llama`], under Hugging Face's names.
#[derive(Clone, Debug)]
pub struct Weights<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize = 0,
    const TIED: bool = false,
    A: Adapt = Full,
    const BIAS: bool = false,
    const NORM: usize = 0,
    E: Dtype = f32,
    D: Storage<E> = Cpu,
> {
    /// `model`.
    pub model: Decoder<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, A, BIAS, NORM, E, D>,
    /// `lm_head`; there exactly when the type is not `TIED`.
    lm_head: Option<Linear<HIDDEN, VOCAB, 0, A::Head, false, E, D>>,
}

/// Everything below the head.
#[derive(Clone, Debug)]
pub struct Decoder<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize = 0,
    A: Adapt = Full,
    const BIAS: bool = false,
    const NORM: usize = 0,
    E: Dtype = f32,
    D: Storage<E> = Cpu,
> {
    /// `embed_tokens`.
    pub embed_tokens: Embedding<VOCAB, HIDDEN, A::Embed, E, D>,
    /// `layers`, bottom to top.
    pub layers: Repeated<Block<HIDDEN, QUERY, KV, FFN, RANK, A, BIAS, NORM, E, D>, LAYERS>,
    /// `norm`.
    pub norm: RmsNorm<HIDDEN, A::Norm, E, D>,
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    const TIED: bool,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
> Llama<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>
{
    /// The plan's model with the weights that `source` gives for Hugging Face's names. Which of them learn is the type's
    /// say; [`TypedModel::from_weights`](super::TypedModel::from_weights) asks that the plan says the same.
    ///
    /// Under QLoRA the frozen projections are rounded to NF4, which is how training holds them.
    ///
    /// # Errors
    /// When the plan has other tensors than this type, and when a weight is missing or has another shape.
    pub fn load(plan: &Plan, source: &Source<'_>) -> Result<Self, Error> {
        weights::compare(&Self::catalogue(), plan)?;
        let weights = weights::build(&|name, shape| weights::look_up(plan, source, name, shape))?;
        Ok(Self::with(plan, weights))
    }

    /// The plan's model with all weights zero.
    ///
    /// # Errors
    /// When the plan has other tensors than this type.
    pub fn zeros(plan: &Plan) -> Result<Self, Error> {
        weights::compare(&Self::catalogue(), plan)?;
        let weights = weights::build(&|_, shape| Ok(vec![0.0; shape.iter().product()]))?;
        Ok(Self::with(plan, weights))
    }

    fn with(plan: &Plan, weights: Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>) -> Self {
        let adam = Adam::new(&weights, AdamConfig::default());
        Self { weights, laws: Arc::new(Laws::of(plan)), adam }
    }

    /// What the type holds.
    pub(super) fn catalogue() -> Vec<Entry> {
        weights::catalogue::<Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>>()
    }

    /// Makes an input ready for the layers.
    ///
    /// # Errors
    /// When its slices differ in length, a token is outside the vocabulary, or a start is not its document's first row.
    pub fn view(&self, input: &Input<'_>) -> Result<View, Error> {
        View::new(&self.laws, input)
    }

    /// What the last norm gives, `[T, HIDDEN]`: the features that the head reads. `tape` records the way there.
    pub fn hidden<T: Tape<f32, Cpu>>(&self, view: &View, tape: T) -> Result<Hidden<HIDDEN, T>, Error> {
        let model = &self.weights.model;
        let mut x = model.embed_tokens.look_up(view, tape)?;
        for (index, block) in model.layers.modules.iter().enumerate() {
            x = x.through(block, &view.of_layer(index))?;
        }
        x.through(&model.norm, view)
    }

    /// Logits `[T, VOCAB]`, all of them at once.
    pub fn logits_on<T: Tape<f32, Cpu>>(&self, view: &View, tape: T) -> Result<Hidden<VOCAB, T>, Error> {
        let (head, learns) = self.weights.head();
        ops::linear(self.hidden(view, tape)?, head, learns)
    }

    /// Mean cross entropy over the targets that are not −100; `targets[t]` belongs to `logits[t]`.
    ///
    /// # Errors
    /// When there is not one target per row, one is outside the vocabulary, or all are ignored.
    pub fn loss_on<T: Tape<f32, Cpu>>(
        &self,
        view: &View,
        targets: &[i32],
        tape: T,
    ) -> Result<Tensor<(), f32, Cpu, T>, Error> {
        check_targets(view, targets)?;
        let (head, learns) = self.weights.head();
        ops::cross_entropy(self.hidden(view, tape)?, head, learns, targets)
    }
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    const TIED: bool,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
    E: Dtype,
    D: Storage<E>,
> Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM, E, D>
{
    /// The matrix that turns features into logits, `[VOCAB, HIDDEN]`, and whether it learns.
    pub fn head(&self) -> (&Tensor<Rank2<VOCAB, HIDDEN>, E, D>, bool) {
        match &self.lm_head {
            Some(head) => (head.weight(), A::Head::TRAINED),
            None => (self.model.embed_tokens.weight(), A::Embed::TRAINED),
        }
    }

    fn own_head(&self) -> &Linear<HIDDEN, VOCAB, 0, A::Head, false, E, D> {
        self.lm_head.as_ref().expect(OWN_HEAD)
    }

    fn own_head_mut(&mut self) -> &mut Linear<HIDDEN, VOCAB, 0, A::Head, false, E, D> {
        self.lm_head.as_mut().expect(OWN_HEAD)
    }
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    const TIED: bool,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
> Module<Input<'_>> for Llama<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM>
{
    type Output = Hidden<VOCAB>;
    type Error = Error;

    fn try_forward(&self, input: Input<'_>) -> Result<Hidden<VOCAB>, Error> {
        self.logits_on(&self.view(&input)?, NoneTape)
    }
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    const TIED: bool,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> =
        Weights<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, TIED, A, BIAS, NORM, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let model = Self::module("model", |s| &s.model, |s| &mut s.model);
        let head = (!TIED).then(|| Self::module("lm_head", |s| s.own_head(), |s| s.own_head_mut()));
        visitor.visit_fields((model, Maybe(head)), |(model, lm_head)| Weights { model, lm_head })
    }
}

impl<
    const LAYERS: usize,
    const VOCAB: usize,
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const RANK: usize,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Decoder<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, A, BIAS, NORM, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Decoder<LAYERS, VOCAB, HIDDEN, QUERY, KV, FFN, RANK, A, BIAS, NORM, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let fields = (
            Self::module("embed_tokens", |s| &s.embed_tokens, |s| &mut s.embed_tokens),
            Self::module("layers", |s| &s.layers, |s| &mut s.layers),
            Self::module("norm", |s| &s.norm, |s| &mut s.norm),
        );
        visitor.visit_fields(fields, |(embed_tokens, layers, norm)| Decoder { embed_tokens, layers, norm })
    }
}
