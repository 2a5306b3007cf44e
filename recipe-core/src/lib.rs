//! The pure part of context-recipe: what a recipe says, which rules it must keep, and the plan that follows from it.
//!
//! Nothing here reads a file, a clock, an environment variable or a device. The macro runs this code inside rustc, the
//! run time runs the same code for recipes built from values, so both give the same [`Plan`].
//!
//! ```
//! use recipe_core::{Recipe, Rope, presets};
//!
//! let recipe = Recipe::new(presets::llama2_7b(), 131_072);
//! let plan = recipe.clone().rope(Rope::interpolate(32.0)).plan().expect("32 takes 4K to 128K");
//! assert_eq!(plan.rope.inv_freq(131_072)[0], 1.0 / 32.0);
//!
//! let faults = recipe.rope(Rope::interpolate(16.0)).plan().expect_err("16 does not");
//! assert_eq!(faults[0].field.path(), "rope.scale");
//! assert_eq!(faults[0].help, "write interpolate(32)");
//! ```

#![forbid(unsafe_code)]

mod build;
mod check;
mod config;
mod counts;
mod fault;
mod flops;
mod gates;
mod layers;
mod list;
mod memory;
mod model;
mod optimizer;
mod parameters;
mod pattern;
mod plan;
pub mod presets;
mod readable;
mod recipe;
mod rehearsal;
mod rope;
#[cfg(test)]
mod samples;
mod scaling;
mod settle;
mod terms;
mod words;

pub use config::{ConfigError, HfConfig};
pub use counts::Counts;
pub use fault::{Fault, Field, Note};
pub use flops::{Flops, StageFlops, Work};
pub use gates::GateSummary;
pub use list::{List, Text};
pub use memory::{Memory, Term, nf4_bytes, workspace};
pub use model::Llama;
pub use parameters::{Init, Parameter};
pub use pattern::Pattern;
pub use plan::{
    AdaptPlan, EvalPlan, GatesPlan, Learns, MergePlan, Papers, Plan, PositionsPlan, RopePlan, SelectPlan, SourcePlan,
    StagePlan,
};
pub use readable::{readable_bytes, readable_tokens};
pub use recipe::{
    Adapt, Attention, Context, Eval, FullLayers, Gates, LongRopeFactors, Merge, MergeForm, Place, Positions, Recipe,
    Rope, Select, Source, Sparse, Stage, Strided, Window, parse_gates,
};
pub use rehearsal::RehearsalRule;
pub use scaling::Scaling;
pub use terms::{Device, Documents, Form, Loss, Needle, Optimizer, Schedule, SourceKind, StageKind, Target, TokenType};
pub use words::nearest;
