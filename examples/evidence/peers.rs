//! What transformers finds on the same tokens; `benches/peers/perplexity.py` writes it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/evidence/peers/smollm2.json")
}

/// Perplexity of SmolLM2-135M under a law; not a number where it was not measured.
pub(crate) fn perplexity(law: &str) -> f64 {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    found["perplexity"][law].as_f64().unwrap_or(f64::NAN)
}
