//! Rules about `model:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::model::Llama;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "zero_dimension", level: Level::Law, find: zero_dimension },
    Rule { name: "odd_head_dim", level: Level::Law, find: odd_head_dim },
    Rule { name: "heads_not_divisible", level: Level::Law, find: heads_not_divisible },
    Rule { name: "norm_eps_range", level: Level::Law, find: norm_eps_range },
    Rule { name: "model_theta_range", level: Level::Law, find: model_theta_range },
    Rule { name: "bias_beside_qk_norm", level: Level::Law, find: bias_beside_qk_norm },
];

/// The sizes of `model` by the key that a recipe writes them under.
pub(super) fn sizes(model: &Llama) -> [(&'static str, usize); 8] {
    [
        ("layers", model.layers),
        ("hidden", model.hidden),
        ("heads", model.heads),
        ("kv_heads", model.kv_heads),
        ("head_dim", model.head_dim),
        ("ffn", model.ffn),
        ("vocab", model.vocab),
        ("context", model.context),
    ]
}

fn field(key: &str) -> Field {
    Field::new("model").key(key)
}

/// A model with a dimension of 0 has no weights there.
fn zero_dimension(case: &Case) -> Vec<Finding> {
    let zero = sizes(&case.recipe.model).into_iter().filter(|(_, size)| *size == 0);
    let finding = |(key, _)| Finding::new(field(key), format!("{key} is 0"), "write a number above 0");
    zero.map(finding).collect()
}

/// Rotary embedding turns pairs of dimensions, so a head needs an even number of them.
fn odd_head_dim(case: &Case) -> Vec<Finding> {
    let dim = case.recipe.model.head_dim;
    if dim.is_multiple_of(2) {
        return vec![];
    }
    let help = format!("write head_dim = {} or {}", dim - 1, dim.saturating_add(1));
    vec![Finding::new(field("head_dim"), format!("head_dim {dim} is odd, rope turns pairs of dimensions"), help)]
}

/// With grouped-query attention every key head serves the same number of query heads.
fn heads_not_divisible(case: &Case) -> Vec<Finding> {
    let Llama { heads, kv_heads, .. } = case.recipe.model;
    if kv_heads == 0 || heads % kv_heads == 0 {
        return vec![];
    }
    let message = format!("{heads} heads cannot be shared evenly by {kv_heads} kv_heads");
    // Only divisors up to the heads of a real model are searched; beyond that the size itself is a fault.
    let limit = kv_heads.min(heads).min(65_536);
    let fits = (1..=limit).rev().find(|n| heads % n == 0).unwrap_or(1);
    vec![Finding::new(field("heads"), message, format!("write kv_heads = {fits}, or a multiple of {kv_heads} heads"))]
}

/// RMSNorm divides by √(mean square + eps); eps keeps that away from 0.
fn norm_eps_range(case: &Case) -> Vec<Finding> {
    let eps = case.recipe.model.norm_eps;
    if eps > 0.0 && eps < 1.0 {
        return vec![];
    }
    vec![Finding::new(field("norm_eps"), format!("norm_eps {eps:?} is out of (0, 1)"), "write norm_eps = 1e-5")]
}

/// Frequencies are powers of 1 ÷ theta; at 1 and below they do not fall.
fn model_theta_range(case: &Case) -> Vec<Finding> {
    let theta = case.recipe.model.rope_theta;
    if theta > 1.0 && theta.is_finite() {
        return vec![];
    }
    let message = format!("rope_theta {theta:?} is not above 1");
    vec![Finding::new(field("rope_theta"), message, "write rope_theta = 10000")]
}

/// Qwen2 has biases on q, k and v, Qwen3 norms on q and k; a model with both could be saved under no architecture's name.
fn bias_beside_qk_norm(case: &Case) -> Vec<Finding> {
    let Llama { qkv_bias, qk_norm, .. } = case.recipe.model;
    if !(qkv_bias && qk_norm) {
        return vec![];
    }
    let message = "qkv_bias beside qk_norm: no architecture of Hugging Face has both".to_owned();
    vec![Finding::new(field("qkv_bias"), message, "keep qkv_bias (Qwen2) or qk_norm (Qwen3)")]
}
