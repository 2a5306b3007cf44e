//! The suite can fail: the attention kernel without any one of its barriers or waits gives other bits, or ends in a fault.

use super::{Random, mistaken, normal};
use crate::attention::cuda::{Attention, Passes, Visible};
use crate::attention::{Mask, Pattern, Shape};
use crate::cuda::emulation::Mistake;

const TEXT: &str = include_str!("../../attention/cuda/forward.cu");

#[test]
fn every_barrier_of_attention_is_missed() {
    let Some(right) = results(None) else { return };
    for text in ["__syncthreads();", "copy_wait<0>();"] {
        for number in 0..TEXT.matches(text).count() {
            // The shared parts of the file, which come before, have none of these.
            let mistake = Mistake { word: "KERNEL_RESIDENT(attention_forward", text, number: number + before(text) };
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

/// Outputs of two calls under some orders of threads: several tiles of keys, and none; nothing of a call that failed. What goes
/// wrong without keys takes a switch between two instructions: it gets more orders.
fn results(mistake: Option<Mistake>) -> Option<Vec<Option<Vec<f32>>>> {
    let orders = |count: u64| (0..count).flat_map(|order| [order, (order + 1) << 32]);
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
