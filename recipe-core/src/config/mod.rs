//! Hugging Face's `config.json` for Llama, Mistral, Ministral, Qwen2 and Qwen3: read in its old and its new spelling, written so that both agree.
//!
//! All keys are kept in their order, also those that nothing here reads.

mod error;
mod family;
mod rope;

pub use error::ConfigError;

use serde_json::{Map, Value, json};

use self::family::Family;
use crate::model::Llama;
use crate::pattern::Pattern;
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
        let family = Family::of(model);
        let keys = json!({
            "architectures": [family.architecture()],
            "model_type": family.name(),
            "attention_dropout": 0.0,
            "head_dim": model.head_dim,
            "hidden_act": "silu",
            "hidden_size": model.hidden,
            "initializer_range": 0.02,
            "intermediate_size": model.ffn,
            "max_position_embeddings": model.context,
            "num_attention_heads": model.heads,
            "num_hidden_layers": model.layers,
            "num_key_value_heads": model.kv_heads,
            "rms_norm_eps": model.norm_eps,
            "tie_word_embeddings": model.tied,
            "use_cache": true,
            "vocab_size": model.vocab,
        });
        let mut keys = keys.as_object().cloned().unwrap_or_default();
        keys.extend(family.own_keys(model));
        Self { keys }.with_rope(&RopePlan::native(model), model.context)
    }

    /// The architecture in it, with what is missing filled in as Hugging Face does.
    ///
    /// # Errors
    /// When a key is missing, has another type or range, or when the model is not a Llama that this crate computes.
    pub fn llama(&self) -> Result<Llama, ConfigError> {
        let family = self.refuse_other_models()?;
        let hidden = self.size("hidden_size", 4096)?;
        let heads = self.size("num_attention_heads", 32)?;
        let context = self.size("max_position_embeddings", 2048)?;
        let rope = rope::read(&self.keys, context)?;
        Ok(Llama {
            layers: self.size("num_hidden_layers", 32)?,
            hidden,
            heads,
            kv_heads: self.size("num_key_value_heads", heads)?,
            head_dim: self.size("head_dim", family.head_dim(hidden / heads))?,
            ffn: self.size("intermediate_size", 11_008)?,
            vocab: self.size("vocab_size", 32_000)?,
            context,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            norm_eps: number(&self.keys, "", "rms_norm_eps")?.unwrap_or(1e-6),
            tied: self.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: family == Family::Qwen2,
            qk_norm: family == Family::Qwen3,
            window: self.window(family)?,
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

    /// The same configuration of a model whose layers see `layers`, as far as its family's file can say so: Mistral's of one
    /// window for all layers, Ministral's of one window for some; the others are served with full attention.
    #[must_use]
    pub fn with_attention(mut self, layers: &[Pattern]) -> Self {
        if self.keys.get("model_type") == Some(&Family::Ministral.name().into()) {
            return self.clone().as_ministral(layers).unwrap_or_else(|_| {
                self.set("layer_types", vec!["full_attention"; layers.len()].into());
                self
            });
        }
        if self.keys.get("model_type") == Some(&Family::Mistral.name().into()) {
            let window = match layers {
                [Pattern::Window { window, sink: 0 }, rest @ ..] if rest.iter().all(|other| *other == layers[0]) => {
                    (*window).into()
                }
                _ => Value::Null,
            };
            self.set("sliding_window", window);
        }
        self
    }

    /// The same weights as transformers' Ministral, a Llama whose file says for each layer whether it has the window: what a
    /// model with windows in some layers is served as. Sinks have no key there and are left out.
    ///
    /// # Errors
    /// What no Ministral has: biases, norms of q and k, two windows, none, or another pattern than a window.
    pub fn as_ministral(mut self, layers: &[Pattern]) -> Result<Self, ConfigError> {
        let refused =
            |key, supported: &str, got| ConfigError::Unsupported { key, supported: supported.to_owned(), got };
        let family = self.refuse_other_models()?;
        if matches!(family, Family::Qwen2 | Family::Qwen3) {
            let only = "\"llama\" or \"mistral\" for an export as ministral";
            return Err(refused("model_type", only, family.name().to_owned()));
        }
        let width = |pattern: &Pattern| match pattern {
            Pattern::Window { window, .. } => Ok(Some(*window)),
            Pattern::Full => Ok(None),
            other => Err(refused("layer_types", "full attention and windows", format!("{other:?}"))),
        };
        let widths = layers.iter().map(width).collect::<Result<Vec<_>, _>>()?;
        let mut windows: Vec<usize> = widths.iter().flatten().copied().collect();
        windows.sort_unstable();
        windows.dedup();
        let [window] = windows[..] else {
            return Err(refused("sliding_window", "one window for all layers that have one", format!("{windows:?}")));
        };
        let types = widths.iter().map(|width| if width.is_some() { "sliding_attention" } else { "full_attention" });
        self.set("layer_types", types.collect());
        self.set("sliding_window", window.into());
        self.set("model_type", Family::Ministral.name().into());
        self.set("architectures", json!([Family::Ministral.architecture()]));
        for key in ["attention_bias", "mlp_bias", "pretraining_tp"] {
            self.keys.shift_remove(key);
        }
        Ok(self)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// Sets a key; a key that is there keeps its place.
    pub fn set(&mut self, key: &str, value: Value) {
        self.keys.insert(key.to_owned(), value);
    }

    /// Takes a key out; the others keep their places.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.keys.shift_remove(key)
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

    /// `sliding_window` where layers have it.
    fn window(&self, family: Family) -> Result<usize, ConfigError> {
        let full = json!("full_attention");
        let all_full = || matches!(self.keys.get("layer_types"), Some(Value::Array(types)) if types.iter().all(|one| *one == full));
        match family {
            Family::Mistral => self.size("sliding_window", 0),
            Family::Ministral if !all_full() => self.size("sliding_window", 0),
            _ => Ok(0),
        }
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(ConfigError::wrong(key, "true or false", other)),
        }
    }

    /// Everything that would make this crate compute another model than the one in the file.
    fn refuse_other_models(&self) -> Result<Family, ConfigError> {
        let family = self.family()?;
        self.must_be("hidden_act", &json!("silu"))?;
        for key in family.must_be_false() {
            self.must_be(key, &json!(false))?;
        }
        for key in ["hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size"] {
            if !self.keys.contains_key(key) {
                return Err(ConfigError::Missing { key });
            }
        }
        // Their defaults are neither Llama's nor each other's, and every released file has it.
        if family != Family::Llama && !self.keys.contains_key("num_key_value_heads") {
            return Err(ConfigError::Missing { key: "num_key_value_heads" });
        }
        Ok(family)
    }

    fn family(&self) -> Result<Family, ConfigError> {
        let name = self.keys.get("model_type").ok_or(ConfigError::Missing { key: "model_type" })?;
        let family = Family::ALL.into_iter().find(|family| name == family.name());
        family.ok_or_else(|| ConfigError::Unsupported {
            key: "model_type",
            supported: "\"llama\", \"mistral\", \"ministral\", \"qwen2\" or \"qwen3\"".to_owned(),
            got: name.to_string(),
        })
    }

    fn must_be(&self, key: &'static str, only: &Value) -> Result<(), ConfigError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value == only => Ok(()),
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
