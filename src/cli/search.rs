//! `search`: LongRoPE's factors for the recipe's model and target.

use std::path::Path;

use kernels::device::Cpu;
use recipe_core::{LongRopeFactors, Plan, RopePlan, Scaling, readable_tokens};

use super::args::SearchArgs;
use super::load;
use crate::data::read_text;
use crate::engine::{Engine, Mode};
use crate::eval;
use crate::report::number::fixed;
use crate::report::{Align, Progress, Table};
use crate::search::{self, Candidate, Options};
use crate::{Error, Result, hub};

pub(super) fn run(plan: &Plan, args: &SearchArgs) -> Result<()> {
    let length = args.length.unwrap_or(plan.target);
    let scale = length as f64 / plan.model.context.max(1) as f64;
    if scale <= 1.0 {
        return Err(Error::usage(format!(
            "{} tokens are within the model's own window of {}; give a longer --length",
            readable_tokens(length),
            readable_tokens(plan.model.context)
        )));
    }
    let model = load::model(plan, &args.model, args.adapter.as_deref())?;
    let encoder = load::encoder(&model)?;
    let text = read_text(&args.text)?;
    let tokens = encoder.encode(&text)?;
    let cpu = Cpu::with_limit(plan.device.memory());
    let mut engine = Engine::new(cpu, &plan.merged(), &model, 0, Mode::Infer)?;
    let documents = args.documents as usize;
    let mut loss = |factors: &[f64]| -> Result<f64> {
        engine.set_rope(&law(plan, factors, length));
        Ok(eval::by_position(&mut engine, &tokens, length, documents, &mut |_| ())?.mean_nll)
    };
    let seeds = search::seeds(&RopePlan::native(&plan.model), scale, plan.model.context);
    let begun = seeds.iter().map(|(name, factors)| Ok((*name, loss(factors)?))).collect::<Result<Vec<_>>>()?;
    let lists: Vec<Vec<f64>> = seeds.into_iter().map(|(_, factors)| factors).collect();
    let found = evolve(&lists, scale, &args.options(), &mut loss, &args.out)?;
    say!(
        "{}all under LongRoPE's attention factor, {documents} pieces of {} tokens\nfactors {}: write rope: longrope({:?})",
        table(&begun, &found, length).to_text(),
        readable_tokens(length),
        args.out.display(),
        args.out.display().to_string()
    )
}

/// The law of some factors beyond the native window; inside it nothing changes.
fn law(plan: &Plan, factors: &[f64], length: usize) -> RopePlan {
    let native = RopePlan::native(&plan.model);
    let scaling = Scaling::longrope(&factors_file(factors), length, plan.model.context);
    RopePlan { scaling, ..native }
}

fn factors_file(factors: &[f64]) -> LongRopeFactors {
    LongRopeFactors { short: vec![1.0; factors.len()], long: factors.to_vec(), attention_factor: None }
}

/// The search, with progress; the best of every round is saved, so that a killed search has lost nothing.
fn evolve(
    seeds: &[Vec<f64>],
    scale: f64,
    options: &Options,
    loss: &mut dyn FnMut(&[f64]) -> Result<f64>,
    out: &Path,
) -> Result<Candidate> {
    let progress = Progress::new("search", "rounds", options.iterations as u64);
    let mut unsaved = None;
    let found = search::search(seeds, scale, options, loss, &mut |round, best| {
        if round > 0 {
            progress.advance_with(1, &format!("perplexity {}", fixed(best.loss.exp(), 3)));
        }
        unsaved = unsaved.take().or(save(out, &best.factors).err());
    })?;
    progress.finish("");
    unsaved.map_or(Ok(found), Err)
}

fn save(out: &Path, factors: &[f64]) -> Result<()> {
    let text = serde_json::to_string_pretty(&factors_file(factors)).map_err(|error| Error::usage(error.to_string()))?;
    Ok(hub::save_bytes(out, text.as_bytes())?)
}

fn table(begun: &[(&'static str, f64)], found: &Candidate, length: usize) -> Table {
    let head = format!("perplexity at {}", readable_tokens(length));
    let mut table = Table::new([("law".to_owned(), Align::Left), (head, Align::Right)]);
    for (name, loss) in begun.iter().copied().chain([("found", found.loss)]) {
        table.row([name.to_owned(), fixed(loss.exp(), 3)]);
    }
    table
}
