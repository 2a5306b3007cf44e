//! What compute capability 9.0 does by kernels of its own, and that the suite misses none of their waits.

use super::attention::Case;
use super::{Random, emulate_hopper, mistaken, normal};
use crate::attention::cuda::{Attention, Passes, Saved, Visible};
use crate::attention::{Mask, Pattern, Patterns, Shape};
use crate::conformance::attention::{PATTERNS, square, starts};
use crate::conformance::heads::MIXES;
use crate::cuda::emulation::Mistake;

fn run(case: &Case, mask: &Mask) {
    let expected = case.expected(mask);
    emulate_hopper(|gpu| case.check(gpu, mask, &expected, None, Passes::Backward));
}

/// Lengths around every border of a tile, shared heads, several tiles of keys in each stage.
#[test]
fn shapes() {
    for sizes in [
        [1, 1, 1, 1, 64],
        [64, 64, 2, 2, 128],
        [129, 129, 2, 1, 64],
        [127, 127, 3, 1, 128],
        [300, 300, 2, 2, 128],
        [20, 700, 2, 1, 64],
        [200, 200, 4, 2, 128],
        [70, 70, 6, 3, 64],
    ] {
        let starts = vec![0; sizes[0]];
        let (patterns, query_row) = (Pattern::Full.into(), sizes[1] - sizes[0]);
        run(&Case::new(sizes[1] as u64, sizes), &Mask { patterns, query_row, key_row: 0, starts: &starts });
    }
}

/// Every pattern over several tiles, documents with borders in and on tiles among them.
#[test]
fn patterns() {
    let case = Case::new(31, [290, 290, 2, 1, 64]);
    for borders in [&[][..], &[1, 128, 131, 256]] {
        let starts = starts(290, borders);
        for pattern in PATTERNS {
            run(&case, &square(pattern, &starts));
        }
    }
}

/// Heads with patterns of their own.
#[test]
fn mixed_heads() {
    let starts = starts(170, &[1, 75]);
    let case = Case::new(32, [170, 170, 6, 2, 64]);
    for patterns in &MIXES {
        run(&case, &Mask { patterns: Patterns::PerHead(patterns), query_row: 0, key_row: 0, starts: &starts });
    }
}

/// Queries and keys as pieces of a longer sequence; none visible.
#[test]
fn offsets() {
    for (queries, keys, query_row, key_row, start) in
        [(70, 200, 130, 0, 10), (70, 90, 130, 60, 50), (33, 40, 0, 100, 0), (20, 30, 90, 80, 100), (5, 1, 3, 4, 0)]
    {
        let case = Case::new(33, [queries, keys, 4, 2, 64]);
        let start_of = |i: usize| if query_row + i >= start { start } else { 0 };
        let starts: Vec<usize> = (0..queries).map(start_of).collect();
        for pattern in PATTERNS {
            run(&case, &Mask { patterns: pattern.into(), query_row, key_row, starts: &starts });
        }
    }
}

/// Each wait that keeps warpgroups, copies and products of the forward pass in order, and what says that they may go on.
const FORWARD: [&str; 16] = [
    "barriers_made();\n    }\n    __syncthreads();",
    "barrier_wait(&signals->q_full, 0);",
    "barrier_wait(&signals->k_full[0], 0);",
    "barrier_wait(&signals->k_full[next], next_turn);",
    "        barrier_wait(&signals->v_full[stage], turn);\n        products_begin",
    "    barrier_wait(&signals->v_full[stage], turn);\n    products_begin();\n    start_weighted",
    "barrier_wait(&signals->k_empty[stage], turn ^ 1);",
    "barrier_wait(&signals->v_empty[stage], turn ^ 1);",
    "if (lane == 0) barrier_arrive(&signals->k_empty[0]);",
    "if (lane == 0) barrier_arrive(&signals->k_empty[next]);",
    "if (lane == 0) barrier_arrive(&signals->v_empty[stage]);",
    "barrier_arrive(&signals->k_full[stage]);",
    "products_wait<1>();",
    "products_wait<0>();",
    "barrier_expect(&signals->q_full, QUERY_BYTES);",
    "barrier_expect(&signals->v_full[stage], KEY_BYTES);",
];

/// Those of the backward pass.
const BACKWARD: [&str; 15] = [
    "barriers_made();\n    }\n    __syncthreads();",
    "barrier_wait(&signals->keys_full, 0);",
    "barrier_wait(&signals->q_full[stage], turn);",
    "barrier_wait(&signals->dout_full[stage], turn);",
    "barrier_wait(&signals->empty[stage], turn ^ 1);",
    "barrier_wait(&signals->pairs_full, n % 2);",
    "if (lane == 0) barrier_arrive(&signals->empty[stage]);",
    "if (lane == 0) barrier_arrive(&signals->pairs_full);",
    "            barrier_arrive(&signals->q_full[stage]);",
    "products_wait<1>();",
    "products_wait<0>();",
    "stored_for_products();",
    "__syncwarp();",
    "barrier_expect(&signals->q_full[stage], QUERY_BYTES + STATS_BYTES + seen_bytes);",
    "barrier_expect(&signals->dout_full[stage], QUERY_BYTES);",
];

#[test]
fn every_wait_is_missed() {
    let text = include_str!("../../attention/cuda/forward_hopper.cu");
    all_are_missed("KERNEL_RESIDENT(attention_forward_hopper", text, &FORWARD, output);
}

#[test]
fn every_wait_of_the_backward_pass_is_missed() {
    let text = include_str!("../../attention/cuda/backward_hopper.cu");
    all_are_missed("KERNEL_RESIDENT(attention_backward_hopper", text, &BACKWARD, gradient);
}

/// What a call gives under one order of threads; nothing if it failed, or without a compiler.
type Call = fn(u64, Option<Mistake>) -> Option<Option<Vec<f32>>>;

fn all_are_missed(word: &'static str, file: &str, order: &[&'static str], call: Call) {
    let results = |mistake| -> Option<Vec<_>> {
        (0..6).flat_map(|order| [order, (order + 1) << 32]).map(|seed| call(seed, mistake)).collect()
    };
    let Some(right) = results(None) else { return };
    assert!(right.iter().all(Option::is_some));
    let same = |mistake| results(mistake).as_ref() == Some(&right);
    assert!(same(None), "what is compared has to be the same each time");
    for &text in order {
        assert!(file.contains(text), "{text} is not in the kernel");
        for number in 0..file.matches(text).count() {
            // The shared parts of the file come before.
            let mistake = Mistake { word, text, number: number + before(text) };
            assert!(!same(Some(mistake)), "{text} number {number} is not missed");
        }
    }
}

/// How often the text occurs in what every such kernel is compiled behind.
fn before(text: &str) -> usize {
    let shared = [
        include_str!("../../cuda/emulation/primitives.h"),
        include_str!("../../cuda/emulation/hopper.h"),
        crate::cuda::source::PRELUDE,
        include_str!("../../attention/cuda/attention.cuh"),
    ];
    shared.iter().map(|file| file.matches(text).count()).sum()
}

/// Outputs.
fn output(seed: u64, mistake: Option<Mistake>) -> Option<Option<Vec<f32>>> {
    let gpu = mistaken(seed, true, mistake)?;
    let mut random = Random::new(3);
    let (queries, keys) = (70, 700);
    let (op, shape) = (Attention { head_dim: 64 }, Shape { queries, keys, heads: 2, kv_heads: 1, head_dim: 64 });
    let starts = vec![0; queries];
    let mask = Mask { patterns: Pattern::Full.into(), query_row: 630, key_row: 0, starts: &starts };
    let visible = Visible::new(gpu.queue(), &mask, &shape, Passes::Forward).expect("lists");
    let [q, k, v] = [queries * 128, keys * 64, keys * 64].map(|len| gpu.bf16(&normal(&mut random, len)));
    let (out, lse) = (gpu.room(2 * queries * 128), gpu.room(4 * queries * 2));
    let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
    let done = op.forward(gpu.queue(), &visible, 0.2, inputs, outputs);
    Some(done.is_ok().then(|| gpu.read_bf16(&out)))
}

/// dQ, dK and dV; the seed also says in which order blocks add to dQ, before any thread runs.
fn gradient(seed: u64, mistake: Option<Mistake>) -> Option<Option<Vec<f32>>> {
    let gpu = mistaken(seed, true, mistake)?;
    let (t, mut random) = (400, Random::new(4));
    let (op, shape) = (Attention { head_dim: 64 }, Shape { queries: t, keys: t, heads: 2, kv_heads: 1, head_dim: 64 });
    let mask = Mask { patterns: Pattern::Full.into(), query_row: 0, key_row: 0, starts: &vec![0; t] };
    let visible = Visible::new(gpu.queue(), &mask, &shape, Passes::Backward).expect("lists");
    let [q, out, dout, k, v] = [128, 128, 128, 64, 64].map(|width| gpu.bf16(&normal(&mut random, t * width)));
    let lse = gpu.f32(&vec![3.0; 2 * t]);
    let saved = Saved { q: q.all(), k: k.all(), v: v.all(), out: out.all(), lse: lse.all(), dout: dout.all() };
    let scratch = gpu.room(op.backward_bytes(&shape, Passes::Backward) as usize);
    let to = [128, 64, 64].map(|width| gpu.room(2 * t * width));
    let regions = [to[0].all(), to[1].all(), to[2].all()];
    let done = op.backward(gpu.queue(), &visible, 0.2, saved, regions, scratch.all());
    Some(done.is_ok().then(|| to.iter().flat_map(|memory| gpu.read_bf16(memory)).collect()))
}
