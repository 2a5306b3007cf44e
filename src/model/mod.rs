//! The typed dfdx model: a plan as an executable specification.
//!
//! Every dimension stands in a type, so a wrong shape does not compile, and the model trains by itself on the CPU with
//! dfdx's tape and optimisers. The engine is the fast path; both are held equal by test. What dfdx lacks (RMSNorm,
//! rotary positions, windowed attention with grouped heads, the fused loss) enters its tape as ops over `kernels`.
//!
//! ```text
//! Input ──view──▶ View            rows made ready: rotary tables, documents, patterns
//! Llama::hidden(view, tape)       embedding, blocks, norm; any Layer<HIDDEN> may follow with `through`
//! Llama::loss(view, targets, …)   the head and the cross entropy in one op
//! ```
//!
//! It is not here to be fast, to store activations sparingly, or to know files.

mod adapt;
mod block;
mod error;
mod layer;
mod linear;
mod llama;
mod maybe;
pub(crate) mod noise;
mod norm;
mod ops;
pub mod parts;
mod tape;
mod typed;
mod view;
mod weights;

pub use adapt::{Adapt, Adapted, AdaptedIf, Frozen, Full, Hold, Lora, Trained, TrainedIf, learn};
pub use block::{Attention, Block, HeadNorms, Mlp};
pub use error::Error;
pub use layer::{Layer, Through};
pub use linear::{Adapter, Linear};
pub use llama::{Decoder, Llama, Weights};
pub use norm::{Embedding, RmsNorm};
pub use tape::{Hidden, tape};
pub use typed::{Hyper, Step, TypedModel};
pub use view::{Input, View};
pub use weights::{Named, Source};

/// The tensor library underneath, for code around the model: tensors, tapes, optimisers.
pub use dfdx;
