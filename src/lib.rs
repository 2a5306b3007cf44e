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
//!
//! | concept | where |
//! |---|---|
//! | the language, every key and word | [`recipe!`] |
//! | a recipe from values, for sweeps; its faults | [`plan::Recipe`], [`plan::Fault`] |
//! | every number settled | [`plan::Plan`], and [`Recipe::PLAN`] of a compiled recipe |
//! | a recipe's program: `plan`, `check`, `rehearse`, `train`, `eval`, `export`, … | [`main`] |
//! | models on disk, read and written | [`hub`] |
//! | text to sequences, generated text | [`data`] |
//! | the fast path; the executable specification | [`engine`], on [`Cpu`] or a `gpu`; [`model`] |
//! | stages, checkpoints, metrics | [`train`] |
//! | loss by position, keys, needles, choice | [`eval`] |
//! | tables, plots, pages | [`report`] |
//!
//! The guide stands in `docs/`, published recipes in `examples/`.

#![forbid(unsafe_code)]

mod cli;
pub mod data;
pub mod engine;
mod error;
pub mod eval;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod hub;
pub mod model;
pub mod rehearse;
pub mod report;
pub mod search;
pub mod train;

/// The plan and everything that it is made of.
///
/// ```
/// use context_recipe::plan::{Attention, FullLayers, Recipe, Rope, Sparse, presets};
///
/// let third = Attention::hybrid(FullLayers::Share(1.0 / 3.0), Sparse::window(4096, 4));
/// let recipe = Recipe::new(presets::llama2_7b(), 131_072).rope(Rope::interpolate(32.0)).attention(third);
/// let plan = recipe.plan().expect("32 takes 4K to 128K");
/// assert_eq!(plan.layers.len(), 32);
/// assert!(plan.kv_cache_bytes(plan.target) < plan.kv_cache_bytes_full(plan.target) / 2);
///
/// let faults = recipe.rope(Rope::interpolate(16.0)).plan().expect_err("16 does not");
/// assert_eq!((faults[0].rule, faults[0].help.as_str()), ("scale_below_target", "write interpolate(32)"));
/// ```
pub mod plan {
    pub use recipe_core::*;
}

pub use cli::main;
pub use error::{Error, Result};
pub use kernels::device::Cpu;
pub use recipe_macros::recipe;

/// What `recipe!` makes of a recipe.
///
/// ```
/// use context_recipe::{Recipe, recipe};
///
/// recipe! {
///     /// Twice the window of the embedded model.
///     pub Doubled {
///         model: tiny,
///         context: 256 -> 512,
///         rope: yarn(2),
///     }
/// }
///
/// // A function over any recipe; the builder's plan is the same value.
/// fn reach<R: Recipe>() -> usize {
///     R::PLAN.target / R::PLAN.model.context
/// }
/// use context_recipe::plan::{self, Rope, presets};
/// let twin = plan::Recipe::new(presets::tiny(), 512).rope(Rope::yarn(2.0)).named("Doubled");
/// assert_eq!((reach::<Doubled>(), twin.plan()), (2, Ok(Doubled::PLAN)));
/// ```
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

/// The Rust blocks of the guide are doctests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/quickstart.md")]
    struct Quickstart;
    #[doc = include_str!("../docs/extend.md")]
    struct Extend;
}
