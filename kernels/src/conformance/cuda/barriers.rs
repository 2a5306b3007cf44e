//! The suite can fail: an attention kernel without any one of its barriers or waits gives other bits, or ends in a fault.

use super::{Random, mistaken, normal};
use crate::attention::cuda::{Attention, Passes, Saved, Visible};
use crate::attention::{Mask, Pattern, Shape};
use crate::cuda::emulation::Mistake;

/// Outputs of some calls under some orders of threads; nothing of a call that failed.
type Results = Option<Vec<Option<Vec<f32>>>>;

#[test]
fn every_barrier_of_attention_is_missed() {
    let text = include_str!("../../attention/cuda/forward.cu");
    all_are_missed("KERNEL_RESIDENT(attention_forward", text, results);
}

#[test]
fn every_barrier_of_its_backward_pass_is_missed() {
    let text = include_str!("../../attention/cuda/backward.cu");
    all_are_missed("KERNEL_RESIDENT(attention_backward,", text, gradients);
}

fn all_are_missed(word: &'static str, file: &str, results: impl Fn(Option<Mistake>) -> Results) {
    let Some(right) = results(None) else { return };
    assert_eq!(results(None).as_ref(), Some(&right), "what is compared has to be the same each time");
    for text in ["__syncthreads();", "copy_wait<0>();"] {
        for number in 0..file.matches(text).count() {
            // The shared parts of the file, which come before, have none of these.
            let mistake = Mistake { word, text, number: number + before(text) };
            assert_ne!(results(Some(mistake)).as_ref(), Some(&right), "{text} number {number} is not missed");
        }
    }
}

/// How often the text occurs in what every kernel is compiled behind.
fn before(text: &str) -> usize {
    let shared = [
        include_str!("../../cuda/emulation/runtime.h"),
        include_str!("../../cuda/emulation/primitives.h"),
        crate::cuda::source::PRELUDE,
        include_str!("../../attention/cuda/attention.cuh"),
    ];
    shared.iter().map(|file| file.matches(text).count()).sum()
}

fn orders(count: u64) -> impl Iterator<Item = u64> {
    (0..count).flat_map(|order| [order, (order + 1) << 32])
}

/// Several tiles of keys, and none. What goes wrong without keys takes a switch between two instructions: it gets more orders.
fn results(mistake: Option<Mistake>) -> Results {
    let keys = orders(2).map(|seed| result(seed, mistake, [70, 150, 80, 0], 0));
    let none = orders(20).map(|seed| result(seed, mistake, [120, 30, 90, 80], usize::MAX / 2));
    keys.chain(none).collect()
}

fn result(
    seed: u64,
    mistake: Option<Mistake>,
    [queries, keys, query_row, key_row]: [usize; 4],
    start: usize,
) -> Option<Option<Vec<f32>>> {
    let gpu = mistaken(seed, false, mistake)?;
    let mut random = Random::new(3);
    let (op, shape) = (Attention { head_dim: 32 }, Shape { queries, keys, heads: 2, kv_heads: 1, head_dim: 32 });
    let starts = vec![start; queries];
    let mask = Mask { patterns: Pattern::Full.into(), query_row, key_row, starts: &starts };
    let visible = Visible::new(gpu.queue(), &mask, &shape, Passes::Forward).expect("lists");
    let [q, k, v] = [queries * 64, keys * 32, keys * 32].map(|len| gpu.bf16(&normal(&mut random, len)));
    let (out, lse) = (gpu.room(2 * queries * 64), gpu.room(4 * queries * 2));
    let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
    let done = op.forward(gpu.queue(), &visible, 0.2, inputs, outputs);
    Some(done.is_ok().then(|| gpu.read_bf16(&out)))
}

/// Several tiles of queries, and keys that no query sees.
fn gradients(mistake: Option<Mistake>) -> Results {
    let some = orders(2).map(|seed| gradient(seed, mistake, 0));
    let none = orders(20).map(|seed| gradient(seed, mistake, usize::MAX / 2));
    some.chain(none).collect()
}

/// dQ, dK and dV of one call; a seed also says in which order blocks add to dQ.
fn gradient(seed: u64, mistake: Option<Mistake>, start: usize) -> Option<Option<Vec<f32>>> {
    let gpu = mistaken(seed, false, mistake)?;
    let (t, mut random) = (200, Random::new(4));
    let (op, shape) = (Attention { head_dim: 32 }, Shape { queries: t, keys: t, heads: 2, kv_heads: 1, head_dim: 32 });
    let starts = vec![start; t];
    let mask = Mask { patterns: Pattern::Full.into(), query_row: 0, key_row: 0, starts: &starts };
    let visible = Visible::new(gpu.queue(), &mask, &shape, Passes::Backward).expect("lists");
    let [q, out, dout, k, v] = [64, 64, 64, 32, 32].map(|width| gpu.bf16(&normal(&mut random, t * width)));
    let lse = gpu.f32(&vec![if start == 0 { 3.0 } else { f32::NEG_INFINITY }; 2 * t]);
    let saved = Saved { q: q.all(), k: k.all(), v: v.all(), out: out.all(), lse: lse.all(), dout: dout.all() };
    let scratch = gpu.room(op.backward_bytes(&shape, Passes::Backward) as usize);
    let to = [64, 32, 32].map(|width| gpu.room(2 * t * width));
    let regions = [to[0].all(), to[1].all(), to[2].all()];
    let done = op.backward(gpu.queue(), &visible, 0.2, saved, regions, scratch.all());
    Some(done.is_ok().then(|| to.iter().flat_map(|memory| gpu.read_bf16(memory)).collect()))
}
