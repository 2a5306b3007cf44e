//! A model from disk, with its adapter merged, held against the recipe.

use std::path::Path;
use std::sync::Arc;

use recipe_core::{GatesPlan, Llama, Pattern, Plan, RopePlan};

use crate::data::Encoder;
use crate::hub::{Adapter, Header, Tokenizer};
use crate::report::rope_words;
use crate::train::{GATES_FILE, read_gates};
use crate::{Error, Result};

/// Opens a checkpoint that has the recipe's shape, with the adapter in it; its values are read when they are asked for.
///
/// The recipe's rope and attention are what runs. A model whose config.json says neither the native rope nor the recipe's
/// is used all the same, and the difference is said on stderr; so is one with a window of its own.
pub(super) fn model(plan: &Plan, path: &Path, adapter: Option<&Path>) -> Result<Header> {
    // What is wrong with the adapter's files is said before a model is read.
    let adapter = adapter.map(Adapter::open).transpose()?;
    let base = Header::open(path)?.checked()?;
    let wrong = mismatches(&plan.model, &base.model);
    if !wrong.is_empty() {
        let list = wrong.join(", ");
        return Err(Error::usage(format!(
            "{}: this is not the recipe's model: {list}. Give the model that the recipe names, or write `model: hf(\"config.json\")`",
            path.display()
        )));
    }
    let differences = [
        rope_difference(plan, &base.model),
        window_difference(plan, &base.model),
        adapter.as_ref().and_then(|adapter| adapter_difference(plan, adapter, &base.model)),
    ];
    differences.iter().flatten().for_each(|difference| tell!("note: {difference}"));
    Ok(match adapter {
        Some(adapter) => base.adapted(adapter)?,
        None => base,
    })
}

/// The plan as the model at `path` runs it: where the recipe's gates are learned, with those beside the model.
pub(super) fn with_gates(plan: &Plan, path: &Path) -> Result<Plan> {
    if plan.gates == GatesPlan::Given {
        return Ok(plan.clone());
    }
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let file = folder.unwrap_or(path).join(GATES_FILE);
    if !file.exists() {
        return Err(Error::usage(format!(
            "{}: not there, and the recipe `{}` lets learned gates say which heads see everything. `train --model {} --out RUN` \
             learns them, `export --run RUN --out DIR` writes them beside the model",
            file.display(),
            plan.name,
            path.display()
        )));
    }
    Ok(plan.with_gates(&read_gates(&file, plan)?))
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
            ("qkv_bias", llama.qkv_bias.to_string()),
            ("qk_norm", llama.qk_norm.to_string()),
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

/// In words, when the configuration beside an adapter says another rope than its base's.
pub(super) fn adapter_difference(plan: &Plan, adapter: &Adapter, base: &Llama) -> Option<String> {
    let [theirs, base] = [RopePlan::native(adapter.model()?), RopePlan::native(base)];
    let words = [&theirs, &base, &plan.rope].map(rope_words);
    let [theirs_words, base_words, ours_words] = words;
    (theirs != base).then(|| {
        format!("the adapter's config.json says {theirs_words}, its base's {base_words}; the recipe's rope is used: {ours_words}")
    })
}

/// In words, when the model has a window that neither the recipe's model nor the recipe's layers have.
pub(super) fn window_difference(plan: &Plan, model: &Llama) -> Option<String> {
    let window = model.window;
    // A Mistral's layers are all alike, a Ministral's are not.
    let slides = |pattern: &Pattern| *pattern == Pattern::Window { window, sink: 0 };
    let mixed = plan.layers.iter().all(|pattern| *pattern == Pattern::Full || slides(pattern));
    let same = mixed && plan.layers.iter().any(slides);
    if window == 0 || window == plan.model.window || same {
        return None;
    }
    Some(format!("the model's own layers see {window} tokens; the recipe's attention is used instead"))
}

/// The model's tokenizer as the data module takes it.
pub(super) fn encoder(model: &Header) -> Result<Arc<Encoder>> {
    encoder_of(model.tokenizer()?)
}

pub(super) fn encoder_of(tokenizer: &Tokenizer) -> Result<Arc<Encoder>> {
    let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?;
    Ok(Arc::new(match tokenizer.chat_template()? {
        Some(template) => encoder.with_template(&template)?,
        None => encoder,
    }))
}

#[cfg(test)]
mod tests {
    use recipe_core::{Attention, Context, Recipe, Sparse, Window, presets};

    use super::*;

    fn plan(model: Llama, attention: Option<Attention>) -> Plan {
        let context = Context { native: None, target: model.context };
        let (name, allow) = ("Test".to_owned(), vec![]);
        let (rope, positions, select, adapt, optimizer, device) = (None, None, None, None, None, None);
        let (data, train, eval) = (vec![], vec![], vec![]);
        let recipe = Recipe {
            name,
            model,
            context,
            rope,
            attention,
            positions,
            select,
            adapt,
            optimizer,
            data,
            train,
            eval,
            allow,
            device,
        };
        recipe.plan().unwrap()
    }

    #[test]
    fn a_window_that_the_recipe_does_not_know_is_told() {
        let open = presets::mistral_7b();
        let sliding = Llama { window: 4096, ..open.clone() };
        let window = Attention::Sparse(Sparse::Window(Window { window: 4096, sink: None, block: None }));
        let told = window_difference(&plan(open.clone(), None), &sliding).unwrap();
        assert!(told.contains("see 4096 tokens"), "{told}");
        assert_eq!(window_difference(&plan(open.clone(), Some(window)), &sliding), None);
        assert_eq!(window_difference(&plan(sliding.clone(), Some(Attention::Full)), &sliding), None);
        assert_eq!(window_difference(&plan(sliding, None), &open), None);
    }

    #[test]
    fn another_family_is_another_model() {
        let wrong = |recipe: &Llama, model: &Llama| mismatches(recipe, model).join(", ");
        let qwen = presets::qwen2_7b();
        let llama = Llama { qkv_bias: false, ..qwen.clone() };
        assert_eq!(wrong(&llama, &qwen), "qkv_bias is true instead of false");
        assert_eq!(wrong(&llama, &Llama { qk_norm: true, ..llama.clone() }), "qk_norm is true instead of false");
    }
}
