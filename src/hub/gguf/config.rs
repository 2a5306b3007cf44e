//! GGUF metadata (`llama.*`, `qwen2.*`, `qwen3.*`) as a Hugging Face configuration.

use recipe_core::HfConfig;
use serde_json::{Value, json};

use super::Factors;
use super::keys::Keys;
use crate::hub::error::Error;

/// The configuration that a converted model had, as far as GGUF keeps it.
pub(super) fn config(keys: Keys<'_>, tied: bool, vocab: usize, factors: &Factors) -> Result<HfConfig, Error> {
    refuse_others(keys)?;
    let (model_type, architecture) = match keys.text("general.architecture")? {
        Some("qwen2") => ("qwen2", "Qwen2ForCausalLM"),
        Some("qwen3") => ("qwen3", "Qwen3ForCausalLM"),
        _ => ("llama", "LlamaForCausalLM"),
    };
    let heads = keys.count(&keys.own("attention.head_count"))?;
    let hidden = keys.count(&keys.own("embedding_length"))?;
    let head_dim = match keys.optional_count(&keys.own("attention.key_length"))? {
        Some(head_dim) => head_dim,
        None => {
            hidden.checked_div(heads).ok_or_else(|| keys.wrong(&keys.own("attention.head_count"), "1 or more", "0"))?
        }
    };
    let theta = keys.float(&keys.own("rope.freq_base"))?.unwrap_or(10_000.0);
    let epsilon = keys.float(&keys.own("attention.layer_norm_rms_epsilon"))?;
    let mut config = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "vocab_size": keys.optional_count(&keys.own("vocab_size"))?.unwrap_or(vocab),
        "hidden_size": hidden,
        "intermediate_size": keys.count(&keys.own("feed_forward_length"))?,
        "num_hidden_layers": keys.count(&keys.own("block_count"))?,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.optional_count(&keys.own("attention.head_count_kv"))?.unwrap_or(heads),
        "head_dim": head_dim,
        "max_position_embeddings": keys.count(&keys.own("context_length"))?,
        "rms_norm_eps": epsilon.ok_or_else(|| {
            keys.wrong(&keys.own("attention.layer_norm_rms_epsilon"), "a number", "nothing")
        })?,
        "rope_theta": theta,
        "tie_word_embeddings": tied,
    });
    refuse_partial_rotation(keys, head_dim)?;
    if let Some(scaling) = rope_scaling(keys, theta, head_dim, factors)? {
        config["rope_scaling"] = scaling;
    }
    for (key, name) in [("bos", "bos_token_id"), ("eos", "eos_token_id")] {
        if let Some(id) = keys.optional_count(&format!("tokenizer.ggml.{key}_token_id"))? {
            config[name] = json!(id);
        }
    }
    HfConfig::parse(&config.to_string()).map_err(|source| Error::Config { path: keys.path.to_path_buf(), source })
}

/// Other architectures, mixtures of experts, and files that are one part of several.
fn refuse_others(keys: Keys<'_>) -> Result<(), Error> {
    let refuse = |what: String, advice: &'static str| {
        Err(Error::Unsupported { path: keys.path.to_path_buf(), what, advice: advice.into() })
    };
    match keys.text("general.architecture")? {
        Some("llama" | "qwen2" | "qwen3") => {}
        Some(other) => {
            return refuse(format!("architecture {other:?}"), "Use a model of the architecture llama, qwen2 or qwen3");
        }
        None => return Err(keys.wrong("general.architecture", "\"llama\"", "nothing")),
    }
    match keys.optional_count(&keys.own("expert_count"))? {
        None | Some(0) => {}
        Some(experts) => return refuse(format!("a mixture of {experts} experts"), "Use a dense model"),
    }
    match keys.optional_count("split.count")? {
        None | Some(0 | 1) => Ok(()),
        Some(parts) => refuse(format!("one of {parts} parts"), "Join them with llama.cpp's `llama-gguf-split --merge`"),
    }
}

fn refuse_partial_rotation(keys: Keys<'_>, head_dim: usize) -> Result<(), Error> {
    for key in ["rope.dimension_count", "attention.value_length"].map(|key| keys.own(key)) {
        match keys.optional_count(&key)? {
            Some(size) if size != head_dim => {
                return Err(Error::Unsupported {
                    path: keys.path.to_path_buf(),
                    what: format!("{key} {size} beside a head_dim of {head_dim}"),
                    advice: "Use a model whose heads are rotated whole and are all of one size".into(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// `rope_scaling` as Hugging Face writes it. As in llama.cpp, a factor without a type is linear.
fn rope_scaling(keys: Keys<'_>, theta: f64, head_dim: usize, factors: &Factors) -> Result<Option<Value>, Error> {
    if let Some(factors) = &factors.llama3 {
        return llama3(keys, theta, head_dim, factors).map(Some);
    }
    if keys.text(&keys.own("rope.scaling.type"))? == Some("longrope") {
        return longrope(keys, factors).map(Some);
    }
    let factor = match keys.float(&keys.own("rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => keys.float(&keys.own("rope.scale_linear"))?,
    };
    let Some(factor) = factor.filter(|factor| *factor != 0.0) else { return Ok(None) };
    match keys.text(&keys.own("rope.scaling.type"))?.unwrap_or("linear") {
        "none" => Ok(None),
        "linear" => Ok((factor != 1.0).then(|| json!({ "rope_type": "linear", "factor": factor }))),
        "yarn" => yarn(keys, factor).map(Some),
        other => Err(Error::Unsupported {
            path: keys.path.to_path_buf(),
            what: format!("rope scaling {other:?}"),
            advice: "Use a model with none, linear, yarn, longrope or llama3 scaling".into(),
        }),
    }
}

fn yarn(keys: Keys<'_>, factor: f64) -> Result<Value, Error> {
    let mut yarn = json!({
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": keys.count(&keys.own("rope.scaling.original_context_length"))?,
    });
    for (key, name) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
        if let Some(value) = keys.float(&keys.own(&format!("rope.scaling.{key}")))? {
            yarn[name] = json!(value);
        }
    }
    // llama.cpp multiplies YaRN's own 0.1 ln(factor) + 1 by this; Hugging Face's key holds the product.
    if let Some(extra) = keys.float(&keys.own("rope.scaling.attn_factor"))?.filter(|extra| *extra != 1.0) {
        yarn["attention_factor"] = json!(extra * (0.1 * factor.ln() + 1.0));
    }
    Ok(yarn)
}

/// Two tables, and between which windows; the factor of the frequencies is in the tables.
fn longrope(keys: Keys<'_>, factors: &Factors) -> Result<Value, Error> {
    let list = |table: &Option<Vec<f32>>, name: &str| match table {
        Some(table) => Ok(table.iter().map(|factor| shortest(*factor)).collect::<Vec<f64>>()),
        None => Err(keys.wrong(&format!("tensor {name}"), "a factor for each pair of a head", "nothing")),
    };
    let original = keys.count(&keys.own("rope.scaling.original_context_length"))?;
    let factor = keys.count(&keys.own("context_length"))? as f64 / original.max(1) as f64;
    let mut longrope = json!({
        "rope_type": "longrope",
        "factor": factor,
        "original_max_position_embeddings": original,
        "long_factor": list(&factors.long, super::LONG_FACTORS)?,
        "short_factor": list(&factors.short, super::SHORT_FACTORS)?,
    });
    if let Some(attention_factor) = keys.float(&keys.own("rope.scaling.attn_factor"))? {
        longrope["attention_factor"] = json!(attention_factor);
    }
    Ok(longrope)
}

/// 0.1 instead of 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Llama 3's scaling from the factors that `convert_hf_to_gguf.py` made of it. GGUF keeps only the factors: the
/// largest is `factor`; the other numbers are those that the file names beside its other keys, else the released ones,
/// tried with each usual original window until the factors agree.
fn llama3(keys: Keys<'_>, theta: f64, head_dim: usize, factors: &[f32]) -> Result<Value, Error> {
    let largest = factors.iter().copied().fold(1.0, f32::max);
    let factor = shortest(largest);
    let low = keys.float(&keys.own("rope.scaling.low_freq_factor"))?.unwrap_or(LOW);
    let high = keys.float(&keys.own("rope.scaling.high_freq_factor"))?.unwrap_or(HIGH);
    let named = keys.optional_count(&keys.own("rope.scaling.original_context_length"))?;
    let usual = (10..=17).map(|power| 1_usize << power).rev();
    let original = named.into_iter().chain(usual).find(|&original| {
        let expected = llama3_factors(theta, head_dim, factor, (low, high), original as f64);
        expected.len() == factors.len()
            && expected.iter().zip(factors).all(|(a, b)| (a - f64::from(*b)).abs() <= 1e-4 * a.abs())
    });
    match original {
        Some(original) => Ok(json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        })),
        None => Err(Error::Unsupported {
            path: keys.path.to_path_buf(),
            what: "a table of rope factors in tensor rope_freqs.weight that is not Llama 3's".into(),
            advice: "Use the model's Hugging Face files, whose config.json names the scaling".into(),
        }),
    }
}

const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;

/// What each inverse frequency is divided by (`LlamaModel.generate_extra_tensors` of the converter).
fn llama3_factors(theta: f64, head_dim: usize, factor: f64, (low, high): (f64, f64), original: f64) -> Vec<f64> {
    let of_wavelength = |wavelength: f64| {
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    let exponents = (0..head_dim / 2).map(|pair| 2.0 * pair as f64 / head_dim as f64);
    exponents.map(|exponent| of_wavelength(std::f64::consts::TAU * theta.powf(exponent))).collect()
}
