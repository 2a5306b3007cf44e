//! Hugging Face's `config.json` for Llama: read in its old and its new spelling, written so that both agree.
//!
//! All keys are kept in their order, also those that nothing here reads.

mod error;
mod rope;

pub use error::ConfigError;

use serde_json::{Map, Value, json};

use crate::model::Llama;
use crate::plan::RopePlan;

/// A `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    keys: Map<String, Value>,
}

impl HfConfig {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(keys)) => Ok(Self { keys }),
            Ok(other) => Err(ConfigError::NotAnObject { got: error::kind(&other) }),
            Err(error) => {
                Err(ConfigError::Json { line: error.line(), column: error.column(), message: error.to_string() })
            }
        }
    }

    /// The configuration of `model`, as released.
    pub fn of(model: &Llama) -> Self {
        let keys = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": false,
            "attention_dropout": 0.0,
            "head_dim": model.head_dim,
            "hidden_act": "silu",
            "hidden_size": model.hidden,
            "initializer_range": 0.02,
            "intermediate_size": model.ffn,
            "max_position_embeddings": model.context,
            "mlp_bias": false,
            "num_attention_heads": model.heads,
            "num_hidden_layers": model.layers,
            "num_key_value_heads": model.kv_heads,
            "pretraining_tp": 1,
            "rms_norm_eps": model.norm_eps,
            "tie_word_embeddings": model.tied,
            "use_cache": true,
            "vocab_size": model.vocab,
        });
        let keys = keys.as_object().cloned().unwrap_or_default();
        Self { keys }.with_rope(&RopePlan::native(model), model.context)
    }

    /// The architecture in it, with what is missing filled in as Hugging Face does.
    ///
    /// # Errors
    /// When a key is missing, has another type or range, or when the model is not a Llama that this crate computes.
    pub fn llama(&self) -> Result<Llama, ConfigError> {
        self.refuse_other_models()?;
        let hidden = self.size("hidden_size", 4096)?;
        let heads = self.size("num_attention_heads", 32)?;
        let context = self.size("max_position_embeddings", 2048)?;
        let rope = rope::read(&self.keys, context)?;
        Ok(Llama {
            layers: self.size("num_hidden_layers", 32)?,
            hidden,
            heads,
            kv_heads: self.size("num_key_value_heads", heads)?,
            head_dim: self.size("head_dim", hidden / heads)?,
            ffn: self.size("intermediate_size", 11_008)?,
            vocab: self.size("vocab_size", 32_000)?,
            context,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            norm_eps: number(&self.keys, "", "rms_norm_eps")?.unwrap_or(1e-6),
            tied: self.flag("tie_word_embeddings")?.unwrap_or(false),
        })
    }

    /// The same configuration with another rotary law, in both spellings identically, and another window.
    ///
    /// When both keys are there, transformers 5 believes `rope_scaling` and transformers 4 knows nothing else, so they
    /// must agree. A dynamic law counts from the original window, which it reads from `max_position_embeddings`.
    #[must_use]
    pub fn with_rope(mut self, rope: &RopePlan, max_position_embeddings: usize) -> Self {
        let words = rope::write(rope);
        self.set("max_position_embeddings", rope::max_position_embeddings(rope, max_position_embeddings).into());
        self.set("rope_theta", rope.theta.into());
        self.set("rope_scaling", words.clone());
        self.set("rope_parameters", words);
        self
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// Sets a key; a key that is there keeps its place.
    pub fn set(&mut self, key: &str, value: Value) {
        self.keys.insert(key.to_owned(), value);
    }

    /// The file's text: two spaces of indentation and a last line break, as Hugging Face writes it.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", Value::Object(self.keys.clone()))
    }

    /// A positive whole number; null and nothing mean `default`.
    fn size(&self, key: &'static str, default: usize) -> Result<usize, ConfigError> {
        let value = match self.keys.get(key) {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => value,
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
        size.ok_or_else(|| ConfigError::wrong(key, "a positive whole number", value))
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(ConfigError::wrong(key, "true or false", other)),
        }
    }

    /// Everything that would make this crate compute another model than the one in the file.
    fn refuse_other_models(&self) -> Result<(), ConfigError> {
        self.known_family()?;
        self.must_be("hidden_act", &json!("silu"), false)?;
        self.must_be("attention_bias", &json!(false), false)?;
        self.must_be("mlp_bias", &json!(false), false)?;
        for key in ["hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size"] {
            if !self.keys.contains_key(key) {
                return Err(ConfigError::Missing { key });
            }
        }
        Ok(())
    }

    /// Mistral computes what Llama does once it has no sliding window.
    fn known_family(&self) -> Result<(), ConfigError> {
        let family = self.keys.get("model_type").ok_or(ConfigError::Missing { key: "model_type" })?;
        if family != "mistral" {
            return self.must_be("model_type", &json!("llama"), true);
        }
        if !self.keys.contains_key("num_key_value_heads") {
            return Err(ConfigError::Missing { key: "num_key_value_heads" });
        }
        self.must_be("sliding_window", &Value::Null, false)
    }

    fn must_be(&self, key: &'static str, only: &Value, required: bool) -> Result<(), ConfigError> {
        match self.keys.get(key) {
            Some(value) if value == only => Ok(()),
            None | Some(Value::Null) if !required => Ok(()),
            None => Err(ConfigError::Missing { key }),
            Some(other) => Err(ConfigError::Unsupported { key, supported: only.to_string(), got: other.to_string() }),
        }
    }
}

/// A number under `key`; null and nothing are none. `place` names the object that holds it, with a dot.
fn number(keys: &Map<String, Value>, place: &str, key: &str) -> Result<Option<f64>, ConfigError> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(ConfigError::wrong(format!("{place}{key}"), "a number", value)),
        },
    }
}

#[cfg(test)]
mod tests;
