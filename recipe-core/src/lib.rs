//! The pure part of context-recipe: what a recipe says, which rules it must keep, and the plan that follows from it.
//!
//! Nothing here reads a file, a clock, an environment variable or a device. The macro runs this code inside rustc, the
//! run time runs the same code for recipes built from values, so both give the same [`Plan`].

#![forbid(unsafe_code)]

mod check;
mod config;
mod counts;
mod fault;
mod flops;
mod layers;
mod memory;
mod model;
mod parameters;
mod plan;
pub mod presets;
mod recipe;
mod rope;
mod settle;
mod words;

pub use config::{ConfigError, HfConfig};
pub use counts::Counts;
pub use fault::{Fault, Field, Note};
pub use flops::{Flops, StageFlops, Work};
pub use memory::{Memory, Term, nf4_bytes, readable_bytes};
pub use model::Llama;
pub use parameters::{Init, Parameter};
pub use plan::{
    AdaptPlan, Device, EvalPlan, List, Pattern, Plan, RopePlan, Scaling, Schedule, SourceKind, SourcePlan, StagePlan,
    Text,
};
pub use recipe::{
    Adapt, Attention, Context, Eval, FullLayers, Place, Recipe, Rope, Source, Sparse, Stage, Target,
};
pub use words::nearest;
