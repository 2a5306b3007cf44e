//! GGUF tensor names and Hugging Face's (gguf-py's `tensor_mapping.py`, architectures `llama`, `qwen2` and `qwen3`).

const LAYER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const OUTSIDE: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// The Hugging Face name of a GGUF tensor; a name that these models do not have stays as it is.
pub(super) fn to_hf(name: &str) -> String {
    translate(name).unwrap_or_else(|| name.to_string())
}

/// The GGUF name of one of these models' tensors; another stays as it is.
pub(super) fn to_gguf(name: &str) -> String {
    translate_back(name).unwrap_or_else(|| name.to_string())
}

fn translate_back(name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    if let Some((short, _)) = OUTSIDE.iter().find(|(_, long)| *long == module) {
        return Some(format!("{short}.{kind}"));
    }
    let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let (short, _) = LAYER.iter().find(|(_, long)| *long == part)?;
    Some(format!("blk.{layer}.{short}.{kind}"))
}

fn translate(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    if let Some((_, module)) = OUTSIDE.iter().find(|(short, _)| *short == stem) {
        return Some(format!("{module}.{kind}"));
    }
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (_, module) = LAYER.iter().find(|(short, _)| *short == part)?;
    Some(format!("model.layers.{layer}.{module}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in
            ["token_embd.weight", "output_norm.weight", "output.weight", "blk.12.ffn_down.weight", "blk.0.attn_q.bias"]
        {
            assert_eq!(to_gguf(&to_hf(name)), name);
        }
        assert_eq!(
            to_gguf("model.layers.0.self_attn.rotary_emb.inv_freq"),
            "model.layers.0.self_attn.rotary_emb.inv_freq"
        );
    }

    #[test]
    fn names_are_hugging_faces() {
        assert_eq!(to_hf("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(to_hf("output.weight"), "lm_head.weight");
        assert_eq!(to_hf("blk.12.ffn_down.weight"), "model.layers.12.mlp.down_proj.weight");
        assert_eq!(to_hf("blk.0.attn_q.bias"), "model.layers.0.self_attn.q_proj.bias");
        assert_eq!(to_hf("blk.3.attn_k_norm.weight"), "model.layers.3.self_attn.k_norm.weight");
        assert_eq!(to_hf("blk.0.attn_q.scale"), "blk.0.attn_q.scale");
        assert_eq!(to_hf("blk.x.attn_q.weight"), "blk.x.attn_q.weight");
    }
}
