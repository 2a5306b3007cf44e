//! `eval`.

use std::fs;

use kernels::device::Cpu;
use recipe_core::{EvalPlan, Plan};

use super::args::EvalArgs;
use super::load;
use crate::data::Encoder;
use crate::engine::{Engine, Mode};
use crate::eval::{self, Evaluation};
use crate::report::{self, Progress};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &EvalArgs) -> Result<()> {
    let checkpoint = load::checkpoint(plan, &args.model)?;
    let encoder = load::encoder(&checkpoint)?;
    let mut engine =
        Engine::new(Cpu::with_limit(plan.device.memory()), &plan.merged(), &checkpoint.weights, 0, Mode::Infer)?;
    drop(checkpoint);
    let mut found = Evaluation::default();
    if let Some(path) = &args.text {
        let text = fs::read_to_string(path).map_err(|error| Error::usage(format!("{}: {error}", path.display())))?;
        let tokens = encoder.encode(&text)?;
        for context in contexts(plan, args, Kind::Perplexity) {
            found.perplexity.push(perplexity(&mut engine, &tokens, context, args)?);
        }
    }
    for context in contexts(plan, args, Kind::Passkey) {
        found.passkey.extend(passkey(&mut engine, &encoder, context, args)?);
    }
    if args.json { super::print_json(&found) } else { print(&found) }
}

fn perplexity(engine: &mut Engine<Cpu>, tokens: &[u32], context: usize, args: &EvalArgs) -> Result<eval::Perplexity> {
    let pieces = (tokens.len() / context.max(1)).min(args.documents as usize);
    match args.stride {
        Some(stride) => {
            let windows = tokens.len().saturating_sub(context) / stride.max(1) + 1;
            let progress = Progress::new(&format!("perplexity at {context}"), "windows", windows as u64);
            let found = eval::sliding(engine, tokens, context, stride, &mut |_| progress.advance(1))?;
            progress.finish("");
            Ok(found)
        }
        None => {
            let progress = Progress::new(&format!("perplexity at {context}"), "pieces", pieces as u64);
            let documents = args.documents as usize;
            let found = eval::by_position(engine, tokens, context, documents, &mut |_| progress.advance(1))?;
            progress.finish("");
            Ok(found)
        }
    }
}

fn passkey(
    engine: &mut Engine<Cpu>,
    encoder: &Encoder,
    context: usize,
    args: &EvalArgs,
) -> Result<Vec<eval::PasskeyScore>> {
    let progress = Progress::new(&format!("passkey at {context}"), "documents", args.documents);
    let mut tick = |_| progress.advance(1);
    let found = eval::passkey(engine, encoder, context, args.documents as usize, args.seed, &mut tick)?;
    progress.finish("");
    Ok(found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Perplexity,
    Passkey,
}

/// The command line's lengths, or the recipe's of that kind. A text that is given without --context and without a
/// `perplexity(…)` in the recipe is scored at the target.
fn contexts(plan: &Plan, args: &EvalArgs, kind: Kind) -> Vec<usize> {
    if !args.context.is_empty() {
        // A text on the command line asks about that text alone.
        return if kind == Kind::Passkey && args.text.is_some() { vec![] } else { args.context.clone() };
    }
    let lengths = plan.eval.iter().filter_map(|eval| match eval {
        EvalPlan::Perplexity { lengths } if kind == Kind::Perplexity => Some(lengths.to_vec()),
        EvalPlan::Passkey { lengths } if kind == Kind::Passkey => Some(lengths.to_vec()),
        _ => None,
    });
    let lengths: Vec<usize> = lengths.flatten().collect();
    if lengths.is_empty() { vec![plan.target] } else { lengths }
}

fn print(found: &Evaluation) -> Result<()> {
    if !found.perplexity.is_empty() {
        println!("{}", report::perplexity_table(&found.perplexity).to_text());
    }
    if !found.passkey.is_empty() {
        println!("{}", report::passkey_table(&found.passkey).to_text());
    }
    Ok(())
}
