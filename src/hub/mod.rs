//! Models on disk: Hugging Face directories, GGUF files and PEFT adapters are read and written.
//!
//! Weights come as f32 under Hugging Face's names, with the rows of `q_proj` and `k_proj` in Hugging Face's order,
//! whatever the file's format. A checkpoint is held against its own configuration before its values are read, and a
//! file that lies is refused with its name, the tensor's, what was expected and what is there. What reads and writes
//! here knows nothing of recipes or training.
//!
//! ```
//! use context_recipe::hub::{self, Checkpoint, Dtype, Header, Options};
//!
//! # fn main() -> context_recipe::Result<()> {
//! // The list of tensors without their values.
//! assert!(Header::open("assets/tiny".as_ref())?.mismatches().is_empty());
//!
//! let model = Checkpoint::open("assets/tiny".as_ref())?;
//! # let dir = tempfile::tempdir().expect("a folder");
//! # let dir = dir.path().join("copy");
//! let options = Options { dtype: Dtype::BF16, tokenizer: model.tokenizer.as_ref(), ..Options::default() };
//! hub::write(&dir, &model.config, model.weights.views(), &options)?;
//! assert_eq!(Checkpoint::open(&dir)?.weights, model.weights);
//! # Ok(())
//! # }
//! ```

mod adapter;
mod bitsandbytes;
mod directory;
mod dtype;
mod error;
mod export;
mod fit;
mod gguf;
mod layout;
mod listed;
mod read;
mod replace;
mod save;
mod staging;
mod tensor_file;
mod tokenizer;
mod weights;
mod write;

#[cfg(test)]
mod tests;

pub use adapter::Adapter;
pub use dtype::Dtype;
pub use error::Error;
pub use export::{AdapterConfig, write_adapter};
pub use gguf::{GgufOptions, GgufType, write_gguf};
pub use layout::layout;
pub use listed::Listed;
pub use read::{Checkpoint, Format, Header, Source};
pub use save::{Bytes, save, save_with_bytes};
pub use staging::{save_bytes, sweep};
pub use tensor_file::TensorFile;
pub use tokenizer::{Special, Tokenizer};
pub use weights::{Tensor, Tensors, View, Weights};
pub use write::{Options, write};
