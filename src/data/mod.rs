//! Text to token sequences: the chronicle generator, sources on disk, packing.
//!
//! Everything here is a function of its seeds and files. Nothing knows a model; a tokenizer is all it needs.
//!
//! ```
//! use context_recipe::data::chronicle::{Density, Seed, document};
//! use context_recipe::data::{Batch, Encoder};
//! use context_recipe::hub::Tokenizer;
//!
//! # fn main() -> context_recipe::Result<()> {
//! let tokenizer = Tokenizer::open("assets/tiny".as_ref())?.expect("tokenizer.json is there");
//! let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?;
//! let first = document(&encoder, Seed::train(0, 0), 300, Density::Standard)?;
//! assert_eq!(first, document(&encoder, Seed::train(0, 0), 300, Density::Standard)?);
//!
//! // Two documents in one sequence: neither sees the other, and positions begin again.
//! let batch = Batch::sequence(first.tokens, &[0, 200])?;
//! assert_eq!((batch.positions[199], batch.positions[200]), (199, 0));
//! # Ok(())
//! # }
//! ```

mod batch;
mod cache;
mod chat;
pub mod chronicle;
mod corpora;
mod corpus;
mod dataset;
pub(crate) mod digest;
mod encoder;
mod error;
mod generated;
mod packed;
pub mod positions;
mod rng;
pub(crate) mod select;
mod source;
mod stdin;
mod store;
mod turns;

pub use batch::{Batch, IGNORE};
pub use corpora::Corpora;
pub use corpus::{Corpus, Held, Inventory, Summary, Use};
pub use encoder::Encoder;
pub use error::Error;
pub use rng::Rng;
pub use source::{Named, format_of, read_text};
pub use stdin::{NAME as STDIN, Spooled, spooled};
pub use store::{Reading, cache_dir};
