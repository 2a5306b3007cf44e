//! Random numbers that depend on nothing but their keys: the same on every machine, reachable in any order.

/// SplitMix64 (Steele, Lea and Flood 2014) started from a hash of several keys.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Rng {
    /// The stream of these keys; another order or number of keys is another stream.
    pub fn new(keys: &[u64]) -> Self {
        let start = mix(keys.len() as u64 ^ GOLDEN);
        let state =
            keys.iter().fold(start, |state, key| mix(state ^ mix(key.wrapping_add(GOLDEN))).wrapping_add(GOLDEN));
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 when the bound is 0. The bias is below bound ÷ 2⁶⁴.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_stream_is_fixed_for_ever() {
        let mut rng = Rng::new(&[1, 2, 3]);
        let first = [rng.bits(), rng.bits()];
        assert_eq!(first, FIRST);
    }

    const FIRST: [u64; 2] = [3_548_741_894_918_896_553, 7_347_429_610_360_747_900];

    #[test]
    fn keys_matter_in_order_and_number() {
        let first = |keys: &[u64]| Rng::new(keys).bits();
        let all = [first(&[]), first(&[0]), first(&[0, 0]), first(&[0, 1]), first(&[1, 0]), first(&[1])];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn below_is_even() {
        let mut rng = Rng::new(&[7]);
        let mut counts = [0_usize; 10];
        (0..100_000).for_each(|_| counts[rng.below(10)] += 1);
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 400), "{counts:?}");
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_even() {
        let mut firsts = [0_usize; 5];
        for seed in 0..10_000 {
            let mut items = [0, 1, 2, 3, 4];
            Rng::new(&[seed]).shuffle(&mut items);
            firsts[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        assert!(firsts.iter().all(|&count| count.abs_diff(2_000) < 200), "{firsts:?}");
    }
}
