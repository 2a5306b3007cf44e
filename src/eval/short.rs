//! Abilities inside the native window: what extending a model's context cost there.

use serde::{Deserialize, Serialize};

use super::Perplexity;

/// Loss inside the native window, of the recipe's model and of the untouched one, on the same text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Short {
    /// The native window: tokens per piece.
    pub context: usize,
    /// Tokens scored by each model.
    pub tokens: usize,
    /// Mean −ln p per token of the recipe's model, in nats.
    pub nll: f64,
    /// Of the untouched model, under its own rope and full attention.
    pub base_nll: f64,
    /// How much worse the recipe's model is; negative where it is better.
    pub loss: f64,
    /// The most that passes.
    pub max_loss: f64,
    /// Whether it passes.
    pub kept: bool,
    /// How it was measured.
    pub protocol: super::Protocol,
}

impl Short {
    /// Compares two measurements of one text.
    pub fn new(model: &Perplexity, base: &Perplexity, max_loss: f64) -> Self {
        let loss = model.mean_nll - base.mean_nll;
        Self {
            context: model.context,
            tokens: model.tokens,
            nll: model.mean_nll,
            base_nll: base.mean_nll,
            loss,
            max_loss,
            // A loss that is no number is not kept.
            kept: loss <= max_loss,
            protocol: model.protocol.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Protocol;

    fn measured(mean_nll: f64) -> Perplexity {
        let protocol = Protocol::Pieces { documents: 2 };
        Perplexity { context: 64, tokens: 126, mean_nll, perplexity: mean_nll.exp(), bucket: 8, nll: vec![], protocol }
    }

    #[test]
    fn what_is_worse_by_more_is_not_kept() {
        let short = |model, base| Short::new(&measured(model), &measured(base), 0.25);
        assert!(short(2.25, 2.0).kept && short(1.0, 2.0).kept);
        assert!(!short(2.5, 2.0).kept);
        assert!(!short(f64::NAN, 2.0).kept && !short(2.0, f64::NAN).kept);
        assert_eq!(short(2.5, 2.0).loss, 0.5);
    }
}
