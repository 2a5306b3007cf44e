//! Rules about the stage `gates(…)` and `attention: duo(gates = learned)`, which need each other.

use super::train::each;
use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::plan::{GatesPlan, Learns};
use crate::readable::readable_tokens as tokens;
use crate::recipe::Attention;
use crate::terms::StageKind;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "gates_without_duo", level: Level::Law, find: gates_without_duo },
    Rule { name: "gates_never_learned", level: Level::Law, find: gates_never_learned },
    Rule { name: "gates_not_last", level: Level::Law, find: gates_not_last },
    Rule { name: "gates_window", level: Level::Law, find: gates_window },
    Rule { name: "reg_range", level: Level::Law, find: reg_range },
];

/// Learned gates say which heads of `duo` stream; no other attention asks for them.
fn gates_without_duo(case: &Case) -> Vec<Finding> {
    let waits = matches!(case.plan.gates, GatesPlan::Learned { .. });
    let stage = case.recipe.train.iter().position(|stage| stage.kind == StageKind::Gates);
    let Some(index) = stage.filter(|_| !waits) else { return vec![] };
    let message = match case.recipe.attention {
        Some(Attention::Duo { .. }) => "this stage learns gates, and `attention` reads its own from a file",
        _ => "this stage learns gates, and no head of `attention` has one",
    };
    let help = "write attention: duo(gates = learned), or remove the stage";
    vec![Finding::new(Field::new("train").index(index), message.to_owned(), help)]
}

/// Without the stage nobody learns them.
fn gates_never_learned(case: &Case) -> Vec<Finding> {
    let waits = matches!(case.plan.gates, GatesPlan::Learned { .. });
    if !waits || case.plan.gates_stage().is_some() {
        return vec![];
    }
    let message = "no stage learns these gates".to_owned();
    let help = "write gates(…) as the last stage of `train`, or gates = \"gates.json\"";
    vec![Finding::new(Field::new("attention.gates"), message, help)]
}

/// Gates describe the weights that they were learned on; what changes them afterwards makes the gates those of another model.
fn gates_not_last(case: &Case) -> Vec<Finding> {
    let Some(first) = case.recipe.train.iter().position(|stage| stage.kind == StageKind::Gates) else {
        return vec![];
    };
    let field = Field::new("train");
    let finding = |field, what: &str, help| {
        let message = format!("{what} behind the gates, which are learned for the finished weights");
        vec![Finding::new(field, message, help)]
    };
    match case.recipe.train.get(first + 1) {
        Some(next) if next.kind == StageKind::Gates => {
            finding(field.index(first + 1), "a second stage of gates", "remove one of the two")
        }
        Some(next) => {
            let what = format!("a stage `{}`", next.kind.word());
            finding(field.index(first + 1), &what, "write gates(…) last")
        }
        None if case.recipe.train[first].merge.is_some() => {
            finding(field.index(first).key("merge"), "a merge", "write merge(…) before gates(…)")
        }
        None => vec![],
    }
}

/// A gate learns from what its head misses when it streams; a window as long as the sequence misses nothing.
fn gates_window(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        let Learns::Gates { sink, recent, .. } = settled.learns else { return None };
        if recent == 0 {
            return Some(("recent", "a streaming head that sees no token".into(), "write recent = 256".into()));
        }
        let seen = sink.saturating_add(recent);
        if seen < settled.length {
            return None;
        }
        let key = if written.recent.is_some() || written.sink.is_none() { "recent" } else { "sink" };
        let message = format!("{} seen tokens hide nothing of a sequence of {}", tokens(seen), tokens(settled.length));
        let help = if seen < case.plan.target {
            format!("write a length above {}", tokens(seen))
        } else {
            format!("write sink = {} and recent = {}", settled.length / 32, (settled.length / 16).max(1))
        };
        Some((key, message, help))
    })
}

/// A negative price would open gates for nothing.
fn reg_range(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| match settled.learns {
        Learns::Gates { reg, .. } if !(reg >= 0.0 && reg.is_finite()) => {
            Some(("reg", format!("reg {reg} is negative or not a number"), "write reg = 0.05".into()))
        }
        _ => None,
    })
}
