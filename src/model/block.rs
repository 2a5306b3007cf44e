//! One decoder layer: attention and a gated MLP, each behind a norm and beside a residual.

use dfdx::nn::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, PutTape, SplitTape, Storage, Tape, WithEmptyTape};
use dfdx::tensor_ops::{Device, TryAdd};
use recipe_core::Target;

use super::adapt::{Adapt, Full};
use super::error::Error;
use super::layer::{Layer, Through, module};
use super::linear::Linear;
use super::maybe::Maybe;
use super::norm::RmsNorm;
use super::ops;
use super::tape::Hidden;
use super::view::View;

/// Causal attention with grouped queries: `QUERY` = heads · head_dim, `KV` = kv heads · head_dim. `BIAS` says that q, k and
/// v have biases; `NORM` is the head_dim where q and k are normed head by head, 0 where they are not.
#[derive(Clone, Debug)]
pub struct Attention<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const R: usize = 0,
    A: Adapt = Full,
    const BIAS: bool = false,
    const NORM: usize = 0,
    E: Dtype = f32,
    D: Storage<E> = Cpu,
> {
    /// `q_proj`.
    pub q_proj: Linear<HIDDEN, QUERY, R, A::Q, BIAS, E, D>,
    /// `k_proj`.
    pub k_proj: Linear<HIDDEN, KV, R, A::K, BIAS, E, D>,
    /// `v_proj`.
    pub v_proj: Linear<HIDDEN, KV, R, A::V, BIAS, E, D>,
    /// `o_proj`.
    pub o_proj: Linear<QUERY, HIDDEN, R, A::O, false, E, D>,
    /// `q_norm` and `k_norm`; there exactly when `NORM` is not 0.
    norms: Option<HeadNorms<NORM, A, E, D>>,
}

/// The norms of each head's q and k.
#[derive(Clone, Debug)]
pub struct HeadNorms<const NORM: usize, A: Adapt = Full, E: Dtype = f32, D: Storage<E> = Cpu> {
    /// `q_norm`.
    pub q_norm: RmsNorm<NORM, A::Norm, E, D>,
    /// `k_norm`.
    pub k_norm: RmsNorm<NORM, A::Norm, E, D>,
}

const NORMS: &str = "an attention whose type has norms is only ever made with them";

impl<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const R: usize,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
    E: Dtype,
    D: Storage<E>,
> Attention<HIDDEN, QUERY, KV, R, A, BIAS, NORM, E, D>
{
    /// The norms of q and k, if the type has them.
    pub fn norms(&self) -> Option<&HeadNorms<NORM, A, E, D>> {
        self.norms.as_ref()
    }

    fn pair(&self) -> &HeadNorms<NORM, A, E, D> {
        self.norms.as_ref().expect(NORMS)
    }

    fn pair_mut(&mut self) -> &mut HeadNorms<NORM, A, E, D> {
        self.norms.as_mut().expect(NORMS)
    }
}

impl<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const R: usize,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
> Layer<HIDDEN> for Attention<HIDDEN, QUERY, KV, R, A, BIAS, NORM>
{
    type Output<T: Tape<f32, Cpu>> = Hidden<HIDDEN, T>;

    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<HIDDEN, T>, view: &View) -> Result<Hidden<HIDDEN, T>, Error> {
        view.check_rows(&x)?;
        let mut q = x.with_empty_tape().through(&self.q_proj, &view.of_adapter(Target::Q))?;
        let mut k = x.with_empty_tape().through(&self.k_proj, &view.of_adapter(Target::K))?;
        let v = x.through(&self.v_proj, &view.of_adapter(Target::V))?;
        if let Some(HeadNorms { q_norm, k_norm }) = &self.norms {
            (q, k) = (q_norm.heads(q, view)?, k_norm.heads(k, view)?);
        }
        let out = ops::attend(ops::rotate(q, view)?, ops::rotate(k, view)?, v, view)?;
        out.through(&self.o_proj, &view.of_adapter(Target::O))
    }
}

/// SwiGLU: down(silu(gate(x)) · up(x)) with `FFN` features inside.
#[derive(Clone, Debug)]
pub struct Mlp<
    const HIDDEN: usize,
    const FFN: usize,
    const R: usize = 0,
    A: Adapt = Full,
    E: Dtype = f32,
    D: Storage<E> = Cpu,
> {
    /// `gate_proj`.
    pub gate_proj: Linear<HIDDEN, FFN, R, A::Gate, false, E, D>,
    /// `up_proj`.
    pub up_proj: Linear<HIDDEN, FFN, R, A::Up, false, E, D>,
    /// `down_proj`.
    pub down_proj: Linear<FFN, HIDDEN, R, A::Down, false, E, D>,
}

impl<const HIDDEN: usize, const FFN: usize, const R: usize, A: Adapt> Layer<HIDDEN> for Mlp<HIDDEN, FFN, R, A> {
    type Output<T: Tape<f32, Cpu>> = Hidden<HIDDEN, T>;

    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<HIDDEN, T>, view: &View) -> Result<Hidden<HIDDEN, T>, Error> {
        let gate = x.with_empty_tape().through(&self.gate_proj, &view.of_adapter(Target::Gate))?;
        let up = x.through(&self.up_proj, &view.of_adapter(Target::Up))?;
        ops::swiglu(gate, up)?.through(&self.down_proj, &view.of_adapter(Target::Down))
    }
}

/// x + attention(norm(x)), then x + mlp(norm(x)).
#[derive(Clone, Debug)]
pub struct Block<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const R: usize = 0,
    A: Adapt = Full,
    const BIAS: bool = false,
    const NORM: usize = 0,
    E: Dtype = f32,
    D: Storage<E> = Cpu,
> {
    /// `input_layernorm`.
    pub input_layernorm: RmsNorm<HIDDEN, A::Norm, E, D>,
    /// `self_attn`.
    pub self_attn: Attention<HIDDEN, QUERY, KV, R, A, BIAS, NORM, E, D>,
    /// `post_attention_layernorm`.
    pub post_attention_layernorm: RmsNorm<HIDDEN, A::Norm, E, D>,
    /// `mlp`.
    pub mlp: Mlp<HIDDEN, FFN, R, A, E, D>,
}

impl<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const R: usize,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
> Layer<HIDDEN> for Block<HIDDEN, QUERY, KV, FFN, R, A, BIAS, NORM>
{
    type Output<T: Tape<f32, Cpu>> = Hidden<HIDDEN, T>;

    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<HIDDEN, T>, view: &View) -> Result<Hidden<HIDDEN, T>, Error> {
        let x = residual(x, |x| x.through(&self.input_layernorm, view)?.through(&self.self_attn, view))?;
        residual(x, |x| x.through(&self.post_attention_layernorm, view)?.through(&self.mlp, view))
    }
}

/// x + f(x).
fn residual<const C: usize, T: Tape<f32, Cpu>>(
    x: Hidden<C, T>,
    f: impl FnOnce(Hidden<C, T>) -> Result<Hidden<C, T>, Error>,
) -> Result<Hidden<C, T>, Error> {
    let (x, tape) = x.split_tape();
    Ok(f(x.clone().put_tape(tape))?.try_add(x)?)
}

module!([
    const HIDDEN: usize, const QUERY: usize, const KV: usize, const R: usize, A: Adapt, const BIAS: bool, const NORM: usize
] Attention<HIDDEN, QUERY, KV, R, A, BIAS, NORM>, HIDDEN);
module!([const HIDDEN: usize, const FFN: usize, const R: usize, A: Adapt] Mlp<HIDDEN, FFN, R, A>, HIDDEN);
module!([
    const HIDDEN: usize, const QUERY: usize, const KV: usize, const FFN: usize, const R: usize, A: Adapt,
    const BIAS: bool, const NORM: usize
] Block<HIDDEN, QUERY, KV, FFN, R, A, BIAS, NORM>, HIDDEN);

impl<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const R: usize,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Attention<HIDDEN, QUERY, KV, R, A, BIAS, NORM, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Attention<HIDDEN, QUERY, KV, R, A, BIAS, NORM, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let fields = (
            Self::module("q_proj", |s| &s.q_proj, |s| &mut s.q_proj),
            Self::module("k_proj", |s| &s.k_proj, |s| &mut s.k_proj),
            Self::module("v_proj", |s| &s.v_proj, |s| &mut s.v_proj),
            Self::module("o_proj", |s| &s.o_proj, |s| &mut s.o_proj),
            Maybe((NORM > 0).then(|| {
                (
                    Self::module("q_norm", |s| &s.pair().q_norm, |s| &mut s.pair_mut().q_norm),
                    Self::module("k_norm", |s| &s.pair().k_norm, |s| &mut s.pair_mut().k_norm),
                )
            })),
        );
        visitor.visit_fields(fields, |(q_proj, k_proj, v_proj, o_proj, norms)| Attention {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            norms: norms.map(|(q_norm, k_norm)| HeadNorms { q_norm, k_norm }),
        })
    }
}

impl<const HIDDEN: usize, const FFN: usize, const R: usize, A: Adapt, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Mlp<HIDDEN, FFN, R, A, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Mlp<HIDDEN, FFN, R, A, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let fields = (
            Self::module("gate_proj", |s| &s.gate_proj, |s| &mut s.gate_proj),
            Self::module("up_proj", |s| &s.up_proj, |s| &mut s.up_proj),
            Self::module("down_proj", |s| &s.down_proj, |s| &mut s.down_proj),
        );
        visitor.visit_fields(fields, |(gate_proj, up_proj, down_proj)| Mlp { gate_proj, up_proj, down_proj })
    }
}

impl<
    const HIDDEN: usize,
    const QUERY: usize,
    const KV: usize,
    const FFN: usize,
    const R: usize,
    A: Adapt,
    const BIAS: bool,
    const NORM: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Block<HIDDEN, QUERY, KV, FFN, R, A, BIAS, NORM, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Block<HIDDEN, QUERY, KV, FFN, R, A, BIAS, NORM, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let fields = (
            Self::module("input_layernorm", |s| &s.input_layernorm, |s| &mut s.input_layernorm),
            Self::module("self_attn", |s| &s.self_attn, |s| &mut s.self_attn),
            Self::module(
                "post_attention_layernorm",
                |s| &s.post_attention_layernorm,
                |s| &mut s.post_attention_layernorm,
            ),
            Self::module("mlp", |s| &s.mlp, |s| &mut s.mlp),
        );
        visitor.visit_fields(fields, |(input_layernorm, self_attn, post_attention_layernorm, mlp)| Block {
            input_layernorm,
            self_attn,
            post_attention_layernorm,
            mlp,
        })
    }
}
