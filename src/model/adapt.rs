//! Which tensors learn, as types: dfdx asks a type, never a value, what its optimisers may change.
//!
//! `Full` trains everything. `Lora<{ Q | V }, { EMBED | NORM }>` freezes every projection and the head, puts adapters on
//! q and v, and trains the embedding and the norms. A plan says one of the two; research on other splits writes an
//! [`Adapt`] of its own.

use std::fmt::Debug;

/// Bits of [`Lora`]'s two sets.
pub mod learn {
    /// `q_proj`.
    pub const Q: u8 = 1;
    /// `k_proj`.
    pub const K: u8 = 1 << 1;
    /// `v_proj`.
    pub const V: u8 = 1 << 2;
    /// `o_proj`.
    pub const O: u8 = 1 << 3;
    /// `gate_proj`.
    pub const GATE: u8 = 1 << 4;
    /// `up_proj`.
    pub const UP: u8 = 1 << 5;
    /// `down_proj`.
    pub const DOWN: u8 = 1 << 6;

    /// The embedding learns in full.
    pub const EMBED: u8 = 1;
    /// The norms learn in full.
    pub const NORM: u8 = 1 << 1;
}

/// How one tensor is held.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how a tensor is held",
    label = "expected `Trained`, `Frozen` or `Adapted`",
    note = "`Trained` learns in full, `Frozen` never changes, `Adapted` is frozen and carries a LoRA adapter"
)]
pub trait Hold: Clone + Debug + 'static {
    /// The tensor itself learns.
    const TRAINED: bool;
    /// A LoRA adapter stands beside it.
    const ADAPTED: bool;
}

/// Learns in full.
#[derive(Clone, Copy, Debug)]
pub struct Trained;

/// Never changes.
#[derive(Clone, Copy, Debug)]
pub struct Frozen;

/// Frozen, with an adapter that learns.
#[derive(Clone, Copy, Debug)]
pub struct Adapted;

/// [`Adapted`] if `SET` holds `BIT`, otherwise [`Frozen`].
#[derive(Clone, Copy, Debug)]
pub struct AdaptedIf<const SET: u8, const BIT: u8>;

/// [`Trained`] if `SET` holds `BIT`, otherwise [`Frozen`].
#[derive(Clone, Copy, Debug)]
pub struct TrainedIf<const SET: u8, const BIT: u8>;

impl Hold for Trained {
    const TRAINED: bool = true;
    const ADAPTED: bool = false;
}

impl Hold for Frozen {
    const TRAINED: bool = false;
    const ADAPTED: bool = false;
}

impl Hold for Adapted {
    const TRAINED: bool = false;
    const ADAPTED: bool = true;
}

impl<const SET: u8, const BIT: u8> Hold for AdaptedIf<SET, BIT> {
    const TRAINED: bool = false;
    const ADAPTED: bool = SET & BIT != 0;
}

impl<const SET: u8, const BIT: u8> Hold for TrainedIf<SET, BIT> {
    const TRAINED: bool = SET & BIT != 0;
    const ADAPTED: bool = false;
}

/// How every tensor of a model is held. The same in all layers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which tensors learn",
    label = "expected `Full`, `Lora<{{ TARGETS }}, {{ TRAIN }}>` or a type of yours that implements `Adapt`"
)]
pub trait Adapt: Clone + Debug + 'static {
    /// `embed_tokens`.
    type Embed: Hold;
    /// All norms.
    type Norm: Hold;
    /// `q_proj`.
    type Q: Hold;
    /// `k_proj`.
    type K: Hold;
    /// `v_proj`.
    type V: Hold;
    /// `o_proj`.
    type O: Hold;
    /// `gate_proj`.
    type Gate: Hold;
    /// `up_proj`.
    type Up: Hold;
    /// `down_proj`.
    type Down: Hold;
    /// An untied `lm_head`.
    type Head: Hold;
}

/// Everything learns.
#[derive(Clone, Copy, Debug)]
pub struct Full;

impl Adapt for Full {
    type Embed = Trained;
    type Norm = Trained;
    type Q = Trained;
    type K = Trained;
    type V = Trained;
    type O = Trained;
    type Gate = Trained;
    type Up = Trained;
    type Down = Trained;
    type Head = Trained;
}

/// LoRA (arXiv 2106.09685) on the projections in `TARGETS`; besides the adapters only what is in `TRAIN` learns.
/// Both are sets of bits of [`learn`].
#[derive(Clone, Copy, Debug)]
pub struct Lora<const TARGETS: u8, const TRAIN: u8>;

impl<const TARGETS: u8, const TRAIN: u8> Adapt for Lora<TARGETS, TRAIN> {
    type Embed = TrainedIf<TRAIN, { learn::EMBED }>;
    type Norm = TrainedIf<TRAIN, { learn::NORM }>;
    type Q = AdaptedIf<TARGETS, { learn::Q }>;
    type K = AdaptedIf<TARGETS, { learn::K }>;
    type V = AdaptedIf<TARGETS, { learn::V }>;
    type O = AdaptedIf<TARGETS, { learn::O }>;
    type Gate = AdaptedIf<TARGETS, { learn::GATE }>;
    type Up = AdaptedIf<TARGETS, { learn::UP }>;
    type Down = AdaptedIf<TARGETS, { learn::DOWN }>;
    type Head = Frozen;
}
