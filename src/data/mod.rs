//! Text to token sequences: the chronicle generator, sources on disk, packing.
//!
//! Everything here is a function of its seeds and files. Nothing knows a model; a tokenizer is all it needs.

mod batch;
mod cache;
mod chat;
pub mod chronicle;
mod corpora;
mod corpus;
pub(crate) mod digest;
mod encoder;
mod error;
mod generated;
mod packed;
pub mod positions;
mod rng;
pub(crate) mod select;
mod source;
mod store;
mod turns;

pub use batch::{Batch, IGNORE};
pub use corpora::Corpora;
pub use corpus::{Corpus, Summary};
pub use encoder::Encoder;
pub use error::Error;
pub use rng::Rng;
pub use store::{Reading, cache_dir};
