//! What leaves for other programs beside Hugging Face's whole models: PEFT adapters and GGUF files. Nothing is put in its
//! place before it was read back and compared.

mod adapter;
mod rounding;

pub use adapter::{AdapterConfig, write_adapter};
pub(super) use rounding::{Rounding, compare};
