//! Rules about `context:`.

use super::{Case, Finding, Level, NATIVE_CONTEXT, Rule};
use crate::fault::Field;
use crate::readable::readable_tokens as tokens;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "zero_context", level: Level::Law, find: zero_context },
    Rule { name: NATIVE_CONTEXT, level: Level::Guard, find: native_context },
    Rule { name: "context_without_arrow", level: Level::Law, find: context_without_arrow },
    Rule { name: "target_below_native", level: Level::Advice, find: target_below_native },
];

/// A context window holds at least one token.
fn zero_context(case: &Case) -> Vec<Finding> {
    let context = case.recipe.context;
    let ends = [("context.native", context.native), ("context.target", Some(context.target))];
    let zero = ends.into_iter().filter(|(_, length)| *length == Some(0));
    let finding = |(path, _)| {
        let help = format!("write {} tokens", tokens(case.recipe.model.context.max(1)));
        Finding::new(Field::new(path), "a context window of 0 tokens holds nothing".into(), help)
    };
    zero.map(finding).collect()
}

/// The left side of `->` is what the model was trained at; every scale is counted from there. Where a config.json
/// states another number than the model was trained at, `allow` makes the recipe's count.
fn native_context(case: &Case) -> Vec<Finding> {
    let model = case.recipe.model.context;
    match case.recipe.context.native {
        Some(native) if native != model && native > 0 => {
            let (model, native) = (tokens(model), tokens(native));
            let message = format!("the model's native context is {model}, the recipe starts at {native}");
            let help = format!("write `context: {model} -> {}`", tokens(case.recipe.context.target));
            vec![Finding::new(Field::new("context.native"), message, help)]
        }
        _ => vec![],
    }
}

/// A single length says that the window stays or shrinks; growth is written with an arrow, so that nobody extends a
/// model by accident.
fn context_without_arrow(case: &Case) -> Vec<Finding> {
    let (model, context) = (case.recipe.model.context, case.recipe.context);
    if context.native.is_some() || context.target <= model {
        return vec![];
    }
    let (model, target) = (tokens(model), tokens(context.target));
    let message = format!("context {target} alone is longer than the model's native context {model}");
    let help = format!("write `context: {model} -> {target}`");
    vec![Finding::new(Field::new("context.target"), message, help)]
}

/// A shorter window is legal (a recipe may change only the attention), yet rarely meant.
fn target_below_native(case: &Case) -> Vec<Finding> {
    let (native, target) = (case.plan.model.context, case.plan.target);
    if target >= native || target == 0 {
        return vec![];
    }
    let message = format!("target {} is shorter than the native context {}", tokens(target), tokens(native));
    vec![Finding::new(Field::new("context.target"), message, "nothing is extended".to_owned())]
}
