//! The tensors of a model: names and shapes, in order.

use recipe_core::{Llama, Target};

/// The embedding's name.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output projection's name; a tied model has none.
pub(super) const HEAD: &str = "lm_head.weight";

/// Hugging Face names and shapes of all weights, bottom to top; `lm_head.weight` is absent when it is tied.
pub fn layout(model: &Llama) -> Vec<(String, Vec<usize>)> {
    let table = vec![model.vocab, model.hidden];
    let mut tensors = vec![(EMBEDDING.to_string(), table.clone())];
    for layer in 0..model.layers {
        tensors.extend(layer_layout(model, layer));
    }
    tensors.push(("model.norm.weight".to_string(), vec![model.hidden]));
    if !model.tied {
        tensors.push((HEAD.to_string(), table));
    }
    tensors
}

fn layer_layout(model: &Llama, layer: usize) -> Vec<(String, Vec<usize>)> {
    let norm = |name, width| (format!("model.layers.{layer}.{name}.weight"), vec![width]);
    let linear = |target: &Target| {
        let name = format!("model.layers.{layer}.{}.{}", target.block(), target.name());
        let [rows, columns] = target.shape(model);
        let bias = target.biased(model).then(|| (format!("{name}.bias"), vec![rows]));
        [(format!("{name}.weight"), vec![rows, columns])].into_iter().chain(bias)
    };
    let (attention, mlp) = Target::ALL.split_at(4);
    let mut tensors = vec![norm("input_layernorm", model.hidden)];
    tensors.extend(attention.iter().flat_map(linear));
    let head_norms = ["self_attn.q_norm", "self_attn.k_norm"].into_iter().filter(|_| model.qk_norm);
    tensors.extend(head_norms.map(|name| norm(name, model.head_dim)));
    tensors.push(norm("post_attention_layernorm", model.hidden));
    tensors.extend(mlp.iter().flat_map(linear));
    tensors
}
