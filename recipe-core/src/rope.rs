//! The rotary laws: `inv_freq` and the attention factor, as transformers computes them, in f64.
//!
//! Pair `i` of a head turns by `position × inv_freq[i]`; the attention factor multiplies cos and sin, so scores get its
//! square. Everything is a function of the plan, but for `dynamic`, whose base follows the length at hand.

use std::f64::consts::TAU;

use crate::model::Llama;
use crate::plan::RopePlan;
use crate::recipe::LongRopeFactors;
use crate::scaling::Scaling;

impl RopePlan {
    /// The law that `model` was released with.
    pub fn native(model: &Llama) -> Self {
        Self { theta: model.rope_theta, scaling: model.rope_scaling.clone(), head_dim: model.head_dim }
    }

    /// Under E2-LLM's `stretch`, the base's own frequencies divided by it; else this law.
    #[must_use]
    pub fn stretched(&self, stretch: Option<u32>) -> Self {
        match stretch {
            None => self.clone(),
            Some(scale) => Self { scaling: Scaling::Linear { factor: f64::from(scale) }, ..self.clone() },
        }
    }

    /// Radians per position of each of the head_dim ÷ 2 pairs, for a sequence of `length` tokens.
    pub fn inv_freq(&self, length: usize) -> Vec<f64> {
        match &self.scaling {
            Scaling::LongRope { short, long, original, .. } => {
                let factors = if length > *original { long } else { short };
                self.geometric(self.theta).iter().zip(factors.iter()).map(|(f, factor)| f / factor).collect()
            }
            Scaling::Default => self.geometric(self.theta),
            &Scaling::Linear { factor } => self.geometric(self.theta).iter().map(|f| f / factor).collect(),
            &Scaling::Dynamic { factor, original } => {
                let ratio = length.max(original) as f64 / original.max(1) as f64;
                self.geometric(ntk_theta(self.theta, factor * ratio - (factor - 1.0), self.head_dim))
            }
            &Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
                let range = self.correction_range(original, beta_fast, beta_slow, truncate);
                let blend = |(pair, f): (usize, &f64)| mix(f / factor, *f, 1.0 - ramp(pair, range));
                self.geometric(self.theta).iter().enumerate().map(blend).collect()
            }
            &Scaling::Llama3 { factor, low, high, original } => {
                let part = |f: &f64| mix(f / factor, *f, llama3_kept(*f, low, high, original));
                self.geometric(self.theta).iter().map(part).collect()
            }
        }
    }

    /// What cos and sin are multiplied by.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } | Scaling::LongRope { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// `theta^(−2i/d)`.
    fn geometric(&self, theta: f64) -> Vec<f64> {
        let dim = self.head_dim as f64;
        (0..self.head_dim / 2).map(|pair| theta.powf(-2.0 * pair as f64 / dim)).collect()
    }

    /// The pairs between which YaRN blends (arXiv 2309.00071, and its code, which is linear in the pair's index).
    fn correction_range(&self, original: usize, fast: f64, slow: f64, truncate: bool) -> (f64, f64) {
        let dim = self.head_dim as f64;
        let pair = |turns: f64| dim * (original as f64 / (turns * TAU)).ln() / (2.0 * self.theta.ln());
        let (low, high) = if truncate { (pair(fast).floor(), pair(slow).ceil()) } else { (pair(fast), pair(slow)) };
        (low.max(0.0), high.min(dim - 1.0))
    }
}

impl Scaling {
    /// LongRoPE's law from the window `original` to `target`.
    pub fn longrope(factors: &LongRopeFactors, target: usize, original: usize) -> Self {
        let factor = target as f64 / original.max(1) as f64;
        Self::LongRope {
            short: factors.short.clone().into(),
            long: factors.long.clone().into(),
            factor,
            original,
            attention_factor: factors.attention_factor.unwrap_or_else(|| longrope_attention_factor(factor, original)),
        }
    }
}

/// The base that divides the lowest frequency by exactly `scale` and keeps the highest: θ·s^(d/(d−2)).
pub(crate) fn ntk_theta(theta: f64, scale: f64, head_dim: usize) -> f64 {
    let dim = head_dim as f64;
    theta * scale.powf(dim / (dim - 2.0))
}

/// YaRN's attention factor: 0.1·ln(s) + 1.
pub(crate) fn yarn_attention_factor(scale: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * scale.ln() + 1.0 }
}

/// LongRoPE's attention factor: √(1 + ln s ÷ ln original).
pub(crate) fn longrope_attention_factor(scale: f64, original: usize) -> f64 {
    if scale <= 1.0 { 1.0 } else { (1.0 + scale.ln() / (original.max(2) as f64).ln()).sqrt() }
}

/// 0 below the range, 1 above it.
fn ramp(pair: usize, (low, high): (f64, f64)) -> f64 {
    // Both ends may coincide; transformers moves them apart by the same amount.
    let high = if low == high { high + 0.001 } else { high };
    ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0)
}

/// How much of frequency `f` Llama 3.1 keeps: 1 for short waves, 0 for long ones.
fn llama3_kept(f: f64, low: f64, high: f64, original: usize) -> f64 {
    let turns = original as f64 * f / TAU;
    ((turns - low) / (high - low)).clamp(0.0, 1.0)
}

/// `share` of `kept` and the rest of `scaled`.
fn mix(scaled: f64, kept: f64, share: f64) -> f64 {
    (1.0 - share) * scaled + share * kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn scaling(case: &Value) -> Scaling {
        let words = &case["rope_parameters"];
        let number = |key: &str, default: f64| words[key].as_f64().unwrap_or(default);
        let original = case["original_context"].as_u64().unwrap() as usize;
        let factor = number("factor", 1.0);
        match words["rope_type"].as_str().unwrap() {
            "default" => Scaling::Default,
            "linear" => Scaling::Linear { factor },
            "dynamic" => Scaling::Dynamic { factor, original },
            "yarn" => Scaling::Yarn {
                factor,
                original,
                beta_fast: number("beta_fast", 32.0),
                beta_slow: number("beta_slow", 1.0),
                attention_factor: number("attention_factor", yarn_attention_factor(factor)),
                truncate: true,
            },
            "longrope" => {
                let list = |key: &str| words[key].as_array().unwrap().iter().map(|f| f.as_f64().unwrap()).collect();
                let attention_factor = longrope_attention_factor(factor, original);
                Scaling::LongRope {
                    short: list("short_factor"),
                    long: list("long_factor"),
                    factor,
                    original,
                    attention_factor,
                }
            }
            "llama3" => Scaling::Llama3 {
                factor,
                low: number("low_freq_factor", 1.0),
                high: number("high_freq_factor", 4.0),
                original,
            },
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_law_equals_transformers() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../tests/fixtures/rope.json")).unwrap();
        let mut checked = 0;
        for case in &cases {
            let scaling = scaling(case);
            let head_dim = case["head_dim"].as_u64().unwrap() as usize;
            let rope = RopePlan { theta: case["rope_theta"].as_f64().unwrap(), scaling, head_dim };
            let ours = rope.inv_freq(case["seq_len"].as_u64().unwrap_or(4096) as usize);
            let theirs = case["inv_freq"].as_array().unwrap();
            assert_eq!(ours.len(), theirs.len());
            for (pair, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let theirs = theirs.as_f64().unwrap();
                assert!((ours - theirs).abs() <= 1e-6 * theirs, "{} pair {pair}: {ours} {theirs}", case["name"]);
            }
            let factor = case["attention_factor"].as_f64().unwrap();
            assert!((rope.attention_factor() - factor).abs() < 1e-12, "{}", case["name"]);
            checked += 1;
        }
        assert_eq!(checked, cases.len());
    }

    /// arXiv 2309.00071's code and transformers 5.23.0 at pair 32.
    #[test]
    fn yarn_without_truncation() {
        let yarn = |truncate| RopePlan {
            theta: 1e4,
            scaling: Scaling::Yarn {
                factor: 8.0,
                original: 4096,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor: yarn_attention_factor(8.0),
                truncate,
            },
            head_dim: 128,
        };
        assert!((yarn(true).inv_freq(1)[32] - 5.96154e-3).abs() < 1e-8);
        assert!((yarn(false).inv_freq(1)[32] - 5.98313e-3).abs() < 1e-8);
        assert!((yarn(true).attention_factor() - 1.207944).abs() < 1e-6);
    }

    #[test]
    fn ntk_divides_the_lowest_frequency_by_the_scale() {
        let plain = RopePlan { theta: 1e4, scaling: Scaling::Default, head_dim: 128 };
        let ntk = RopePlan { theta: ntk_theta(1e4, 8.0, 128), ..plain.clone() };
        assert!((ntk.theta - 82_684.0).abs() < 1.0);
        assert!((plain.inv_freq(1)[63] / ntk.inv_freq(1)[63] - 8.0).abs() < 1e-9);
        assert_eq!(ntk.inv_freq(1)[0], 1.0);
    }
}
