//! `check`: every way in which a real model differs from the recipe's, and what to write instead.

mod differ;

use std::collections::BTreeMap;

use recipe_core::Plan;

use self::differ::{Difference, differences, promise};
use super::args::CheckArgs;
use crate::hub::{Adapter, Header, Listed};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &CheckArgs) -> Result<()> {
    let adapter = args.adapter.as_deref().map(Adapter::open).transpose()?;
    let header = Header::open(&args.model)?;
    let wrong = differences(plan, &header, adapter.as_ref())?;
    if header.tokenizer.is_none() {
        tell!("note: there is no tokenizer; training on text and passkey evaluation need tokenizer.json");
    }
    promise(plan, &header.model).iter().for_each(|words| tell!("note: {words}"));
    if wrong.is_empty() {
        let (name, tensors) = (args.model.display(), formats(&header.tensors));
        say!("{name}: fits the recipe `{}`: {} tensors ({tensors})", plan.name, header.tensors.len())?;
        return adapter.iter().try_for_each(|adapter| say!("{}", adapter_words(adapter)));
    }
    let (name, list) = (args.model.display(), listed(&wrong));
    Err(Error::usage(format!("{name}: this does not fit the recipe `{}`:{list}", plan.name)))
}

/// A line each; what to write stands once under those that it is for.
fn listed(wrong: &[Difference]) -> String {
    let groups = wrong.chunk_by(|one, next| one.write == next.write && one.write.is_some());
    let of = |group: &[Difference]| {
        let lines: String = group.iter().map(|one| format!("\n  - {}", one.words)).collect();
        let write = group.iter().find_map(|one| one.write.as_deref());
        lines + &write.map_or_else(String::new, |write| format!("\n      write {write}"))
    };
    groups.map(of).collect()
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
