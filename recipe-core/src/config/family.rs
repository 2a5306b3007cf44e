//! What sets the families of dense models apart in their files.

use serde_json::{Map, Value, json};

use crate::model::Llama;

/// Who wrote the architecture that a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    /// A Llama whose layers may all have one window.
    Mistral,
    /// A Llama some of whose layers have one window, and that says which.
    Ministral,
    /// Biases on q, k and v.
    Qwen2,
    /// Norms on q and k, and heads of their own width.
    Qwen3,
}

impl Family {
    pub(super) const ALL: [Self; 5] = [Self::Llama, Self::Mistral, Self::Ministral, Self::Qwen2, Self::Qwen3];

    /// The one whose file can describe `model`.
    pub(super) fn of(model: &Llama) -> Self {
        match model {
            Llama { qk_norm: true, .. } => Self::Qwen3,
            Llama { qkv_bias: true, .. } => Self::Qwen2,
            Llama { window: 1.., .. } => Self::Mistral,
            _ => Self::Llama,
        }
    }

    /// `model_type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Ministral => "ministral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// What stands under `architectures`.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Ministral => "MinistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// `head_dim` of a file without it: transformers' default, which for Qwen3 is a number.
    pub(super) fn head_dim(self, of_hidden: usize) -> usize {
        if self == Self::Qwen3 { 128 } else { of_hidden }
    }

    /// Keys that would make another model of it, one with other biases or with windows in some layers.
    pub(super) fn must_be_false(self) -> &'static [&'static str] {
        match self {
            Self::Llama => &["attention_bias", "mlp_bias"],
            // transformers reads no such keys for these.
            Self::Mistral | Self::Ministral => &[],
            Self::Qwen2 => &["use_sliding_window"],
            Self::Qwen3 => &["attention_bias", "use_sliding_window"],
        }
    }

    /// The keys that its files alone have, as released.
    pub(super) fn own_keys(self, model: &Llama) -> Map<String, Value> {
        let keys = match self {
            Self::Llama => json!({ "attention_bias": false, "mlp_bias": false, "pretraining_tp": 1 }),
            Self::Mistral | Self::Ministral => json!({ "sliding_window": model.window }),
            Self::Qwen2 => json!({ "use_sliding_window": false, "sliding_window": null }),
            Self::Qwen3 => json!({ "attention_bias": false, "use_sliding_window": false, "sliding_window": null }),
        };
        keys.as_object().cloned().unwrap_or_default()
    }
}
