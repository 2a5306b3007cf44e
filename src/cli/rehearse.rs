//! `rehearse`.

use std::path::PathBuf;

use serde_json::json;

use super::args::{RehearseArgs, Trainer};
use crate::rehearse::{self, Options, Outcome, Progress as Event};
use crate::report::{self, Progress};
use crate::{Recipe, Result};

pub(super) fn run<R: Recipe>(args: &RehearseArgs) -> Result<()> {
    let plan = R::REHEARSAL;
    let name = plan.name.to_lowercase();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/{name}-rehearsal-{}", args.seed)));
    let options =
        Options { seed: args.seed, out, text: args.text.clone(), dfdx: args.engine == Trainer::Dfdx };
    if !args.json {
        print!("{}", report::rehearsal_intro(&plan));
    }
    let mut progress = None;
    let outcome = rehearse::run::<R::RehearsalModel>(&plan, &options, &mut |event| show(event, &mut progress))?;
    let report = report::write_rehearsal(&options.out, &plan, &outcome)?;
    if args.json {
        return super::print_json(&to_json(&outcome));
    }
    print!("{}", report::rehearsal_text(&outcome));
    println!("\nmodel   {}\nreport  {}\n{:.0} s in all", outcome.model.display(), report.display(), outcome.seconds);
    Ok(())
}

fn show(event: Event<'_>, progress: &mut Option<Progress>) {
    match event {
        Event::Agreed(found) => eprintln!(
            "engine and typed dfdx model agree on one step: loss {:.4} (relative difference {:.1e}), {} gradients ({:.1e})",
            found.loss, found.loss_difference, found.tensors, found.gradient_difference
        ),
        Event::Measuring(state, documents) => {
            *progress = Some(Progress::new(&format!("measure: {state}"), documents as u64));
        }
        Event::Training(steps) => *progress = Some(Progress::new("train", steps as u64)),
        Event::Document => progress.iter_mut().for_each(Progress::tick),
        Event::Step(metrics) => progress.iter_mut().for_each(|bar| bar.step(metrics)),
        Event::Measured(_) => *progress = None,
    }
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
        "model": outcome.model,
    })
}
