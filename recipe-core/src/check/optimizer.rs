//! Rules about `optimizer:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::terms::Optimizer;

pub(super) const RULES: &[Rule] =
    &[Rule { name: "optimizer_packs_nothing", level: Level::Guard, find: optimizer_packs_nothing }];

/// 8 bits are for the moments of large tensors that learn; where there are none, the word promises memory that it does not save.
fn optimizer_packs_nothing(case: &Case) -> Vec<Finding> {
    let (plan, word) = (case.plan, case.plan.optimizer.word());
    if plan.optimizer != Optimizer::AdamW8bit {
        return vec![];
    }
    let one = |message, help| vec![Finding::new(Field::new("optimizer"), message, help)];
    if plan.stages.is_empty() {
        return one(
            format!("nothing is trained, so {word} moves nothing"),
            "add a stage such as `extend(…)`, or remove it",
        );
    }
    if !plan.trains_weights() {
        return one(format!("gates alone learn, and {word} keeps their moments in f32"), "leave optimizer out");
    }
    let largest = plan.learning_tensors().into_iter().filter(|(_, times)| *times > 0).map(|(numbers, _)| numbers).max();
    match largest.unwrap_or(0) {
        0 => vec![],
        numbers if plan.optimizer.packs(numbers) => vec![],
        numbers => {
            let message =
                format!("{word} packs tensors of 4096 numbers and more, the largest that learns has {numbers}");
            one(message, "leave optimizer out")
        }
    }
}
