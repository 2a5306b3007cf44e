//! An NVIDIA GPU to run an engine on: bf16 numbers, f32 sums, f32 masters of what learns.
//!
//! ```no_run
//! use context_recipe::engine::{Engine, Mode};
//! use context_recipe::hub::Checkpoint;
//! use context_recipe::plan::{Recipe, presets};
//!
//! # fn main() -> context_recipe::Result<()> {
//! let plan = Recipe::new(presets::tiny(), 256).plan().expect("nothing changes");
//! let model = Checkpoint::open("assets/tiny".as_ref())?;
//! let engine = Engine::new(context_recipe::gpu::open(u64::MAX)?, &plan, &model.weights, 0, Mode::Infer)?;
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;

pub use kernels::cuda::card::Card as Gpu;
use kernels::cuda::shipped::Sizes;
use recipe_core::Llama;

use crate::engine::Error;

/// Opens the first GPU, whose buffers may hold `limit` bytes; `CUDA_VISIBLE_DEVICES` says which is the first.
///
/// Kernels are compiled when they are first needed and kept in [`cache_folder`].
///
/// # Errors
/// What is missing, and where it was looked for.
pub fn open(limit: u64) -> Result<Gpu, Error> {
    let opened = kernels::cuda::card::open(cache_folder().as_deref(), limit);
    Ok(opened.map_err(kernels::device::Error::Gpu)?)
}

/// Where compiled kernels are kept: `CONTEXT_RECIPE_KERNELS`, or `context-recipe/kernels` in the user's cache folder.
pub fn cache_folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || var("XDG_CACHE_HOME").or_else(|| var("LOCALAPPDATA")).or_else(|| Some(var("HOME")?.join(".cache")));
    var("CONTEXT_RECIPE_KERNELS").or_else(|| Some(user()?.join("context-recipe/kernels")))
}

/// What kernels for a model are specialised by.
pub fn sizes(model: &Llama) -> Sizes {
    let Llama { hidden, head_dim, vocab, qkv_bias, qk_norm, .. } = *model;
    let biases = qkv_bias.then(|| [model.query_width(), model.kv_width()]);
    Sizes { hidden, head_dim, vocab, biases, head_norms: qk_norm }
}

/// What the kernels cannot do of a model, in words.
pub fn unsupported(model: &Llama) -> Option<String> {
    let Llama { hidden, ffn, head_dim, .. } = *model;
    if !head_dim.is_multiple_of(16) || head_dim > 128 {
        return Some(format!("its heads have {head_dim} dimensions: the kernels take multiples of 16 up to 128"));
    }
    let odd = [("hidden size", hidden), ("MLP's width", ffn)].into_iter().find(|(_, width)| !width.is_multiple_of(8));
    odd.map(|(name, width)| format!("its {name} is {width}: the kernels take multiples of 8"))
}
