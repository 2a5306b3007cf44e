//! `model:`: a preset, `llama { … }` or `hf("path/config.json")`.

use proc_macro2::Ident;
use recipe_core::{Field, Llama, Scaling, presets};

use super::missing;
use crate::ast::{Node, Value};
use crate::bind::{Bound, Context};
use crate::config;
use crate::kind::{World, meant, quoted};
use crate::words;

/// Hugging Face's `LlamaConfig`: `max_position_embeddings`, `rope_theta`, `rms_norm_eps`.
const CONTEXT: usize = 2048;
const ROPE_THETA: f64 = 10_000.0;
const NORM_EPS: f64 = 1e-6;

pub(super) fn model(context: &mut Context, value: Option<&Value>, name: &Ident) -> Llama {
    let Some(value) = value else {
        let presets = quoted(&presets::NAMES);
        let help = format!("write `model: ` and {presets}, or `llama {{ … }}`, or `hf(\"path/config.json\")`");
        missing(context, "model", name, help);
        return guess(context.world);
    };
    if let Some(preset) = preset(value) {
        return preset;
    }
    let Some((word, written)) = context.word("model", words::MODEL, &presets::NAMES, value) else {
        return meant_preset(value).unwrap_or_else(|| guess(context.world));
    };
    let bound = context.bind(word, written, &Field::new("model"));
    match word.name {
        "llama" => llama(&bound),
        _ => hugging_face(context, &bound.need::<String>("path"), value),
    }
}

fn preset(value: &Value) -> Option<Llama> {
    match &value.node {
        Node::Word(word) if word.args.is_empty() => presets::named(&word.name.to_string()),
        _ => None,
    }
}

/// The preset that a bare name is a slip of.
fn meant_preset(value: &Value) -> Option<Llama> {
    match &value.node {
        Node::Word(word) if word.args.is_empty() => presets::named(meant(&word.name.to_string(), &presets::NAMES)?),
        _ => None,
    }
}

fn llama(bound: &Bound) -> Llama {
    Llama {
        layers: bound.need("layers"),
        hidden: bound.need("hidden"),
        heads: bound.need("heads"),
        kv_heads: bound.need("kv_heads"),
        head_dim: bound.need("head_dim"),
        ffn: bound.need("ffn"),
        vocab: bound.need("vocab"),
        context: bound.maybe("context").unwrap_or(CONTEXT),
        rope_theta: bound.maybe("rope_theta").unwrap_or(ROPE_THETA),
        rope_scaling: Scaling::Default,
        norm_eps: bound.maybe("norm_eps").unwrap_or(NORM_EPS),
        tied: bound.maybe("tied").unwrap_or(false),
        qkv_bias: bound.maybe("qkv_bias").unwrap_or(false),
        qk_norm: bound.maybe("qk_norm").unwrap_or(false),
        window: 0,
    }
}

fn hugging_face(context: &mut Context, path: &str, value: &Value) -> Llama {
    if !names_a_file(value) {
        // Its absence is already reported.
        return guess(context.world);
    }
    match config::read(path) {
        Ok((model, file)) => {
            context.files.push(file);
            model
        }
        Err(wrong) => {
            let place = context.spans.place(&Field::new("model.path"));
            context.problem(&place, wrong.message, wrong.help);
            guess(context.world)
        }
    }
}

/// Whether a word has a text among its arguments, as a path is.
pub(super) fn names_a_file(value: &Value) -> bool {
    matches!(&value.node, Node::Word(word) if word.args.iter().any(|arg| matches!(arg.value.node, Node::Text(_))))
}

/// Two models that have no number in common, so that no fault about a number survives both.
fn guess(world: World) -> Llama {
    match world {
        World::Low => presets::tiny(),
        World::High => presets::llama2_70b(),
    }
}
