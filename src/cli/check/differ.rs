//! What differs, and the line of the recipe that would make it fit.

use recipe_core::{HfConfig, Llama, Plan, RopePlan, Scaling, SourceKind, presets, readable_tokens};

use crate::Result;
use crate::cli::load;
use crate::hub::{Adapter, Format, Header, Tokenizer};

/// One thing that differs.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) words: String,
    /// What makes it fit; nothing where `words` say it.
    pub(super) write: Option<String>,
}

/// All of them: the architecture, the window, the files among themselves, special tokens, the adapter.
pub(super) fn differences(plan: &Plan, header: &Header, adapter: Option<&Adapter>) -> Result<Vec<Difference>> {
    let model = &header.model;
    let of_model = load::mismatches(&plan.model, model)
        .into_iter()
        .chain(load::rope_difference(plan, model))
        .chain(load::window_difference(plan, model));
    let write = model_line(header);
    let mut found: Vec<Difference> = of_model.map(|words| Difference { words, write: Some(write.clone()) }).collect();
    found.extend(shorter(plan, model));
    found.extend(header.mismatches().iter().map(said));
    if let Some(tokenizer) = &header.tokenizer {
        found.extend(special_tokens(&header.config, tokenizer));
        found.extend(no_template(plan, tokenizer)?);
    }
    if let Some(adapter) = adapter {
        found.extend(adapter.mismatches(model).iter().map(said));
        found.extend(load::adapter_difference(plan, adapter, model).iter().map(said));
    }
    Ok(found)
}

fn said(words: &impl ToString) -> Difference {
    Difference { words: words.to_string(), write: None }
}

/// `model: …` for what is there: a preset that is the same, the file itself, or its numbers.
fn model_line(header: &Header) -> String {
    let model = &header.model;
    if let Some(name) = presets::NAMES.iter().find(|name| presets::named(name).is_some_and(|it| same(&it, model))) {
        return format!("`model: {name}`");
    }
    match (header.source.format, &model.rope_scaling) {
        (Format::HuggingFace, _) => format!("`model: hf(\"{}\")`", header.source.path.join("config.json").display()),
        (Format::Gguf, Scaling::Default) => format!("`model: {}`", numbers(model)),
        (Format::Gguf, _) => {
            "`model: hf(\"config.json\")`, with the config.json of the model that the file was made from".to_owned()
        }
    }
}

/// A file may promise more tokens than the preset's model was trained at.
fn same(preset: &Llama, model: &Llama) -> bool {
    load::mismatches(preset, model).is_empty()
        && RopePlan::native(preset) == RopePlan::native(model)
        && preset.window == model.window
        && preset.context <= model.context
}

fn numbers(model: &Llama) -> String {
    let Llama { layers, hidden, heads, kv_heads, head_dim, ffn, vocab, .. } = model;
    let (context, theta, eps) = (readable_tokens(model.context), model.rope_theta, model.norm_eps);
    let flags = [("tied", model.tied), ("qkv_bias", model.qkv_bias), ("qk_norm", model.qk_norm)];
    let flags: String = flags.iter().filter(|flag| flag.1).map(|flag| format!(", {} = true", flag.0)).collect();
    format!(
        "llama {{ layers = {layers}, hidden = {hidden}, heads = {heads}, kv_heads = {kv_heads}, head_dim = {head_dim}, \
         ffn = {ffn}, vocab = {vocab}, context = {context}, rope_theta = {theta}, norm_eps = {eps:e}{flags} }}"
    )
}

/// A model that ends before the recipe begins.
fn shorter(plan: &Plan, model: &Llama) -> Option<Difference> {
    let (theirs, ours) = (model.context, plan.model.context);
    (theirs < ours && theirs != plan.target).then(|| Difference {
        words: format!("max_position_embeddings is {theirs}, and the recipe takes the model from {ours}"),
        write: Some(format!("`context: {} -> {}`", readable_tokens(theirs), readable_tokens(plan.target))),
    })
}

/// A file that promises more than the recipe begins with. Files often do (Qwen2's says 131072 for 32768 trained tokens,
/// Qwen3's 40960), so it is no fault.
pub(super) fn promise(plan: &Plan, model: &Llama) -> Option<String> {
    let (theirs, ours) = (model.context, plan.model.context);
    (theirs > ours && theirs != plan.target).then(|| {
        let context = match theirs < plan.target {
            true => format!("context: {} -> {}", readable_tokens(theirs), readable_tokens(plan.target)),
            false => format!("context: {}", readable_tokens(theirs)),
        };
        format!(
            "config.json promises {theirs} tokens, and the recipe begins at {ours}; if the model was trained at {theirs}, \
             write `model: hf(…)` with `{context}`"
        )
    })
}

/// Where config.json and the tokenizer name other tokens for the begin or the end of a text.
fn special_tokens(config: &HfConfig, tokenizer: &Tokenizer) -> Vec<Difference> {
    let pairs = [("bos_token_id", tokenizer.bos()), ("eos_token_id", tokenizer.eos())];
    let differ = |(key, theirs): (&str, Option<u32>)| {
        let (value, id) = (config.get(key)?, theirs?);
        let listed: Vec<u64> = match value.as_array() {
            Some(ids) => ids.iter().filter_map(serde_json::Value::as_u64).collect(),
            None => vec![value.as_u64()?],
        };
        let words = format!("{key} is {value}, and the tokenizer's is {id}, which training uses");
        let write = Some(format!("`\"{key}\": {id}` in config.json, or the other token in tokenizer_config.json"));
        (!listed.contains(&u64::from(id))).then_some(Difference { words, write })
    };
    pairs.into_iter().filter_map(differ).collect()
}

/// Conversations without a template to render them.
fn no_template(plan: &Plan, tokenizer: &Tokenizer) -> Result<Option<Difference>> {
    let mut sources = plan.data.iter().chain(plan.stages.iter().flat_map(|stage| stage.data.iter()));
    let Some(glob) = sources.find_map(|source| match &source.kind {
        SourceKind::Chat { glob, .. } => Some(glob),
        _ => None,
    }) else {
        return Ok(None);
    };
    let lacks = tokenizer.chat_template()?.is_none();
    Ok(lacks.then(|| Difference {
        words: format!("`data: chat({glob:?})` needs a chat template, and the tokenizer has none"),
        write: Some("`chat_template` in tokenizer_config.json, or `data: [jsonl(…)]` of plain text".to_owned()),
    }))
}

#[cfg(test)]
mod tests;
