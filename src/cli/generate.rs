//! `generate`.

use std::cell::OnceCell;

use kernels::device::Device;
use recipe_core::Plan;
use serde_json::json;

use super::args::GenerateArgs;
use super::machine::{self, Open, on_machine};
use super::{load, output};
use crate::engine::{Engine, Sampling};
use crate::hub::Special;
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &GenerateArgs) -> Result<()> {
    let (plan, machine) = machine::chosen(plan, args.device)?;
    on_machine!(machine, open => write(open, &plan, args))
}

fn write<D: Device>(open: Open<'_, D>, plan: &Plan, args: &GenerateArgs) -> Result<()> {
    let model = load::model(plan, &args.model, args.adapter.as_deref())?;
    let plan = load::with_gates(plan, &args.model)?;
    let tokenizer = model.tokenizer()?.clone();
    let prompt = tokenizer.encode(&args.prompt, Special::Add)?;
    if prompt.is_empty() {
        return Err(Error::usage("the prompt has no tokens; write at least a word".to_owned()));
    }
    let mut engine = Engine::new(open()?, &plan.merged(), &model, 0, args.weights.mode())?;
    let sampling = Sampling::new(args.temperature, args.top_p, args.top_k, args.seed)
        .map_err(|error| Error::usage(error.to_string()))?;
    let (mut written, mut shown, unread) = (vec![], 0, OnceCell::new());
    let mut show = |token: u32| {
        written.push(token);
        if args.json {
            return;
        }
        // Bytes of one character may span tokens: only what decodes completely is shown.
        let text = tokenizer.decode(&written).unwrap_or_default();
        if !text.ends_with('\u{fffd}') && text.is_char_boundary(shown) {
            if let Err(error) = output::write(&text[shown..]) {
                // One is enough: the first ends the text.
                let _ = unread.set(error);
            }
            shown = text.len();
        }
    };
    let stop = |id| unread.get().is_some() || tokenizer.is_stop(id);
    let found = engine.generate(&prompt, sampling, args.max_tokens, &stop, &mut show)?;
    if args.json {
        let text = tokenizer.decode(&found.tokens)?;
        return super::print_json(&json!({
            "prompt_tokens": prompt,
            "tokens": found.tokens,
            "text": text,
            "kv_cache_bytes": found.cache_bytes,
            "prefill_tokens_per_second": prompt.len() as f64 / found.prefill_seconds,
            "decode_tokens_per_second": found.tokens.len() as f64 / found.decode_seconds,
        }));
    }
    unread.into_inner().map_or_else(|| output::print("\n"), output::forgiven)?;
    tell!(
        "{} + {} tokens, KV cache {}, prefill {:.0} tok/s, decode {:.1} tok/s",
        prompt.len(),
        found.tokens.len(),
        recipe_core::readable_bytes(found.cache_bytes),
        prompt.len() as f64 / found.prefill_seconds,
        found.tokens.len() as f64 / found.decode_seconds
    );
    Ok(())
}
