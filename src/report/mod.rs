//! What a person reads: plans, tables, plots, progress and reports.
//!
//! Everything here turns numbers into text; nothing computes a number that a plan or a run already has.
//!
//! ```
//! use context_recipe::plan::{Recipe, Rope, presets};
//! use context_recipe::report;
//!
//! let plan = Recipe::new(presets::llama2_7b(), 32_768).rope(Rope::yarn(8.0)).plan().expect("yarn(8)");
//! assert!(report::plan_text(&plan).contains("4K → 32K tokens, 8×"));
//! assert_eq!(report::plan_json(&plan, 32_768)["kv_bytes"], 32_u64 << 30);
//! ```

mod card;
mod data;
mod error;
mod evaluation;
mod exams;
mod files;
mod gates;
mod html;
mod layers;
mod markdown;
pub mod number;
mod page;
mod peers;
mod plan;
mod plot;
mod progress;
mod rehearsal;
mod run;
mod table;
mod training;

pub(crate) use card::{Card, Exported};
pub use data::{Sample, documents, inventory_table, lengths_table, runs, sample_text, uses_table};
pub use error::Error;
pub use evaluation::{impact_table, impact_words, passkey_grid, passkey_table, perplexity_table, position_plot};
pub use exams::{choice_table, evaluation_text, k_max_table, needle_table, short_table, topics_table};
pub use gates::gates_words;
pub(crate) use peers::peers;
pub use plan::{Rate, plan_json, plan_list, plan_text, plan_text_at, plan_words};
pub(crate) use plan::{merge_words, rope_words};
pub use plot::{Axis, HeatGrid, LinePlot, Mark, Scale, Series, Unit};
pub use progress::Progress;
pub use rehearsal::{RehearsalReport, RehearsalRow, rehearsal_findings, rehearsal_table};
pub use run::RunReport;
pub use table::{Align, Table};
pub use training::{training_plot, training_table};

#[cfg(test)]
mod samples;
