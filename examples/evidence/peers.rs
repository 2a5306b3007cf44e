//! What transformers finds on the same tokens; `benches/peers/perplexity.py` writes it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::record::rounded;

pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/evidence/peers/smollm2.json")
}

/// Perplexity of SmolLM2-135M under a law, where it was measured on the tokens with this sum; not a number otherwise.
pub(crate) fn perplexity(law: &str, token_sum: f64) -> f64 {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    let same = found["token_sum"].as_f64().is_some_and(|sum| rounded(sum) == token_sum);
    found["perplexity"][law].as_f64().filter(|_| same).unwrap_or(f64::NAN)
}
