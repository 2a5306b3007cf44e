//! What kernels show is what a plan counts: patterns drawn at random, as parts, pair by pair.

use context_recipe::model::parts::parts;
use context_recipe::plan::Pattern;
use kernels::attention::Mask;

/// splitmix64.
struct Random(u64);

impl Random {
    /// A number from 1 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 33) as usize % most + 1
    }
}

const HEADS: usize = 8;
const KV_HEADS: usize = 4;

fn drawn(kind: usize, random: &mut Random) -> Pattern {
    match kind {
        0 => Pattern::Full,
        1 => Pattern::Window { window: random.up_to(80), sink: random.up_to(10) - 1 },
        2 => Pattern::Strided { block: random.up_to(9), stride: random.up_to(5), local: random.up_to(5) },
        3 => Pattern::ShiftedGroups { size: 2 * random.up_to(40) },
        4 => {
            let (retrieval, window, sink) = (random.up_to(16) as u64 - 1, random.up_to(40), random.up_to(9) - 1);
            Pattern::Duo { retrieval, kv_heads: KV_HEADS, window, sink }
        }
        5 => {
            let chunk = random.up_to(40);
            Pattern::DualChunk { chunk, farthest: chunk + random.up_to(chunk) - 1 }
        }
        _ => Pattern::SelfExtend { group: random.up_to(8), window: random.up_to(60) },
    }
}

/// How often each pair is seen, over all parts: by every head, every query, every key.
fn seen(pattern: Pattern, length: usize) -> Vec<usize> {
    let starts = vec![0; length];
    let mut times = vec![0; HEADS * length * length];
    for part in parts(pattern, HEADS, KV_HEADS) {
        let mask = Mask { patterns: part.patterns(), query_row: 0, key_row: 0, starts: &starts };
        for (head, row) in (0..HEADS).flat_map(|head| (0..length).map(move |row| (head, row))) {
            let keys = mask.ranges(head, row, length).flatten();
            keys.for_each(|key| times[(head * length + row) * length + key] += 1);
        }
    }
    times
}

#[test]
fn kernels_show_the_pairs_that_a_plan_counts() {
    let mut random = Random(1);
    for case in 0..210 {
        let (pattern, length) = (drawn(case % 7, &mut random), random.up_to(90));
        let times = seen(pattern, length);
        assert!(times.iter().all(|&times| times <= 1), "{pattern:?} at {length}: parts show a key twice");
        let pairs: usize = times.iter().sum();
        let planned = pattern.visible_pairs(length) * HEADS as f64;
        assert!(
            (pairs as f64 - planned).abs() < 1e-6,
            "{pattern:?} at {length}: {pairs} pairs, the plan counts {planned}"
        );
        for (n, _) in times.iter().enumerate().filter(|(_, times)| **times > 0) {
            assert!(n % length <= n / length % length, "{pattern:?} at {length}: a later key is seen");
        }
    }
}
