//! A layer's attention as kernels run it: one softmax over disjoint sets of keys, each set at its own rotary positions.
//!
//! Most patterns are one part at the tokens' own positions. Dual chunk attention has three parts and SelfExtend two, which
//! are joined by their log-sum-exp.

use kernels::attention::{Pattern as Sees, Patterns};
use recipe_core::Pattern;

/// One set of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    heads: Heads,
    /// Where queries and keys stand; at their own positions where there is nothing.
    pub places: Option<[Places; 2]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Heads {
    All(Sees),
    Each(Vec<Sees>),
}

/// Row i of a document stands at min(⌊i ÷ group⌋ mod chunk + behind, farthest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    group: usize,
    chunk: usize,
    behind: usize,
    farthest: usize,
}

impl Places {
    /// A row stands where it is.
    pub const OWN: Self = Self { group: 1, chunk: usize::MAX, behind: 0, farthest: usize::MAX };

    /// The position of row `row` of a document.
    pub fn of(self, row: usize) -> u32 {
        ((row / self.group % self.chunk).saturating_add(self.behind)).min(self.farthest) as u32
    }
}

impl Part {
    fn new(sees: Sees) -> Self {
        Self { heads: Heads::All(sees), places: None }
    }

    fn at(sees: Sees, query: Places, key: Places) -> Self {
        Self { places: Some([query, key]), ..Self::new(sees) }
    }

    /// What query heads see.
    pub fn patterns(&self) -> Patterns<'_> {
        match &self.heads {
            Heads::All(sees) => (*sees).into(),
            Heads::Each(each) => Patterns::PerHead(each),
        }
    }
}

/// The parts of a pattern for `heads` query heads that share `kv_heads` key/value heads.
pub fn parts(pattern: Pattern, heads: usize, kv_heads: usize) -> Vec<Part> {
    let each =
        |sees: &dyn Fn(usize) -> Sees| vec![Part { heads: Heads::Each((0..heads).map(sees).collect()), places: None }];
    match pattern {
        Pattern::Full => vec![Part::new(Sees::Full)],
        Pattern::Window { window, sink } => vec![Part::new(Sees::Window { window, sink })],
        Pattern::Strided { block, stride, local } => vec![Part::new(Sees::Strided { block, stride, local })],
        Pattern::ShiftedGroups { size } => {
            each(&|head| Sees::Group { size, shift: if head < heads / 2 { 0 } else { size / 2 } })
        }
        Pattern::Duo { window, sink, .. } => each(&|head| match pattern.streams(head * kv_heads / heads) {
            true => Sees::Window { window, sink },
            false => Sees::Full,
        }),
        Pattern::DualChunk { chunk, farthest } => dual_chunk(chunk, farthest),
        Pattern::SelfExtend { group, window } => {
            let far = Places { group, ..Places::OWN };
            let query = Places { behind: window - window / group, ..far };
            vec![
                Part::at(Sees::Window { window, sink: 0 }, Places::OWN, Places::OWN),
                Part::at(Sees::Beyond { window }, query, far),
            ]
        }
    }
}

/// Every place that the parts of some patterns ask for, once.
pub(crate) fn places(patterns: &[Pattern]) -> Vec<Places> {
    let mut found = vec![];
    for part in patterns.iter().filter(|pattern| pattern.remaps()).flat_map(|pattern| parts(*pattern, 1, 1)) {
        for places in part.places.into_iter().flatten() {
            if !found.contains(&places) {
                found.push(places);
            }
        }
    }
    found
}

/// Keys of the query's own chunk, of the one before, and of all others (arXiv 2402.17463, section 3).
fn dual_chunk(chunk: usize, farthest: usize) -> Vec<Part> {
    let key = Places { chunk, ..Places::OWN };
    let successive = Places { behind: chunk, farthest, ..key };
    let inter = Places { chunk: 1, behind: farthest, ..Places::OWN };
    let past = |nearest, farthest| Sees::Past { size: chunk, nearest, farthest };
    vec![
        Part::at(Sees::Group { size: chunk, shift: 0 }, key, key),
        Part::at(past(1, 1), successive, key),
        Part::at(past(2, usize::MAX), inter, key),
    ]
}

#[cfg(test)]
mod tests {
    use kernels::attention::{Mask, forward};

    use super::*;

    /// The distance at which a query sees a key; every pair is in exactly one part.
    fn distance(parts: &[Part], row: usize, key: usize) -> i64 {
        let starts = [0];
        let seen = parts.iter().filter(|part| {
            let mask = Mask { patterns: part.patterns(), query_row: row, key_row: 0, starts: &starts };
            mask.visible(0, 0, key)
        });
        let found: Vec<i64> = seen
            .map(|part| match part.places {
                Some([query, of_key]) => i64::from(query.of(row)) - i64::from(of_key.of(key)),
                None => row as i64 - key as i64,
            })
            .collect();
        assert_eq!(found.len(), 1, "row {row}, key {key}");
        found[0]
    }

    fn fixture() -> crate::hub::Weights {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/position_maps.safetensors"));
        let bytes = bytes.unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let floats = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
        let read = |view: &safetensors::tensor::TensorView<'_>| crate::hub::Tensor {
            shape: view.shape().to_vec(),
            data: view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        let distances = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::I64).map(|(name, view)| {
            let number = |b: &[u8]| i64::from_le_bytes(b.try_into().unwrap()) as f32;
            let data = view.data().chunks_exact(8).map(number).collect();
            (name.to_owned(), crate::hub::Tensor { shape: view.shape().to_vec(), data })
        });
        floats.map(|(name, view)| (name.to_owned(), read(&view))).chain(distances).collect()
    }

    const CASES: [(&str, Pattern); 4] = [
        ("plain", Pattern::Full),
        ("dual_chunk.paper", Pattern::DualChunk { chunk: 12, farthest: 15 }),
        ("dual_chunk.code", Pattern::DualChunk { chunk: 12, farthest: 16 }),
        ("self_extend", Pattern::SelfExtend { group: 3, window: 8 }),
    ];

    /// Distances computed apart, in Python, from the papers' formulas.
    #[test]
    fn distances_are_the_papers() {
        let fixture = fixture();
        for (name, pattern) in CASES {
            let (parts, expected) = (parts(pattern, 1, 1), fixture.get(&format!("{name}.distance")).unwrap());
            for row in 0..48 {
                for key in 0..=row {
                    let got = distance(&parts, row, key) as f32;
                    assert_eq!(got, expected.data[row * 48 + key], "{name}, row {row}, key {key}");
                }
            }
        }
    }

    /// Outputs computed in PyTorch with one softmax over the remapped scores.
    #[test]
    fn parts_join_to_one_softmax() {
        let fixture = fixture();
        let tensor = |name: &str| fixture.get(name).unwrap().data.clone();
        let shape = kernels::attention::Shape { queries: 48, keys: 48, heads: 1, kv_heads: 1, head_dim: 16 };
        let (starts, inv_freq) = ([0; 48], (0..8).map(|i| 10_000f64.powf(-f64::from(i) / 8.0)).collect::<Vec<_>>());
        let turned = |x: &str, places: Option<Places>| {
            let positions: Vec<u32> = (0..48).map(|row| places.unwrap_or(Places::OWN).of(row)).collect();
            let mut x = tensor(x);
            let tables = kernels::rope::Tables::new(&inv_freq, 1.0, &positions);
            kernels::rope::apply(&tables, 1, &mut x, kernels::rope::Direction::Forward);
            x
        };
        for (name, pattern) in CASES {
            let (mut out, mut lse) = (vec![0.0; 48 * 16], vec![f32::NEG_INFINITY; 48]);
            for part in parts(pattern, 1, 1) {
                let mask = Mask { patterns: part.patterns(), query_row: 0, key_row: 0, starts: &starts };
                let (q, k) = (turned("q", part.places.map(|p| p[0])), turned("k", part.places.map(|p| p[1])));
                let (mut more, mut more_lse) = (vec![0.0; 48 * 16], vec![0.0; 48]);
                forward(&shape, &mask, 0.25, &q, &k, &tensor("v"), &mut more, &mut more_lse);
                kernels::attention::merge(16, (&mut out, &mut lse), (&more, &more_lse));
            }
            for (got, expected) in out.iter().zip(tensor(&format!("{name}.out"))) {
                assert!((got - expected).abs() < 2e-6, "{name}: {got} instead of {expected}");
            }
        }
    }

    /// One softmax over remapped scores in f64: output, and the gradients of q, k and v for a gradient of the output.
    struct Naive {
        distance: Vec<f32>,
        inv_freq: Vec<f64>,
    }

    impl Naive {
        /// x turned by a distance.
        fn turn(&self, x: &[f64], distance: f64) -> Vec<f64> {
            let half = x.len() / 2;
            let turned = |i: usize| {
                let (sin, cos) = (distance * self.inv_freq[i % half]).sin_cos();
                if i < half { x[i] * cos - x[i + half] * sin } else { x[i] * cos + x[i - half] * sin }
            };
            (0..x.len()).map(turned).collect()
        }

        fn gradients(&self, [q, k, v, dout]: [&[f64]; 4], scale: f64) -> [Vec<f64>; 3] {
            let (rows, d) = (48, 16);
            let at = |x: &[f64], row: usize| x[row * d..(row + 1) * d].to_vec();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let mut grads = [vec![0.0; rows * d], vec![0.0; rows * d], vec![0.0; rows * d]];
            for i in 0..rows {
                let m = |j: usize| f64::from(self.distance[i * rows + j]);
                let scores: Vec<f64> = (0..=i).map(|j| scale * dot(&self.turn(&at(q, i), m(j)), &at(k, j))).collect();
                let total: f64 = scores.iter().map(|s| s.exp()).sum();
                let p: Vec<f64> = scores.iter().map(|s| s.exp() / total).collect();
                let dp: Vec<f64> = (0..=i).map(|j| dot(&at(dout, i), &at(v, j))).collect();
                let mean = dot(&p, &dp);
                for j in 0..=i {
                    let ds = scale * p[j] * (dp[j] - mean);
                    let (turned_k, turned_q) = (self.turn(&at(k, j), -m(j)), self.turn(&at(q, i), m(j)));
                    for c in 0..d {
                        grads[0][i * d + c] += ds * turned_k[c];
                        grads[1][j * d + c] += ds * turned_q[c];
                        grads[2][j * d + c] += p[j] * dout[i * d + c];
                    }
                }
            }
            grads
        }
    }

    /// The engine's way: each part's backward pass over the joint output and log-sum-exp, turned back and added up.
    #[test]
    fn gradients_of_parts_add_up() {
        let fixture = fixture();
        let tensor = |name: &str| fixture.get(name).unwrap().data.clone();
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (q, k, v) = (tensor("q"), tensor("k"), tensor("v"));
        let dout: Vec<f32> = (0..48 * 16).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let inv_freq: Vec<f64> = (0..8).map(|i| 10_000f64.powf(-f64::from(i) / 8.0)).collect();
        for (name, pattern) in CASES {
            let naive = Naive { distance: tensor(&format!("{name}.distance")), inv_freq: inv_freq.clone() };
            let expected = naive.gradients([&wide(&q), &wide(&k), &wide(&v), &wide(&dout)], 0.25);
            let got = joint_gradients(pattern, &inv_freq, [&q, &k, &v, &dout]);
            for (what, (got, expected)) in ["dq", "dk", "dv"].into_iter().zip(got.iter().zip(&expected)) {
                let largest = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
                let worst = got.iter().zip(expected).fold(0f64, |worst, (a, b)| worst.max((f64::from(*a) - b).abs()));
                assert!(worst / largest < 2e-5, "{name}, {what}: {worst} of {largest}");
            }
        }
    }

    fn joint_gradients(pattern: Pattern, inv_freq: &[f64], [q, k, v, dout]: [&[f32]; 4]) -> [Vec<f32>; 3] {
        use kernels::attention::{backward, merge};
        use kernels::rope::Direction::{Backward, Forward};
        let shape = kernels::attention::Shape { queries: 48, keys: 48, heads: 1, kv_heads: 1, head_dim: 16 };
        let starts = [0; 48];
        let turn = |x: &[f32], places: Places, direction| {
            let positions: Vec<u32> = (0..48).map(|row| places.of(row)).collect();
            let mut x = x.to_vec();
            kernels::rope::apply(&kernels::rope::Tables::new(inv_freq, 1.0, &positions), 1, &mut x, direction);
            x
        };
        let parts = parts(pattern, 1, 1);
        let mask = |part| -> Mask<'_> {
            let part: &Part = part;
            Mask { patterns: part.patterns(), query_row: 0, key_row: 0, starts: &starts }
        };
        let places = |part: &Part| part.places.unwrap_or([Places::OWN; 2]);
        let (mut out, mut lse) = (vec![0.0; 48 * 16], vec![f32::NEG_INFINITY; 48]);
        for part in &parts {
            let [query, key] = places(part);
            let (mut more, mut more_lse) = (vec![0.0; 48 * 16], vec![0.0; 48]);
            let (q, k) = (turn(q, query, Forward), turn(k, key, Forward));
            forward(&shape, &mask(part), 0.25, &q, &k, v, &mut more, &mut more_lse);
            merge(16, (&mut out, &mut lse), (&more, &more_lse));
        }
        let mut total = [vec![0.0; 48 * 16], vec![0.0; 48 * 16], vec![0.0; 48 * 16]];
        for part in &parts {
            let [query, key] = places(part);
            let mut grads = [vec![0.0; 48 * 16], vec![0.0; 48 * 16], vec![0.0; 48 * 16]];
            let [dq, dk, dv] = &mut grads;
            let (q, k) = (turn(q, query, Forward), turn(k, key, Forward));
            backward(&shape, &mask(part), 0.25, &q, &k, v, &out, &lse, dout, dq, dk, dv);
            let grads = [turn(dq, query, Backward), turn(dk, key, Backward), dv.clone()];
            for (total, grad) in total.iter_mut().zip(grads) {
                total.iter_mut().zip(grad).for_each(|(total, grad)| *total += grad);
            }
        }
        total
    }
}
