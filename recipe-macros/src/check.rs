//! Holds what was written against the rules of recipe-core.

use recipe_core::{Fault, Plan, Recipe};

use crate::ast;
use crate::kind::World;
use crate::lower::{self, Lowered};
use crate::report::{Problem, Problems};

/// A recipe without a fault.
pub(crate) struct Checked {
    pub(crate) plan: Plan,
    /// Files that were read.
    pub(crate) files: Vec<String>,
}

/// The plan, or every problem there is: what could not be read, what has no meaning, what cannot work.
pub(crate) fn plan(written: &ast::Recipe, mut problems: Problems) -> Result<Checked, Problems> {
    let Lowered { recipe, spans, problems: unlowered, files } = lower::recipe(written, World::Low);
    problems.append(unlowered);
    let faults = if problems.is_empty() {
        match recipe.plan() {
            Ok(plan) => return Ok(Checked { plan, files }),
            Err(faults) => faults,
        }
    } else {
        certain_faults(&recipe, &lower::recipe(written, World::High).recipe)
    };
    let explained = faults.into_iter().map(|fault| Problem::from_fault(explain(fault, &recipe), &spans));
    problems.append(explained.collect());
    Err(problems)
}

/// Faults that stand whichever guess replaces what could not be read.
fn certain_faults(low: &Recipe, high: &Recipe) -> Vec<Fault> {
    let high = high.plan().err().unwrap_or_default();
    let low = low.plan().err().unwrap_or_default();
    low.into_iter().filter(|fault| high.contains(fault)).collect()
}

/// A fault that `allow` would turn into a note says so.
fn explain(mut fault: Fault, recipe: &Recipe) -> Fault {
    let mut lenient = recipe.clone();
    lenient.allow.push(fault.rule.to_owned());
    let stays = lenient.plan().err().is_some_and(|faults| faults.iter().any(|other| other.rule == fault.rule));
    if !stays {
        fault.help = format!("{}\n  = help: `allow: [{}]` lets it pass with a note", fault.help, fault.rule);
    }
    fault
}
