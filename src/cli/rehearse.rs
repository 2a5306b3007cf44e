//! `rehearse`.

use std::path::PathBuf;

use serde_json::json;

use super::args::{RehearseArgs, Trainer};
use crate::rehearse::{self, Options, Outcome, Progress as Event};
use recipe_core::RehearsalRule;

use crate::report::{self, Progress, RehearsalReport, Series};
use crate::{Recipe, Result};

pub(super) fn run<R: Recipe>(args: &RehearseArgs) -> Result<()> {
    let plan = R::REHEARSAL;
    let name = plan.name.to_lowercase();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/{name}-rehearsal-{}", args.seed)));
    let options = Options { seed: args.seed, out, text: args.text.clone(), dfdx: args.engine == Trainer::Dfdx };
    if !args.json {
        say!("\n{}", RehearsalRule::STANDARD)?;
    }
    let mut progress = None;
    let outcome = rehearse::run::<R::RehearsalModel>(&plan, &options, &mut |event| show(event, &mut progress))?;
    let files = [("model".to_owned(), outcome.model.clone())];
    let curves: Vec<Series> =
        outcome.curves.iter().map(|(state, points)| Series::new(*state, points.iter().copied())).collect();
    let mut protocol = rehearse::protocol();
    protocol.extend(outcome.gates.iter().map(|gates| format!("Gates: {}.", report::gates_words(&plan, gates))));
    let report = RehearsalReport {
        plan: &plan,
        seed: outcome.seed,
        seconds: outcome.seconds,
        rows: &outcome.rows,
        curves: &curves,
        metrics: &outcome.steps,
        passkey: &outcome.depths,
        protocol: &protocol,
        files: &files,
    };
    let written = report.write(&options.out)?;
    if args.json {
        return super::print_json(&to_json(&outcome));
    }
    say!("{}\nreport: {}", report.to_text(), written.display())
}

fn show(event: Event<'_>, progress: &mut Option<Progress>) {
    match event {
        Event::Agreed(found) => tell!(
            "engine and typed dfdx model agree on one step: loss {:.4} (relative difference {:.1e}), {} gradients ({:.1e})",
            found.loss,
            found.loss_difference,
            found.tensors,
            found.gradient_difference
        ),
        Event::Measuring(state, documents) => {
            *progress = Some(Progress::new(&format!("measure: {state}"), "documents", documents as u64));
        }
        Event::Trained => finish(progress),
        Event::Training(plan) => *progress = Some(Progress::training(plan)),
        Event::Document => progress.iter().for_each(|bar| bar.advance(1)),
        Event::Step(metrics) => progress.iter().for_each(|bar| bar.step(metrics)),
        Event::Measured(_) => finish(progress),
    }
}

fn finish(progress: &mut Option<Progress>) {
    progress.take().iter().for_each(|bar| bar.finish(""));
}

fn to_json(outcome: &Outcome) -> serde_json::Value {
    json!({
        "native": outcome.native,
        "seed": outcome.seed,
        "seconds": outcome.seconds,
        "rows": outcome.rows,
        "passkey": outcome.depths,
        "agreement": {
            "loss": outcome.agreement.loss,
            "loss_difference": outcome.agreement.loss_difference,
            "gradient_difference": outcome.agreement.gradient_difference,
        },
        "gates": outcome.gates,
        "model": outcome.model,
    })
}
