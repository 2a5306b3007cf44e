//! Write how a Llama model's context window is extended; rustc checks the recipe, and it plans, trains, evaluates and
//! exports.
//!
//! ```no_run
//! use context_recipe::recipe;
//!
//! recipe! {
//!     /// Llama-2 7B, 4K to 128K, on one 80 GB GPU.
//!     pub Llama2_128k {
//!         model: llama2_7b,
//!         context: 4K -> 128K,
//!         rope: interpolate(32),
//!         attention: hybrid(full = 1/3, window = 4096, sink = 4),
//!         adapt: qlora(rank = 32, alpha = 16, train = [embed, norm]),
//!         data: [jsonl("corpus/*.jsonl") * 90%, passkey * 10%],
//!         train: [extend(steps = 1000, length = 128K, lr = 2e-5, warmup = 20)],
//!         eval: [perplexity(4K, 32K, 128K), passkey(4K, 32K, 128K)],
//!         device: cuda(80GB),
//!     }
//! }
//!
//! fn main() -> context_recipe::Result<()> {
//!     context_recipe::main::<Llama2_128k>()
//! }
//! ```
//!
//! The road is one way: recipe → [`plan`] → [`model`] and [`engine`] → [`train`] → [`eval`] → [`report`] and export.

#![forbid(unsafe_code)]

mod cli;
pub mod data;
pub mod engine;
mod error;
pub mod eval;
pub mod hub;
pub mod model;
pub mod rehearse;
pub mod report;
pub mod search;
pub mod train;

/// The plan and everything that it is made of.
pub mod plan {
    pub use recipe_core::*;
}

pub use cli::main;
pub use error::{Error, Result};
pub use kernels::device::Cpu;
pub use recipe_macros::recipe;

/// What `recipe!` makes of a recipe.
pub trait Recipe {
    /// The plan at full size.
    const PLAN: plan::Plan;
    /// The same recipe on the embedded model, same ratios.
    const REHEARSAL: plan::Plan;
    /// What a kernel compiler is told, one list per distinct attention pattern.
    const KERNELS: &'static [&'static [(&'static str, usize)]];
    /// The typed model at full size.
    type Model: model::TypedModel;
    /// The typed model at rehearsal size.
    type RehearsalModel: model::TypedModel;
}
