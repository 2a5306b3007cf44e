//! From logits to a token.

use thiserror::Error as ThisError;

use crate::data::Rng;

/// How the next token is drawn from the logits: temperature, then `top_k`, then `top_p`.
///
/// The same seed, logits and place in the answer give the same token on every machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    temperature: f64,
    top_p: f64,
    top_k: Option<usize>,
    seed: u64,
}

/// A sampling parameter out of its range.
#[derive(Clone, Copy, Debug, PartialEq, ThisError)]
pub enum SamplingError {
    /// Negative or not a number.
    #[error("temperature is {0}; give a number from 0 (always the most likely token) up, usually at most 1")]
    Temperature(f64),
    /// Out of (0, 1].
    #[error("top_p is {0}; give a share of the probability above 0 and at most 1 (1 keeps every token)")]
    TopP(f64),
    /// No token to choose from.
    #[error("top_k is 0, which leaves no token to choose from; give at least 1, or leave it out to keep every token")]
    TopK,
}

impl Sampling {
    /// Always the most likely token; of equals, the lowest id.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: None, seed: 0 }
    }

    /// Softmax of logits ÷ `temperature` over the `top_k` most likely tokens, cut to the fewest that together reach
    /// `top_p`. A temperature of 0 is [`Sampling::greedy`].
    ///
    /// # Errors
    /// A parameter out of its range.
    pub fn new(temperature: f64, top_p: f64, top_k: Option<usize>, seed: u64) -> Result<Self, SamplingError> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(SamplingError::Temperature(temperature));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplingError::TopP(top_p));
        }
        if top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        Ok(Self { temperature, top_p, top_k, seed })
    }

    /// The token number `step` of the answer.
    pub(super) fn pick(&self, logits: &[f32], step: u64) -> u32 {
        if self.temperature == 0.0 {
            return most_likely(logits);
        }
        let kept = self.kept(logits);
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        // 53 bits make an even number in [0, 1).
        let draw = (Rng::new(&[self.seed, step]).bits() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = draw * total;
        let hit = kept.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little behind the last one.
        hit.or(kept.last()).map_or(0, |&(token, _)| token)
    }

    /// The tokens to choose from, most likely first where an order matters, with weights relative to the first.
    fn kept(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if let Some(k) = self.top_k.filter(|&k| k < order.len()) {
            order.select_nth_unstable_by(k, by_logit);
            order.truncate(k);
        }
        if self.top_p < 1.0 {
            order.sort_unstable_by(by_logit);
        }
        let highest = f64::from(logits[most_likely(logits) as usize]);
        let weight = |&token: &u32| ((f64::from(logits[token as usize]) - highest) / self.temperature).exp();
        let mut kept: Vec<(u32, f64)> = order.iter().map(|token| (*token, weight(token))).collect();
        if self.top_p < 1.0 {
            kept.truncate(nucleus(&kept, self.top_p));
        }
        kept
    }
}

/// How many of the most likely tokens it takes to reach `share` of the whole weight.
fn nucleus(sorted: &[(u32, f64)], share: f64) -> usize {
    let mut missing = share * sorted.iter().map(|(_, weight)| weight).sum::<f64>();
    let reached = sorted.iter().position(|(_, weight)| {
        missing -= weight;
        missing <= 0.0
    });
    reached.map_or(sorted.len(), |index| index + 1)
}

/// The first of the highest.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_p: f64, top_k: Option<usize>, seed: u64) -> Sampling {
        Sampling::new(temperature, top_p, top_k, seed).unwrap()
    }

    /// How often each of four tokens is drawn.
    fn shares(of: impl Fn(u64) -> Sampling) -> [f64; 4] {
        const DRAWS: u64 = 20_000;
        let logits = [0.0, 2f32.ln(), 4f32.ln(), 1f32.ln()];
        let mut shares = [0.0; 4];
        (0..DRAWS).for_each(|seed| shares[of(seed).pick(&logits, seed % 7) as usize] += 1.0 / DRAWS as f64);
        shares
    }

    fn close(got: [f64; 4], expected: [f64; 4]) {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.015), "{got:?}, expected {expected:?}");
    }

    #[test]
    fn of_equals_greedy_takes_the_lowest() {
        assert_eq!(Sampling::greedy().pick(&[1.0, 3.0, -2.0, 3.0], 0), 1);
        assert_eq!(sampling(0.0, 0.5, Some(2), 1).pick(&[f32::NEG_INFINITY; 3], 0), 0);
    }

    #[test]
    fn draws_follow_the_softmax() {
        close(shares(|seed| sampling(1.0, 1.0, None, seed)), [0.125, 0.25, 0.5, 0.125]);
        // Logits ÷ ½: weights 1, 4, 16, 1.
        close(shares(|seed| sampling(0.5, 1.0, None, seed)), [1.0 / 22.0, 4.0 / 22.0, 16.0 / 22.0, 1.0 / 22.0]);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        close(shares(|seed| sampling(1.0, 1.0, Some(2), seed)), [0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0]);
        // Of equals the lower id stays.
        close(shares(|seed| sampling(1.0, 1.0, Some(3), seed)), [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0, 0.0]);
        close(shares(|seed| sampling(1.0, 0.7, None, seed)), [0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0]);
        close(shares(|seed| sampling(1.0, 0.4, None, seed)), [0.0, 0.0, 1.0, 0.0]);
        // top_p counts what top_k left: ⅔ is reached by one token.
        close(shares(|seed| sampling(1.0, 0.6, Some(2), seed)), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(sampling(1e-300, 1.0, None, 3).pick(&[1.0, 2.0, 1.5], 0), 1);
    }

    #[test]
    fn parameters_out_of_range_say_what_to_give() {
        let says = |temperature, top_p, top_k| Sampling::new(temperature, top_p, top_k, 0).unwrap_err().to_string();
        assert!(says(-0.5, 1.0, None).contains("temperature is -0.5"));
        assert!(says(f64::NAN, 1.0, None).contains("temperature is NaN"));
        for top_p in [0.0, 1.5, f64::NAN] {
            assert!(says(1.0, top_p, None).contains("at most 1"), "{top_p}");
        }
        assert!(says(1.0, 1.0, Some(0)).contains("top_k is 0"));
    }
}
