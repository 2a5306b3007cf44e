//! Text to token sequences: the chronicle generator, sources on disk, packing.
//!
//! Everything here is a function of its seeds and files. Nothing knows a model; a tokenizer is all it needs.

mod batch;
pub mod chronicle;
mod encoder;
mod error;
mod rng;

pub use batch::{Batch, IGNORE};
pub use encoder::Encoder;
pub use error::Error;
pub use rng::Rng;
