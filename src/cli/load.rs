//! A model from disk, held against the recipe.

use std::path::Path;
use std::sync::Arc;

use recipe_core::{Llama, Plan, RopePlan};

use crate::data::Encoder;
use crate::hub::{Checkpoint, Tokenizer};
use crate::report::rope_words;
use crate::{Error, Result};

/// Reads a checkpoint that has the recipe's shape.
///
/// The recipe's rope and attention are what runs. A model whose config.json says neither the native rope nor the recipe's
/// is used all the same, and the difference is said on stderr.
pub(super) fn checkpoint(plan: &Plan, path: &Path) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open(path)?;
    let wrong = mismatches(&plan.model, &checkpoint.model);
    if !wrong.is_empty() {
        let list = wrong.join(", ");
        return Err(Error::usage(format!(
            "{}: this is not the recipe's model: {list}. Give the model that the recipe names, or write `model: hf(\"config.json\")`",
            path.display()
        )));
    }
    if let Some(difference) = rope_difference(plan, &checkpoint.model) {
        eprintln!("note: {difference}");
    }
    Ok(checkpoint)
}

/// Every number of the architecture that differs. The context and rope may: an extended model says its own.
pub(super) fn mismatches(recipe: &Llama, model: &Llama) -> Vec<String> {
    let numbers = |llama: &Llama| {
        [
            ("num_hidden_layers", llama.layers.to_string()),
            ("hidden_size", llama.hidden.to_string()),
            ("num_attention_heads", llama.heads.to_string()),
            ("num_key_value_heads", llama.kv_heads.to_string()),
            ("head_dim", llama.head_dim.to_string()),
            ("intermediate_size", llama.ffn.to_string()),
            ("vocab_size", llama.vocab.to_string()),
            ("tie_word_embeddings", llama.tied.to_string()),
            ("the bias of q, k and v", llama.qkv_bias.to_string()),
            ("the norm of q and k", llama.qk_norm.to_string()),
        ]
    };
    let pairs = numbers(recipe).into_iter().zip(numbers(model));
    let mut wrong: Vec<String> = pairs
        .filter(|((_, expected), (_, got))| expected != got)
        .map(|((name, expected), (_, got))| format!("{name} is {got} instead of {expected}"))
        .collect();
    if (recipe.norm_eps - model.norm_eps).abs() > 1e-3 * recipe.norm_eps {
        wrong.push(format!("rms_norm_eps is {:e} instead of {:e}", model.norm_eps, recipe.norm_eps));
    }
    wrong
}

/// In words, when the model's rope is neither the recipe's native one nor the one that the recipe makes.
pub(super) fn rope_difference(plan: &Plan, model: &Llama) -> Option<String> {
    let theirs = RopePlan::native(model);
    let known = [RopePlan::native(&plan.model), plan.rope.clone()];
    if known.contains(&theirs) {
        return None;
    }
    let (theirs, ours) = (rope_words(&theirs), rope_words(&plan.rope));
    Some(format!("the model's own rope is {theirs}; the recipe's is used instead: {ours}"))
}

/// The checkpoint's tokenizer as the data module takes it.
pub(super) fn encoder(checkpoint: &Checkpoint) -> Result<Arc<Encoder>> {
    encoder_of(checkpoint.tokenizer()?)
}

pub(super) fn encoder_of(tokenizer: &Tokenizer) -> Result<Arc<Encoder>> {
    let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?;
    Ok(Arc::new(match tokenizer.chat_template()? {
        Some(template) => encoder.with_template(&template)?,
        None => encoder,
    }))
}
