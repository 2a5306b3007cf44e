//! `check`: every way in which a real model differs from the recipe's.

use std::collections::BTreeMap;

use recipe_core::Plan;

use super::args::CheckArgs;
use super::load;
use crate::hub::{Adapter, Header, Listed};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &CheckArgs) -> Result<()> {
    let adapter = args.adapter.as_deref().map(Adapter::open).transpose()?;
    let header = Header::open(&args.model)?;
    let mut wrong = load::mismatches(&plan.model, &header.model);
    wrong.extend(header.mismatches().iter().map(ToString::to_string));
    if header.model.context != plan.model.context && header.model.context != plan.target {
        wrong.push(format!(
            "max_position_embeddings is {}, neither the recipe's native {} nor its target {}",
            header.model.context, plan.model.context, plan.target
        ));
    }
    wrong.extend(load::rope_difference(plan, &header.model));
    wrong.extend(load::window_difference(plan, &header.model));
    if let Some(adapter) = &adapter {
        wrong.extend(adapter.mismatches(&header.model).iter().map(ToString::to_string));
        wrong.extend(load::adapter_difference(plan, adapter, &header.model));
    }
    if header.tokenizer.is_none() {
        eprintln!("note: there is no tokenizer; training on text and passkey evaluation need tokenizer.json");
    }
    if wrong.is_empty() {
        let (name, tensors) = (args.model.display(), formats(&header.tensors));
        println!("{name}: fits the recipe `{}`: {} tensors ({tensors})", plan.name, header.tensors.len());
        adapter.iter().for_each(|adapter| println!("{}", adapter_words(adapter)));
        return Ok(());
    }
    let list: String = wrong.iter().map(|line| format!("\n  - {line}")).collect();
    Err(Error::usage(format!("{}: this does not fit the recipe `{}`:{list}", args.model.display(), plan.name)))
}

/// How many tensors there are of each number format: `9 F32, 21 Q4_K`.
fn formats(tensors: &[Listed]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    tensors.iter().for_each(|tensor| *counts.entry(&tensor.dtype).or_default() += 1);
    counts.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect::<Vec<_>>().join(", ")
}

fn adapter_words(adapter: &Adapter) -> String {
    let ((factors, saved), (rank, scale)) = (adapter.counts(), adapter.rank_and_scale());
    let path = adapter.path().display();
    format!("{path}: fits this model: rank {rank}, scale {scale}, {factors} weights changed, {saved} tensors replaced")
}
