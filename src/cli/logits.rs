//! `logits`: what the model computes, for comparison with other tools.

use std::fs;

use kernels::device::Cpu;
use recipe_core::Plan;
use serde::Deserialize;

use super::args::LogitsArgs;
use super::load;
use crate::data::{Batch, IGNORE};
use crate::engine::{Engine, Mode};
use crate::hub::{self, Dtype, Tensor, Weights};
use crate::{Error, Result};

/// The input file; everything but the tokens may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    tokens: Vec<u32>,
    positions: Option<Vec<u32>>,
    documents: Option<Vec<u32>>,
    targets: Option<Vec<i32>>,
}

pub(super) fn run(plan: &Plan, args: &LogitsArgs) -> Result<()> {
    let batch = read(args)?;
    let model = load::model(plan, &args.model, args.adapter.as_deref())?;
    let plan = load::with_gates(plan, &args.model)?;
    let mode = if args.grad { Mode::Train } else { Mode::Infer };
    let cpu = Cpu::with_limit(plan.device.memory());
    let mut engine = Engine::new(cpu, &plan.merged(), &model, 0, mode)?;
    let shape = vec![batch.len(), plan.model.vocab];
    let mut found = Weights::new();
    found.insert("logits", Tensor { shape, data: engine.logits(&batch)? });
    if args.grad {
        let counted = batch.counted().max(1) as f32;
        engine.clear_gradients();
        let scores = engine.learn(&batch, 1.0 / counted, true)?;
        let loss = scores.nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / f64::from(counted);
        found.insert("loss", Tensor { shape: vec![1], data: vec![loss as f32] });
        for (name, gradient) in engine.gradients() {
            found.insert(format!("grad.{name}"), gradient);
        }
    }
    hub::save(&args.out, found.views(), Dtype::F32, &[("format", "pt")])?;
    tell!("{}: {} tensors for {} tokens", args.out.display(), found.len(), batch.len());
    Ok(())
}

/// Positions count from 0, there is one document, and a target is the next token, unless the file says otherwise.
fn read(args: &LogitsArgs) -> Result<Batch> {
    let wrong = |reason: String| Error::usage(format!("{}: {reason}", args.tokens.display()));
    let text = fs::read_to_string(&args.tokens).map_err(|error| wrong(error.to_string()))?;
    let input: Input = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("{error}; write {{\"tokens\": [1, 2, 3], \"positions\": […], …}}")))?;
    let count = input.tokens.len();
    let documents = input.documents.unwrap_or_else(|| vec![0; count]);
    let targets = input.targets.unwrap_or_else(|| next_tokens(&input.tokens, &documents));
    let positions = input.positions.unwrap_or_else(|| (0..count as u32).collect());
    Ok(Batch { tokens: input.tokens, positions, documents, targets, ..Batch::default() })
}

fn next_tokens(tokens: &[u32], documents: &[u32]) -> Vec<i32> {
    let next = |row: usize| match (tokens.get(row + 1), documents.get(row + 1)) {
        (Some(&token), Some(document)) if documents.get(row) == Some(document) => token as i32,
        _ => IGNORE,
    };
    (0..tokens.len()).map(next).collect()
}
