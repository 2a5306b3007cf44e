//! `check`: every way in which a real model differs from the recipe's.

use recipe_core::Plan;

use super::args::CheckArgs;
use super::load;
use crate::hub::Header;
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &CheckArgs) -> Result<()> {
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
    if header.tokenizer.is_none() {
        eprintln!("note: there is no tokenizer; training on text and passkey evaluation need tokenizer.json");
    }
    if wrong.is_empty() {
        println!("{}: fits the recipe `{}`: {} tensors", args.model.display(), plan.name, header.tensors.len());
        return Ok(());
    }
    let list: String = wrong.iter().map(|line| format!("\n  - {line}")).collect();
    Err(Error::usage(format!("{}: this does not fit the recipe `{}`:{list}", args.model.display(), plan.name)))
}
