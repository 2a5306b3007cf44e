//! The rules. Each is a small function that says in English what it forbids and why; the lists below are all there are.
//!
//! A rule reads the recipe as written and its settled draft, and returns what it found. All rules run on every recipe.

mod adapt;
mod allow;
mod attention;
mod context;
mod data;
mod device;
mod eval;
mod gates;
mod groups;
mod merge;
mod model;
mod optimizer;
mod positions;
mod rope;
mod select;
mod size;
mod stage_rope;
mod train;

use crate::fault::{Fault, Field, Note};
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::settle::{NATIVE_CONTEXT, settle};

impl Recipe {
    /// Settles every number and holds it against every rule.
    ///
    /// # Errors
    /// All faults at once, in the order of the recipe's keys.
    pub fn plan(&self) -> Result<Plan, Vec<Fault>> {
        let draft = settle(self);
        let notes = check(self, &draft)?;
        Ok(Plan { notes: notes.into(), ..draft })
    }
}

/// What a rule reads.
pub(crate) struct Case<'a> {
    /// As written.
    pub(crate) recipe: &'a Recipe,
    /// As settled, not yet believed.
    pub(crate) plan: &'a Plan,
}

/// What a rule found, and where.
pub(crate) struct Finding {
    field: Field,
    message: String,
    help: String,
}

impl Finding {
    pub(crate) fn new(field: Field, message: String, help: impl Into<String>) -> Self {
        Self { field, message, help: help.into() }
    }
}

impl Finding {
    fn note(self, rule: &'static str) -> Note {
        Note { rule: rule.into(), message: format!("{}; {}", self.message, self.help).into() }
    }

    fn fault(self, rule: &'static str) -> Fault {
        Fault { rule, field: self.field, message: self.message, help: self.help }
    }
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// A fault that nothing can permit: the arithmetic has no meaning.
    Law,
    /// A fault that `allow` turns into a note.
    Guard,
    /// A note.
    Advice,
}

/// One rule.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    pub(crate) find: fn(&Case) -> Vec<Finding>,
}

/// Every rule, in the order of a recipe's keys.
pub(crate) fn rules() -> impl Iterator<Item = &'static Rule> {
    let lists = [
        size::RULES,
        model::RULES,
        context::RULES,
        rope::RULES,
        attention::RULES,
        groups::RULES,
        positions::RULES,
        select::RULES,
        adapt::RULES,
        optimizer::RULES,
        data::RULES,
        train::RULES,
        stage_rope::RULES,
        merge::RULES,
        gates::RULES,
        eval::RULES,
        device::RULES,
        allow::RULES,
    ];
    lists.into_iter().flatten()
}

/// Runs every rule: the notes of a recipe that can work, or all faults of one that cannot.
pub(crate) fn check(recipe: &Recipe, plan: &Plan) -> Result<Vec<Note>, Vec<Fault>> {
    let case = Case { recipe, plan };
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    for rule in rules() {
        let allowed = recipe.allow.iter().any(|name| name == rule.name);
        let is_note = rule.level == Level::Advice || (rule.level == Level::Guard && allowed);
        for finding in (rule.find)(&case) {
            if is_note {
                notes.push(finding.note(rule.name));
            } else {
                faults.push(finding.fault(rule.name));
            }
        }
    }
    drop_consequences(&mut faults);
    if faults.is_empty() { Ok(notes) } else { Err(faults) }
}

/// While a size is wrong, the memory that follows from it says nothing, and neither does the advice.
fn drop_consequences(faults: &mut Vec<Fault>) {
    let sizes = ["number_too_large", "zero_dimension", "context_without_arrow", "rank_too_wide", "stage_beyond_target"];
    if faults.iter().any(|fault| sizes.contains(&fault.rule)) {
        faults.retain(|fault| fault.rule != "does_not_fit");
    }
}

/// A share as a recipe writes it: 0.9 is `90%`.
fn percent(share: f64) -> String {
    format!("{}%", (share * 1e4).round() / 1e2)
}

#[cfg(test)]
mod tests;
