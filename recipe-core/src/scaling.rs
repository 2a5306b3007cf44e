//! What a law does to rotary frequencies.

use serde::{Deserialize, Serialize};

use crate::list::List;

/// `rope_type` and its parameters, as transformers computes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scaling {
    /// `default`.
    Default,
    /// `linear`.
    Linear {
        /// `factor`.
        factor: f64,
    },
    /// `dynamic`: the base follows the current length.
    Dynamic {
        /// `factor`.
        factor: f64,
        /// The original window; below it nothing changes.
        original: usize,
    },
    /// `yarn`.
    Yarn {
        /// `factor`.
        factor: f64,
        /// `original_max_position_embeddings`.
        original: usize,
        /// `beta_fast`.
        beta_fast: f64,
        /// `beta_slow`.
        beta_slow: f64,
        /// `attention_factor`, multiplied into cos and sin.
        attention_factor: f64,
        /// `truncate`.
        truncate: bool,
    },
    /// `longrope`: a factor for each pair.
    LongRope {
        /// `short_factor`, up to the original window.
        short: List<f64>,
        /// `long_factor`, beyond it.
        long: List<f64>,
        /// `factor`.
        factor: f64,
        /// `original_max_position_embeddings`.
        original: usize,
        /// `attention_factor`.
        attention_factor: f64,
    },
    /// `llama3`.
    Llama3 {
        /// `factor`.
        factor: f64,
        /// `low_freq_factor`.
        low: f64,
        /// `high_freq_factor`.
        high: f64,
        /// `original_max_position_embeddings`.
        original: usize,
    },
}

impl Scaling {
    /// Whether frequencies depend on the length at hand.
    pub fn follows_length(&self) -> bool {
        matches!(self, Self::Dynamic { .. } | Self::LongRope { .. })
    }

    /// Hugging Face's `rope_type`.
    pub fn rope_type(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Linear { .. } => "linear",
            Self::Dynamic { .. } => "dynamic",
            Self::Yarn { .. } => "yarn",
            Self::LongRope { .. } => "longrope",
            Self::Llama3 { .. } => "llama3",
        }
    }
}
