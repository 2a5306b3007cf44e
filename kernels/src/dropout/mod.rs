//! Dropout: `x · kept ÷ (1 − rate)`, elementwise.
//!
//! What is kept is a function of the seed and the element's index alone, so a backward pass finds the mask of its forward
//! pass again without storing it, on any device and any number of threads.

mod cpu;
pub mod cuda;
#[cfg(test)]
mod reference;

use crate::{expect_len, linear::Write};

/// Which elements are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mask {
    /// Names the draw.
    pub seed: u64,
    /// Probability of being left out, in [0, 1).
    pub rate: f32,
}

impl Mask {
    /// What element `index` is multiplied by: 0, or 1 ÷ (1 − rate).
    #[inline]
    pub fn factor(&self, index: u64) -> f32 {
        if bits(self.seed, index) >= self.threshold() { 1.0 / (1.0 - self.rate) } else { 0.0 }
    }

    /// The mask whose element 0 is element `first` of this one.
    #[must_use]
    pub fn from(self, first: u64) -> Mask {
        Mask { seed: self.seed.wrapping_add(first.wrapping_mul(STEP)), ..self }
    }

    /// Draws below this are left out.
    fn threshold(&self) -> u32 {
        (f64::from(self.rate) * 4_294_967_296.0) as u32
    }
}

/// y (+)= mask · x.
pub fn apply(mask: Mask, x: &[f32], y: &mut [f32], write: Write) {
    expect_len("y", y.len(), x.len());
    cpu::apply(mask, x, y, write);
}

/// How far splitmix64's state goes from draw to draw.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The `index`-th draw of a seed: the upper half of splitmix64.
#[inline(always)]
fn bits(seed: u64, index: u64) -> u32 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Random;

    #[test]
    fn equals_the_naive_one_and_adds_where_asked() {
        for len in [1, 63, 8192, 8193, 40_001] {
            let (x, before) = (Random::new(1).normal(len), Random::new(2).normal(len));
            for rate in [0.0, 0.05, 0.5, 0.9] {
                let mask = Mask { seed: len as u64, rate };
                let expected = reference::apply(mask, &x);
                let (mut set, mut added) = (vec![f32::NAN; len], before.clone());
                apply(mask, &x, &mut set, Write::Set);
                apply(mask, &x, &mut added, Write::Add);
                for i in 0..len {
                    assert!((f64::from(set[i]) - expected[i]).abs() <= 1e-6 * expected[i].abs());
                    let sum = expected[i] + f64::from(before[i]);
                    assert!((f64::from(added[i]) - sum).abs() <= 1e-5 * sum.abs().max(1.0));
                }
            }
        }
    }

    #[test]
    fn a_mask_goes_on_anywhere() {
        let mask = Mask { seed: 3, rate: 0.5 };
        for first in [0, 1, 77, 1 << 40] {
            assert!((0..100).all(|index| mask.from(first).factor(index) == mask.factor(first + index)), "{first}");
        }
    }

    #[test]
    fn as_many_are_left_out_as_the_rate_says_and_others_for_another_seed() {
        let kept = |seed, rate: f32| -> Vec<bool> {
            (0..100_000).map(|index| Mask { seed, rate }.factor(index) > 0.0).collect()
        };
        for rate in [0.05, 0.1, 0.5] {
            let share = kept(7, rate).iter().filter(|kept| !**kept).count() as f32 / 1e5;
            // Five standard deviations.
            assert!((share - rate).abs() < 5.0 * (rate * (1.0 - rate) / 1e5).sqrt(), "{share} for {rate}");
        }
        let same = kept(7, 0.5).iter().zip(kept(8, 0.5)).filter(|(a, b)| **a == *b).count() as f32 / 1e5;
        assert!((same - 0.5).abs() < 0.01, "masks of two seeds agree in {same}");
        assert!(kept(3, 0.0).into_iter().all(|kept| kept));
    }
}
