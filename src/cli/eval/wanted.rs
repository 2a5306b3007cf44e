//! Which measurements a command line asks for.

use recipe_core::{Eval, EvalPlan, Needle, Plan};

use crate::cli::args::{EvalArgs, Measure};
use crate::{Error, Result};

/// What to measure, in the recipe's order: what it lists, or what `--only` names of it, at `--context` or its own lengths.
///
/// Without a run, a recipe without `eval`, or with losses alone, is also asked for keys at its target; a text that is given without a
/// `perplexity(…)` is scored there. With `--context`, a text on the command line asks about that text alone.
pub(super) fn wanted(plan: &Plan, args: &EvalArgs) -> Result<Vec<EvalPlan>> {
    let list = in_recipe(plan, args);
    let mut found = match (args.only.is_empty(), &args.run) {
        (false, _) => named(plan, &list, &args.only)?,
        (true, None) => listed(list, plan.target, args),
        (true, Some(_)) if list.is_empty() => both(plan.target),
        (true, Some(_)) => list,
    };
    if args.run.is_some() {
        found = of_run(found, args.text.is_some());
    }
    if !args.context.is_empty() {
        found.iter_mut().for_each(|eval| put_lengths(eval, &args.context));
    }
    let mut once: Vec<EvalPlan> = vec![];
    for eval in found {
        if !once.contains(&eval) {
            once.push(eval);
        }
    }
    Ok(once)
}

/// What the recipe lists, with the questions of the command line.
fn in_recipe(plan: &Plan, args: &EvalArgs) -> Vec<EvalPlan> {
    let mut list = plan.eval.to_vec();
    if let Some(path) = &args.questions {
        list.retain(|eval| measure_of(eval) != Measure::Choice);
        list.push(Eval::Choice(path.clone()).plan());
    }
    list
}

fn listed(mut found: Vec<EvalPlan>, target: usize, args: &EvalArgs) -> Vec<EvalPlan> {
    let has = |found: &[EvalPlan], measure| found.iter().any(|eval| measure_of(eval) == measure);
    if !has(&found, Measure::Perplexity) {
        found.extend(usual(Measure::Perplexity, target));
    }
    if found.iter().all(|eval| measure_of(eval) == Measure::Perplexity) {
        found.extend(usual(Measure::Passkey, target));
    }
    match (&args.text, args.context.is_empty()) {
        (Some(_), true) => {}
        (Some(_), false) => found.retain(|eval| measure_of(eval) == Measure::Perplexity),
        (None, _) => found.retain(|eval| measure_of(eval) != Measure::Perplexity),
    }
    if args.text.is_none() && has(&found, Measure::Short) {
        found.retain(|eval| measure_of(eval) != Measure::Short);
        tell!("note: `short` is left out: it scores a text, which --text FILE gives");
    }
    found
}

/// What a run is asked whose recipe lists nothing.
fn both(target: usize) -> Vec<EvalPlan> {
    [Measure::Perplexity, Measure::Passkey].into_iter().flat_map(|measure| usual(measure, target)).collect()
}

fn named(plan: &Plan, list: &[EvalPlan], only: &[Measure]) -> Result<Vec<EvalPlan>> {
    let mut found = vec![];
    for &measure in only {
        let before = found.len();
        found.extend(list.iter().filter(|eval| measure_of(eval) == measure).cloned());
        if found.len() == before {
            found.extend(usual(measure, plan.target));
        }
        if found.len() == before {
            return Err(Error::usage(format!(
                "the recipe `{}` names no file of questions; give one with --questions FILE, or write `eval: [choice(\"questions.jsonl\")]`",
                plan.name
            )));
        }
    }
    Ok(found)
}

/// A measurement that the recipe does not list, at its target; a file of questions is nobody's usual.
fn usual(measure: Measure, target: usize) -> Vec<EvalPlan> {
    let lengths = vec![target];
    let evals = match measure {
        Measure::Perplexity => vec![Eval::Perplexity(lengths)],
        Measure::Passkey => vec![Eval::Passkey(lengths)],
        Measure::KMax => vec![Eval::KMax(lengths)],
        Measure::Needle => {
            let kinds = [Needle::Single, Needle::MultiKey, Needle::MultiValue, Needle::MultiQuery];
            kinds.map(|kind| Eval::Needle(kind, lengths.clone())).to_vec()
        }
        Measure::Topics => vec![Eval::Topics(lengths)],
        Measure::Short => vec![Eval::Short(None)],
        Measure::Choice => vec![],
    };
    evals.iter().map(Eval::plan).collect()
}

fn measure_of(eval: &EvalPlan) -> Measure {
    match eval {
        EvalPlan::Perplexity { .. } => Measure::Perplexity,
        EvalPlan::Passkey { .. } => Measure::Passkey,
        EvalPlan::KMax { .. } => Measure::KMax,
        EvalPlan::Needle { .. } => Measure::Needle,
        EvalPlan::Topics { .. } => Measure::Topics,
        EvalPlan::Short { .. } => Measure::Short,
        EvalPlan::Choice { .. } => Measure::Choice,
    }
}

/// The same measurement at one length.
pub(super) fn at(eval: &EvalPlan, length: usize) -> EvalPlan {
    let mut one = eval.clone();
    put_lengths(&mut one, &[length]);
    one
}

/// What is measured of a run: its losses on chronicles where there is no text, but abilities kept only on a text.
pub(super) fn of_run(mut wanted: Vec<EvalPlan>, text: bool) -> Vec<EvalPlan> {
    if !text && wanted.iter().any(|eval| measure_of(eval) == Measure::Short) {
        wanted.retain(|eval| measure_of(eval) != Measure::Short);
        tell!("note: `short` is left out: it scores a text, which --text FILE (`train`: --eval-text) gives");
    }
    wanted
}

fn put_lengths(eval: &mut EvalPlan, wanted: &[usize]) {
    match eval {
        EvalPlan::Perplexity { lengths }
        | EvalPlan::Passkey { lengths }
        | EvalPlan::KMax { lengths, .. }
        | EvalPlan::Needle { lengths, .. }
        | EvalPlan::Topics { lengths } => *lengths = wanted.to_vec().into(),
        EvalPlan::Short { .. } | EvalPlan::Choice { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use recipe_core::{Context, Recipe, presets};

    use super::*;

    fn plan(eval: Vec<Eval>) -> Plan {
        let model = presets::tiny();
        let context = Context { native: None, target: model.context };
        let (name, allow) = ("R".to_owned(), vec!["k_max_steps".to_owned()]);
        let recipe = Recipe {
            name,
            model,
            context,
            rope: None,
            attention: None,
            positions: None,
            select: None,
            adapt: None,
            optimizer: None,
            data: vec![],
            train: vec![],
            eval,
            allow,
            device: None,
        };
        recipe.plan().unwrap()
    }

    fn shown(eval: Vec<Eval>, command: &[&str]) -> Vec<String> {
        let args = EvalArgs::of(command);
        let found = wanted(&plan(eval), &args).unwrap();
        let line = |eval: &EvalPlan| match eval.lengths() {
            Some(lengths) => format!("{} {lengths:?}", eval.written(lengths[0])),
            None => eval.written(0),
        };
        found.iter().map(line).collect()
    }

    #[test]
    fn a_recipe_that_lists_nothing_is_asked_for_keys() {
        assert_eq!(shown(vec![], &[]), ["passkey(256) [256]"]);
        assert_eq!(shown(vec![], &["--text", "a"]), ["perplexity(256) [256]", "passkey(256) [256]"]);
        assert_eq!(shown(vec![], &["--text", "a", "--context", "64"]), ["perplexity(64) [64]"]);
        assert_eq!(shown(vec![Eval::Perplexity(vec![64])], &["--context", "128,64"]), ["passkey(128) [128, 64]"]);
    }

    #[test]
    fn what_is_listed_is_measured_once() {
        let evals =
            || vec![Eval::Topics(vec![200]), Eval::Topics(vec![256]), Eval::Short(None), Eval::Choice("q".into())];
        assert_eq!(shown(evals(), &[]), ["topics(200) [200]", "topics(256) [256]", "choice(\"q\")"]);
        assert_eq!(shown(evals(), &["--context", "128"]), ["topics(128) [128]", "choice(\"q\")"]);
        let with_text = shown(evals(), &["--text", "a"]);
        assert_eq!(with_text[2..], ["short(max_loss = 0.02)", "choice(\"q\")", "perplexity(256) [256]"]);
    }

    #[test]
    fn only_takes_what_is_named() {
        let evals = || vec![Eval::Needle(Needle::Single, vec![64]), Eval::Passkey(vec![64])];
        assert_eq!(shown(evals(), &["--only", "needle,k_max"]), ["needle(single, 64) [64]", "k_max(256) [256]"]);
        assert_eq!(shown(vec![], &["--only", "needle", "--context", "64"]).len(), 4);
        let args = EvalArgs::of(&["--only", "choice"]);
        assert_eq!(shown(vec![], &["--only", "choice", "--questions", "q.jsonl"]), ["choice(\"q.jsonl\")"]);
        let other = shown(vec![Eval::Choice("a".into())], &["--questions", "q.jsonl"]);
        assert_eq!(other, ["choice(\"q.jsonl\")"]);
        assert!(wanted(&plan(vec![]), &args).unwrap_err().to_string().contains("choice(\"questions.jsonl\")"));
    }
}
