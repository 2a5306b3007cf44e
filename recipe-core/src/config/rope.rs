//! The rotary keys of a `config.json`: `rope_theta` + `rope_scaling` (transformers 4) and `rope_parameters` (5).

use serde_json::{Map, Value, json};

use super::error::ConfigError;
use super::number;
use crate::plan::RopePlan;
use crate::rope::{longrope_attention_factor, yarn_attention_factor};
use crate::scaling::Scaling;

/// Hugging Face's default.
const THETA: f64 = 10_000.0;

/// What the file says about rope.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: Scaling,
}

/// Reads either spelling. With both, `rope_scaling` wins, as in transformers 5.23.
pub(super) fn read(config: &Map<String, Value>, context: usize) -> Result<Rope, ConfigError> {
    let written = ["rope_scaling", "rope_parameters"].into_iter();
    let found = written.filter_map(|key| config.get(key).filter(|value| !value.is_null()).map(|value| (key, value)));
    let Some((place, value)) = found.into_iter().next() else {
        return Ok(Rope { theta: theta(config, None)?, scaling: Scaling::Default });
    };
    let Value::Object(keys) = value else {
        return Err(ConfigError::wrong(place, "an object", value));
    };
    if let Some(part) = number(keys, &format!("{place}."), "partial_rotary_factor")?.filter(|part| *part != 1.0) {
        let got = part.to_string();
        return Err(ConfigError::Unsupported { key: "partial_rotary_factor", supported: "1".into(), got });
    }
    let words = Words { place, keys, context };
    Ok(Rope { theta: theta(config, Some(&words))?, scaling: words.scaling()? })
}

/// The base: inside the rope object, or beside it.
fn theta(config: &Map<String, Value>, words: Option<&Words>) -> Result<f64, ConfigError> {
    let inside = words.map(|words| words.number("rope_theta")).transpose()?.flatten();
    let newer = config.get("rope_parameters").and_then(Value::as_object);
    let beside = [Some(config), newer].into_iter().flatten().find_map(|keys| keys.get("rope_theta"));
    let theta = match (inside, beside) {
        (Some(theta), _) => theta,
        (None, None | Some(Value::Null)) => THETA,
        (None, Some(value)) => value.as_f64().ok_or_else(|| ConfigError::wrong("rope_theta", "a number", value))?,
    };
    if theta > 1.0 { Ok(theta) } else { Err(ConfigError::wrong("rope_theta", "a number above 1", &json!(theta))) }
}

/// The object that holds `rope_type` and its parameters.
struct Words<'a> {
    place: &'static str,
    keys: &'a Map<String, Value>,
    context: usize,
}

impl Words<'_> {
    fn scaling(&self) -> Result<Scaling, ConfigError> {
        match self.rope_type()? {
            "default" => Ok(Scaling::Default),
            "linear" => Ok(Scaling::Linear { factor: self.required("factor")? }),
            "dynamic" => Ok(Scaling::Dynamic { factor: self.required("factor")?, original: self.context }),
            "yarn" => self.yarn(),
            "longrope" | "su" => self.longrope(),
            "llama3" => Ok(Scaling::Llama3 {
                factor: self.required("factor")?,
                low: self.required("low_freq_factor")?,
                high: self.required("high_freq_factor")?,
                original: self.original()?,
            }),
            other => Err(ConfigError::Unsupported {
                key: "rope_type",
                supported: "default, linear, dynamic, yarn, longrope or llama3".into(),
                got: format!("{other:?}"),
            }),
        }
    }

    /// `rope_type`, or `type` as files before transformers 4.45 spell it.
    fn rope_type(&self) -> Result<&str, ConfigError> {
        match self.keys.get("rope_type").or_else(|| self.keys.get("type")) {
            Some(Value::String(word)) => Ok(word),
            Some(other) => Err(ConfigError::wrong(format!("{}.rope_type", self.place), "a text", other)),
            // transformers 5 writes an object that holds the base alone.
            None if self.keys.keys().all(|key| key == "rope_theta") => Ok("default"),
            None => Err(ConfigError::wrong(format!("{}.rope_type", self.place), "a text", &Value::Null)),
        }
    }

    fn yarn(&self) -> Result<Scaling, ConfigError> {
        let original = self.original()?;
        let ratio = self.context as f64 / original as f64;
        let factor = self.number("factor")?.unwrap_or(ratio);
        Ok(Scaling::Yarn {
            factor,
            original,
            beta_fast: self.number("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("beta_slow")?.unwrap_or(1.0),
            attention_factor: self.attention_factor(factor)?,
            truncate: !matches!(self.keys.get("truncate"), Some(Value::Bool(false))),
        })
    }

    /// `factor` where it is written, as in transformers 5.23, whose own text says the reverse.
    fn longrope(&self) -> Result<Scaling, ConfigError> {
        let original = self.original()?;
        let factor = self.number("factor")?.unwrap_or(self.context as f64 / original as f64);
        let attention_factor =
            self.number("attention_factor")?.unwrap_or_else(|| longrope_attention_factor(factor, original));
        let (short, long) = (self.list("short_factor")?.into(), self.list("long_factor")?.into());
        Ok(Scaling::LongRope { short, long, factor, original, attention_factor })
    }

    fn list(&self, key: &str) -> Result<Vec<f64>, ConfigError> {
        let wrong = |value| ConfigError::wrong(format!("{}.{key}", self.place), "a list of numbers", value);
        let value = self.keys.get(key).unwrap_or(&Value::Null);
        let numbers = value.as_array().ok_or_else(|| wrong(value))?;
        numbers.iter().map(|number| number.as_f64().ok_or_else(|| wrong(number))).collect()
    }

    /// As written; else the ratio of DeepSeek's two scales; else YaRN's.
    fn attention_factor(&self, factor: f64) -> Result<f64, ConfigError> {
        let scale = |m: f64| {
            if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
        };
        let (one, all) = (self.number("mscale")?, self.number("mscale_all_dim")?);
        Ok(match (self.number("attention_factor")?, one.filter(|m| *m != 0.0), all.filter(|m| *m != 0.0)) {
            (Some(written), ..) => written,
            (None, Some(one), Some(all)) => scale(one) / scale(all),
            _ => yarn_attention_factor(factor),
        })
    }

    /// `original_max_position_embeddings`; without it transformers takes the present window.
    fn original(&self) -> Result<usize, ConfigError> {
        let key = "original_max_position_embeddings";
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(self.context),
            Some(value) => {
                let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
                size.ok_or_else(|| {
                    ConfigError::wrong(format!("{}.{key}", self.place), "a positive whole number", value)
                })
            }
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        number(self.keys, &format!("{}.", self.place), key)
    }

    fn required(&self, key: &str) -> Result<f64, ConfigError> {
        let missing = || ConfigError::wrong(format!("{}.{key}", self.place), "a number", &Value::Null);
        self.number(key)?.ok_or_else(missing)
    }
}

/// The one object that stands under both keys: `rope_type` and, for older readers, `type`.
pub(super) fn write(rope: &RopePlan) -> Value {
    let word = rope.scaling.rope_type();
    let mut keys = json!({ "rope_type": word, "type": word, "rope_theta": rope.theta });
    let more = match &rope.scaling {
        Scaling::Default => json!({}),
        Scaling::LongRope { short, long, factor, original, attention_factor } => json!({
            "factor": factor,
            "original_max_position_embeddings": original,
            "attention_factor": attention_factor,
            "short_factor": short,
            "long_factor": long,
        }),
        Scaling::Linear { factor } | Scaling::Dynamic { factor, .. } => json!({ "factor": factor }),
        Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate } => json!({
            "factor": factor,
            "original_max_position_embeddings": original,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "attention_factor": attention_factor,
            "truncate": truncate,
        }),
        Scaling::Llama3 { factor, low, high, original } => json!({
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }),
    };
    if let (Value::Object(keys), Value::Object(more)) = (&mut keys, more) {
        keys.extend(more);
    }
    keys
}

/// `target`, but the original window for `dynamic`, which counts from it.
pub(super) fn max_position_embeddings(rope: &RopePlan, target: usize) -> usize {
    match rope.scaling {
        Scaling::Dynamic { original, .. } => original,
        _ => target,
    }
}
