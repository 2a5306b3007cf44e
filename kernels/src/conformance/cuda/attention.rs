//! Attention under every pattern, in every way rows can be given.

use super::{Gpu, Random, close, close_sum, emulate, normal};
use crate::attention::cuda::{Attention, Passes, Saved, Visible};
use crate::attention::{Mask, Pattern, Patterns, Shape, reference};
use crate::conformance::attention::{PATTERNS, square, starts};
use crate::conformance::cast;
use crate::conformance::heads::MIXES;

/// The ways of the backward pass.
const BACKWARD: [Passes; 2] = [Passes::Backward, Passes::Deterministic];

/// Inputs of one call, bf16 numbers.
pub(super) struct Case {
    pub(super) shape: Shape,
    scale: f32,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dout: Vec<f32>,
}

/// What inputs lead to: by a plain program that stores bf16, and exactly.
pub(super) struct Expected {
    out: (Vec<f32>, Vec<f64>),
    lse: (Vec<f32>, Vec<f64>),
    gradients: [(Vec<f32>, Vec<f64>); 3],
}

impl Case {
    pub(super) fn new(seed: u64, [queries, keys, heads, kv_heads, head_dim]: [usize; 5]) -> Case {
        let shape = Shape { queries, keys, heads, kv_heads, head_dim };
        let mut random = Random::new(seed);
        let (query, key) = (queries * heads * head_dim, keys * kv_heads * head_dim);
        let mut draw = |len| normal(&mut random, len);
        let scale = (head_dim as f32).powf(-0.5);
        Case { shape, scale, q: draw(query), k: draw(key), v: draw(key), dout: draw(query) }
    }

    pub(super) fn expected(&self, mask: &Mask) -> Expected {
        let given = [&self.q[..], &self.k, &self.v, &self.dout];
        let exact = given.map(cast::<f64>);
        let [q, k, v, dout] = [&exact[0][..], &exact[1], &exact[2], &exact[3]];
        let scale = f64::from(self.scale);
        let (out, lse) = reference::forward(&self.shape, mask, scale, [q, k, v]);
        let (plain_out, plain_lse) =
            super::plain::forward(&self.shape, mask, self.scale, [given[0], given[1], given[2]]);
        let plain = super::plain::backward(&self.shape, mask, self.scale, given);
        let exact = reference::backward(&self.shape, mask, scale, [q, k, v, dout]);
        let [dq, dk, dv] = plain;
        let [dq_exact, dk_exact, dv_exact] = exact;
        let gradients = [(dq, dq_exact), (dk, dk_exact), (dv, dv_exact)];
        Expected { out: (plain_out, out), lse: (plain_lse, lse), gradients }
    }

    /// Forward, in `parts`, and backward in one of its ways.
    pub(super) fn check(&self, gpu: &Gpu, mask: &Mask, expected: &Expected, parts: Option<usize>, passes: Passes) {
        let Mask { patterns, query_row, key_row, .. } = mask;
        let place = format!("{patterns:?}, rows {query_row} and {key_row}, parts {parts:?}, {passes:?}");
        let what = |part: &str| format!("{part} of {:?} under {place}", self.shape);
        let op = Attention { head_dim: self.shape.head_dim };
        let queue = gpu.queue();
        let lists = |passes| Visible::new(queue, mask, &self.shape, passes).expect("lists");
        let visible = lists(passes);
        let [q, k, v, dout] = [&self.q, &self.k, &self.v, &self.dout].map(|values| gpu.bf16(values));
        let (out, lse) = (gpu.room(2 * self.q.len()), gpu.room(4 * self.shape.queries * self.shape.heads));
        let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
        let done = match parts {
            None => op.forward(queue, &visible, self.scale, inputs, outputs),
            Some(parts) => {
                let scratch = gpu.room(op.split_bytes(&self.shape, parts) as usize);
                let split = lists(Passes::Split);
                op.forward_split(queue, &split, self.scale, inputs, outputs, (parts, scratch.all()))
            }
        };
        done.unwrap_or_else(|error| panic!("{}: {error}", what("forward")));
        close(&what("out"), &gpu.read_bf16(&out), &expected.out.0, &expected.out.1, 2.0);
        close_sum(&what("lse"), &gpu.read_f32(&lse), &expected.lse.0, &expected.lse.1, 2.0, 1.0);
        let scratch = gpu.room(op.backward_bytes(&self.shape, passes) as usize);
        let gradients = [&self.q, &self.k, &self.v].map(|like| gpu.room(2 * like.len()));
        let to = [gradients[0].all(), gradients[1].all(), gradients[2].all()];
        let saved = Saved { q: q.all(), k: k.all(), v: v.all(), out: out.all(), lse: lse.all(), dout: dout.all() };
        op.backward(queue, &visible, self.scale, saved, to, scratch.all())
            .unwrap_or_else(|error| panic!("{}: {error}", what("backward")));
        for (i, name) in ["dq", "dk", "dv"].into_iter().enumerate() {
            let (plain, exact) = &expected.gradients[i];
            close_sum(&what(name), &gpu.read_bf16(&gradients[i]), plain, exact, 3.0, self.terms()[i]);
        }
    }

    /// Sizes of the terms that gradients are sums and differences of, as for the CPU: where one key is visible the plain
    /// program's cancel exactly.
    fn terms(&self) -> [f64; 3] {
        let rms = |values: &[f32]| crate::conformance::rms(&cast::<f64>(values));
        let group = (self.shape.heads / self.shape.kv_heads) as f64;
        let difference = rms(&self.dout) * rms(&self.v) * rms(&self.k).max(rms(&self.q));
        [difference, group * difference, group * rms(&self.dout)]
    }

    fn run(&self, mask: &Mask) {
        let expected = self.expected(mask);
        emulate(|gpu| BACKWARD.into_iter().for_each(|passes| self.check(gpu, mask, &expected, None, passes)));
    }
}

/// Lengths around every tile border, head sizes, shared heads.
#[test]
fn shapes() {
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

/// Every pattern over several tiles.
#[test]
fn patterns() {
    let case = Case::new(11, [260, 260, 2, 1, 64]);
    for pattern in PATTERNS {
        case.run(&square(pattern, &[0; 260]));
    }
}

/// Document borders inside, on and around tiles; documents of one token.
#[test]
fn documents() {
    let case = Case::new(12, [210, 210, 1, 1, 32]);
    for borders in [&[1, 2, 3, 70][..], &[63, 64, 128, 131, 209]] {
        let starts = starts(210, borders);
        for pattern in PATTERNS {
            case.run(&square(pattern, &starts));
        }
    }
}

/// Heads with patterns of their own, also within a key/value head.
#[test]
fn mixed_heads() {
    let starts = starts(170, &[1, 75]);
    for kv_heads in [1, 2, 6] {
        let case = Case::new(21, [170, 170, 6, kv_heads, 32]);
        for patterns in &MIXES {
            case.run(&Mask { patterns: Patterns::PerHead(patterns), query_row: 0, key_row: 0, starts: &starts });
        }
    }
}

/// Queries and keys as pieces of a longer sequence, in one go and split over keys: decoding, prefill in chunks, keys of
/// another piece, none visible.
#[test]
fn offsets_and_splits() {
    for (queries, keys, query_row, key_row, start) in [
        (1, 300, 299, 0, 120),
        (3, 300, 297, 0, 0),
        (70, 200, 130, 0, 10),
        (70, 90, 130, 60, 50),
        (33, 40, 0, 100, 0),
        (20, 30, 90, 80, 100),
        (5, 1, 3, 4, 0),
    ] {
        let case = Case::new(13, [queries, keys, 4, 2, 32]);
        let start_of = |i: usize| if query_row + i >= start { start } else { 0 };
        let starts: Vec<usize> = (0..queries).map(start_of).collect();
        for pattern in PATTERNS {
            let mask = Mask { patterns: pattern.into(), query_row, key_row, starts: &starts };
            let expected = case.expected(&mask);
            emulate(|gpu| {
                let ways = [None, Some(3)].into_iter().zip(BACKWARD);
                ways.for_each(|(parts, passes)| case.check(gpu, &mask, &expected, parts, passes));
            });
        }
    }
}

/// Few queries, the heads of a group side by side in a tile: as many rows as fit, groups that do not divide a tile, several tiles of
/// a group, heads of a group whose patterns differ; more parts than tiles.
#[test]
fn heads_share_a_tile() {
    const FULL: Pattern = Pattern::Full;
    const WINDOW: Pattern = Pattern::Window { window: 50, sink: 3 };
    let duo = [FULL, FULL, FULL, FULL, FULL, FULL, WINDOW, WINDOW, WINDOW, WINDOW, WINDOW, WINDOW];
    for (queries, heads, kv_heads) in
        [(1, 12, 2), (2, 12, 2), (3, 12, 2), (12, 12, 2), (40, 12, 2), (1, 12, 1), (2, 12, 6)]
    {
        let keys = 200;
        let case = Case::new(15, [queries, keys, heads, kv_heads, 32]);
        let starts = starts(keys, &[20]);
        let starts = &starts[keys - queries..];
        let mixed: Vec<Pattern> = (0..heads).map(|head| [FULL, WINDOW][head % 2]).collect();
        let strided = [Pattern::Strided { block: 8, stride: 3, local: 2 }; 12];
        for patterns in [&duo[..], &mixed, &strided] {
            let mask = Mask { patterns: Patterns::PerHead(patterns), query_row: keys - queries, key_row: 0, starts };
            let expected = case.expected(&mask);
            let check = |gpu: &_, parts| case.check(gpu, &mask, &expected, Some(parts), Passes::Backward);
            emulate(|gpu| [1, 2, 9].into_iter().for_each(|parts| check(gpu, parts)));
        }
    }
}

/// A NaN in a query reaches its results and no other query's; a key of NaN leaves query tiles clean that do not visit it.
#[test]
fn not_a_number() {
    let t = 300;
    let op = Attention { head_dim: 16 };
    let mut case = Case::new(18, [t, t, 1, 1, 16]);
    case.q[3 * 16] = f32::NAN;
    case.k[140 * 16] = f32::NAN;
    case.v[140 * 16] = f32::NAN;
    emulate(|gpu| {
        let starts = vec![0; t];
        let mask = square(Pattern::Window { window: 20, sink: 2 }, &starts);
        let visible = Visible::new(gpu.queue(), &mask, &case.shape, Passes::Forward).expect("lists");
        let [q, k, v] = [&case.q, &case.k, &case.v].map(|values| gpu.bf16(values));
        let (out, lse) = (gpu.room(2 * case.q.len()), gpu.room(4 * t));
        let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
        op.forward(gpu.queue(), &visible, case.scale, inputs, outputs).expect("forward");
        let (out, lse) = (gpu.read_bf16(&out), gpu.read_f32(&lse));
        assert!(out[3 * 16..4 * 16].iter().all(|o| o.is_nan()) && lse[3].is_nan());
        let clean = |rows: std::ops::Range<usize>| out[rows.start * 16..rows.end * 16].iter().all(|o| o.is_finite());
        assert!(clean(0..3) && clean(4..128) && clean(256..300));
        assert!(!clean(140..160));
    });
}

/// Attention over two halves of the keys, merged through the log-sum-exps, is attention over all.
#[test]
fn halves_merge() {
    let (t, heads, d) = (150, 2, 32);
    let case = Case::new(14, [t, t, heads, heads, d]);
    let starts = starts(t, &[20]);
    for pattern in [Pattern::Full, Pattern::Window { window: 7, sink: 2 }, Pattern::Group { size: 51, shift: 25 }] {
        let mask = square(pattern, &starts);
        let expected = case.expected(&mask);
        emulate(|gpu| {
            let op = Attention { head_dim: d };
            let q = gpu.bf16(&case.q);
            let half = |from: usize, to: usize| {
                let shape = Shape { keys: to - from, ..case.shape };
                let visible = Visible::new(gpu.queue(), &Mask { key_row: from, ..mask }, &shape, Passes::Forward);
                let rows = from * heads * d..to * heads * d;
                let (k, v) = (gpu.bf16(&case.k[rows.clone()]), gpu.bf16(&case.v[rows]));
                let (out, lse) = (gpu.room(2 * case.q.len()), gpu.room(4 * t * heads));
                let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
                op.forward(gpu.queue(), &visible.expect("lists"), case.scale, inputs, outputs).expect("forward");
                (out, lse)
            };
            let ((out, lse), (other_out, other_lse)) = (half(0, 77), half(77, t));
            let (into, other) = ((out.all(), lse.all()), (other_out.all(), other_lse.all()));
            op.merge(gpu.queue(), t * heads, into, other).expect("a merge");
            // Two outputs were rounded on the way.
            close("merged out", &gpu.read_bf16(&out), &expected.out.0, &expected.out.1, 3.0);
            close_sum("merged lse", &gpu.read_f32(&lse), &expected.lse.0, &expected.lse.1, 2.0, 1.0);
        });
    }
}

/// The order in which threads run changes no bit.
#[test]
fn same_bits_in_any_order() {
    let case = Case::new(16, [200, 200, 4, 2, 32]);
    let starts = starts(200, &[130]);
    let mask = square(Pattern::Strided { block: 16, stride: 3, local: 2 }, &starts);
    let bits = std::cell::RefCell::new(Vec::new());
    emulate(|gpu| {
        let op = Attention { head_dim: 32 };
        let visible = Visible::new(gpu.queue(), &mask, &case.shape, Passes::Deterministic).expect("lists");
        let [q, k, v, dout] = [&case.q, &case.k, &case.v, &case.dout].map(|values| gpu.bf16(values));
        let (out, lse) = (gpu.room(2 * case.q.len()), gpu.room(4 * 200 * 4));
        let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
        op.forward(gpu.queue(), &visible, case.scale, inputs, outputs).expect("forward");
        let saved = Saved { q: q.all(), k: k.all(), v: v.all(), out: out.all(), lse: lse.all(), dout: dout.all() };
        let scratch = gpu.room(op.backward_bytes(&case.shape, Passes::Deterministic) as usize);
        let gradients = [&case.q, &case.k, &case.v].map(|like| gpu.room(2 * like.len()));
        let to = [gradients[0].all(), gradients[1].all(), gradients[2].all()];
        op.backward(gpu.queue(), &visible, case.scale, saved, to, scratch.all()).expect("backward");
        let all: Vec<Vec<f32>> = gradients.iter().chain([&out]).map(|memory| gpu.read_bf16(memory)).collect();
        bits.borrow_mut().push(all);
    });
    assert!(bits.borrow().windows(2).all(|pair| pair[0] == pair[1]));
}
