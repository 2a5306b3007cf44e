//! The shape of a Llama, Mistral, Qwen2 or Qwen3 model, in Hugging Face's terms.

use serde::{Deserialize, Serialize};

use crate::scaling::Scaling;

/// Every number that fixes the architecture: a Llama, or one of the dense models that differ from it in attention alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Llama {
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `hidden_size`.
    pub hidden: usize,
    /// `num_attention_heads`.
    pub heads: usize,
    /// `num_key_value_heads`.
    pub kv_heads: usize,
    /// `head_dim`; Hugging Face's default is hidden ÷ heads.
    pub head_dim: usize,
    /// `intermediate_size` of the SwiGLU block.
    pub ffn: usize,
    /// `vocab_size`.
    pub vocab: usize,
    /// The native context window in tokens: the length that the model was trained at.
    pub context: usize,
    /// `rope_theta`.
    pub rope_theta: f64,
    /// The scaling that the model was released with (Llama 3.1 has one); most have [`Scaling::Default`].
    pub rope_scaling: Scaling,
    /// `rms_norm_eps`.
    pub norm_eps: f64,
    /// `tie_word_embeddings`.
    pub tied: bool,
    /// Whether q, k and v have biases, as in Qwen2.
    pub qkv_bias: bool,
    /// Whether each head's q and k are normed before they are turned, as in Qwen3.
    pub qk_norm: bool,
    /// `sliding_window`: the tokens, itself included, that a token saw in the released model; 0 where it saw all.
    pub window: usize,
}

impl Llama {
    /// Width of all query heads together, rows of `q_proj`.
    pub fn query_width(&self) -> usize {
        self.heads.saturating_mul(self.head_dim)
    }

    /// Width of all key (or value) heads together, rows of `k_proj` and `v_proj`.
    pub fn kv_width(&self) -> usize {
        self.kv_heads.saturating_mul(self.head_dim)
    }

    /// Width of q, k and v together.
    pub(crate) fn qkv_width(&self) -> usize {
        self.query_width().saturating_add(self.kv_width()).saturating_add(self.kv_width())
    }
}
