//! `analyse`.

use std::path::Path;

use kernels::device::Cpu;
use recipe_core::Plan;

use super::args::AnalyseArgs;
use super::load;
use crate::data::{Encoder, read_text};
use crate::engine::{Engine, Mode};
use crate::eval::{self, Impact};
use crate::report::{self, Progress};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &AnalyseArgs) -> Result<()> {
    let text = read_text(&args.text)?;
    let context = args.context.unwrap_or(plan.target);
    // One model at a time is in memory.
    let (encoder, base) = scored(&plan.untouched(), (&args.base, None), &text, context, args)?;
    let extended = load::with_gates(plan, &args.model)?.merged();
    let (other, extended) = scored(&extended, (&args.model, args.adapter.as_deref()), &text, context, args)?;
    let tokens = encoder.encode(&text)?;
    if tokens != other.encode(&text)? {
        let (base, model) = (args.base.display(), args.model.display());
        let report =
            format!("{base} and {model} split the text into different tokens; the analysis needs one tokenizer");
        return Err(Error::usage(report));
    }
    let found = eval::impact(&encoder, &tokens, context, args.top, [&base, &extended]);
    if let Some(path) = &args.out {
        let json = serde_json::to_vec_pretty(&found).map_err(|error| Error::usage(error.to_string()))?;
        crate::hub::save_bytes(path, &json)?;
    }
    if args.json { super::print_json(&found) } else { print(&found) }
}

fn scored(
    plan: &Plan,
    (path, adapter): (&Path, Option<&Path>),
    text: &str,
    context: usize,
    args: &AnalyseArgs,
) -> Result<(std::sync::Arc<Encoder>, Vec<f32>)> {
    let model = load::model(plan, path, adapter)?;
    let encoder = load::encoder(&model)?;
    let tokens = encoder.encode(text)?;
    let cpu = Cpu::with_limit(plan.device.memory());
    let mut engine = Engine::new(cpu, plan, &model, 0, Mode::Infer)?;
    let pieces = (tokens.len() / context.max(1)).min(args.documents as usize);
    let progress = Progress::new(&format!("score {}", path.display()), "pieces", pieces as u64);
    let found = eval::log_probabilities(&mut engine, &tokens, context, pieces, &mut |_| progress.advance(1))?;
    progress.finish("");
    Ok((encoder, found))
}

fn print(found: &Impact) -> Result<()> {
    say!("{}\n{}", report::impact_table(found).to_text(), report::impact_words(found))
}
