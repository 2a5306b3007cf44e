//! Attention under every pattern, in every way rows can be given.

use super::{Gpu, Random, close, close_sum, emulate, normal, rounded};
use crate::attention::cuda::{Attention, Visible};
use crate::attention::{Mask, Shape, reference};
use crate::conformance::attention::{PATTERNS, square, starts};
use crate::conformance::cast;

/// Inputs of one call, bf16 numbers.
struct Case {
    shape: Shape,
    scale: f32,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// The results that inputs lead to: of a plain program that stores bf16, and exact.
struct Expected {
    out: (Vec<f32>, Vec<f64>),
    lse: (Vec<f32>, Vec<f64>),
}

impl Case {
    fn new(seed: u64, [queries, keys, heads, kv_heads, head_dim]: [usize; 5]) -> Case {
        let shape = Shape { queries, keys, heads, kv_heads, head_dim };
        let mut random = Random::new(seed);
        let (query, key) = (queries * heads * head_dim, keys * kv_heads * head_dim);
        let scale = (head_dim as f32).powf(-0.5);
        let q = normal(&mut random, query);
        Case { shape, scale, q, k: normal(&mut random, key), v: normal(&mut random, key) }
    }

    fn expected(&self, mask: &Mask) -> Expected {
        let inputs = [&self.q, &self.k, &self.v].map(|v| cast::<f64>(v));
        let inputs = [&inputs[0][..], &inputs[1], &inputs[2]];
        let exact = reference::forward(&self.shape, mask, f64::from(self.scale), inputs);
        let plain = super::plain::forward(&self.shape, mask, self.scale, [&self.q, &self.k, &self.v]);
        Expected { out: (plain.0, exact.0), lse: (plain.1, exact.1) }
    }

    fn check(&self, gpu: &Gpu, mask: &Mask, expected: &Expected) {
        let op = Attention { head_dim: self.shape.head_dim };
        let visible = Visible::new(gpu.queue(), mask, &self.shape).expect("lists");
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|values| gpu.bf16(values));
        let (out, lse) = (gpu.room(2 * self.q.len()), gpu.room(4 * self.shape.queries * self.shape.heads));
        let inputs = [q.all(), k.all(), v.all()];
        op.forward(gpu.queue(), &visible, self.scale, inputs, (out.all(), lse.all()))
            .unwrap_or_else(|error| panic!("{:?} under {mask:?}: {error}", self.shape));
        let what = |part: &str| format!("{part} of {:?} under {mask:?}", self.shape);
        close(&what("out"), &gpu.read_bf16(&out), &expected.out.0, &expected.out.1, 2.0);
        close_sum(&what("lse"), &gpu.read_f32(&lse), &expected.lse.0, &expected.lse.1, 2.0, 1.0);
    }

    fn run(&self, mask: &Mask) {
        let expected = self.expected(mask);
        emulate(|gpu| self.check(gpu, mask, &expected));
    }
}

/// Lengths around every tile border, head sizes, shared heads.
#[test]
fn shapes() {
    use crate::attention::Pattern;
    for sizes in [
        [1, 1, 1, 1, 16],
        [2, 2, 4, 2, 32],
        [63, 63, 1, 1, 64],
        [64, 64, 2, 2, 128],
        [65, 65, 3, 1, 64],
        [129, 129, 2, 1, 128],
        [200, 200, 2, 2, 80],
    ] {
        Case::new(sizes[0] as u64, sizes).run(&square(Pattern::Full, &vec![0; sizes[0]]));
    }
}

/// Every pattern over several tiles, with and without documents.
#[test]
fn patterns() {
    let t = 260;
    let case = Case::new(11, [t, t, 2, 1, 64]);
    for starts in [vec![0; t], starts(t, &[1, 2, 63, 130, 131, 209])] {
        for pattern in PATTERNS {
            case.run(&square(pattern, &starts));
        }
    }
}
