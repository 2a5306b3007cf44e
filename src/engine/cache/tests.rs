//! One pass over the whole text against the same text through a cache.

use std::borrow::Cow;

use kernels::device::Cpu;
use recipe_core::{AdaptPlan, Llama, RopePlan, Scaling};

use super::*;
use crate::data::{Batch, Rng};
use crate::engine::{Engine, Mode};
use crate::hub::{Tensor, Weights};

const FULL: Pattern = Pattern::Full;

fn window(window: usize, sink: usize) -> Pattern {
    Pattern::Window { window, sink }
}

/// Two query heads to a key head, head_dim 16.
pub(in crate::engine) fn plan(layers: &[Pattern], scaling: Scaling) -> Plan {
    let model = Llama {
        layers: layers.len(),
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn: 96,
        vocab: 97,
        context: 64,
        rope_theta: 1e4,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: false,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
    };
    Plan {
        name: "test".into(),
        target: 256,
        rope: RopePlan { theta: 1e4, scaling, head_dim: model.head_dim },
        layers: Cow::Owned(layers.to_vec()),
        gates: recipe_core::GatesPlan::Given,
        block: 4,
        tile: 4096,
        adapt: AdaptPlan::Full,
        optimizer: recipe_core::Optimizer::AdamW,
        data: Cow::Borrowed(&[]),
        stages: Cow::Borrowed(&[]),
        eval: Cow::Borrowed(&[]),
        device: recipe_core::Device::Cpu { memory: u64::MAX },
        notes: Cow::Borrowed(&[]),
        model,
    }
}

/// Large enough weights that attention is far from even.
pub(in crate::engine) fn engine(plan: &Plan) -> Engine<Cpu> {
    let mut rng = Rng::new(&[5]);
    let mut number = || (rng.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    let weights: Weights = plan
        .parameters()
        .into_iter()
        .map(|spec| {
            let (scale, shift) = match &spec.shape[..] {
                [_, inputs] => ((6.0 / *inputs as f32).sqrt(), 0.0),
                _ => (0.3, 1.0),
            };
            let data = (0..spec.shape.iter().product()).map(|_| shift + scale * number()).collect();
            (spec.name, Tensor { shape: spec.shape, data })
        })
        .collect();
    Engine::new(Cpu::new(), plan, &weights, 0, Mode::Infer).unwrap()
}

pub(in crate::engine) fn text(len: usize) -> Vec<u32> {
    let mut rng = Rng::new(&[9]);
    (0..len).map(|_| rng.below(97) as u32).collect()
}

fn one_pass(engine: &mut Engine<Cpu>, tokens: &[u32]) -> Vec<f32> {
    engine.logits(&Batch::sequence(tokens.to_vec(), &[0]).unwrap()).unwrap()
}

/// Largest error of the logits after each piece, relative to the largest logit of one pass over everything.
fn error(plan: &Plan, tokens: &[u32], pieces: &[usize], chunk: usize) -> f32 {
    let mut engine = engine(plan);
    let whole = one_pass(&mut engine, tokens);
    let vocab = plan.model.vocab;
    let largest = whole.iter().fold(0f32, |most, x| most.max(x.abs()));
    let mut cache = Cache::new(engine.device(), plan, tokens.len(), chunk).unwrap();
    let (mut rest, mut worst) = (tokens, 0f32);
    for &piece in pieces.iter().chain(std::iter::repeat(&1)) {
        let Some((piece, after)) = rest.split_at_checked(piece) else { break };
        if piece.is_empty() {
            break;
        }
        engine.prefill(&mut cache, piece).unwrap();
        let logits = engine.next_logits(&mut cache).unwrap();
        let expected = &whole[(cache.len() - 1) * vocab..][..vocab];
        worst = logits.iter().zip(expected).fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
        rest = after;
    }
    assert!(rest.is_empty());
    worst / largest
}

fn holds(name: &str, plan: &Plan, tokens: &[u32], pieces: &[usize], chunk: usize) {
    let error = error(plan, tokens, pieces, chunk);
    println!("{name}: {error:.1e}");
    assert!(error <= 1e-5, "{name}: pieces {pieces:?}, chunk {chunk}: {error:e}");
}

#[test]
fn every_pattern_equals_one_pass_wherever_chunks_end() {
    let duo = |retrieval| Pattern::Duo { retrieval, kv_heads: 2, window: 8, sink: 3 };
    let strided = |stride, local| Pattern::Strided { block: 4, stride, local };
    let (chunks, groups) =
        (Pattern::DualChunk { chunk: 12, farthest: 15 }, Pattern::SelfExtend { group: 3, window: 8 });
    let patterns: [(&str, &[Pattern]); 12] = [
        ("full", &[FULL; 3]),
        ("window", &[window(8, 0); 3]),
        ("window and sink", &[window(8, 3); 3]),
        ("hybrid", &[window(8, 2), FULL, window(12, 1)]),
        ("a window of one", &[window(1, 1), window(1, 0), FULL]),
        ("sinks longer than the window", &[window(2, 9), window(3, 20), FULL]),
        ("strided", &[strided(3, 2), strided(5, 1), strided(2, 4)]),
        ("dual chunk", &[chunks; 3]),
        ("self extend", &[groups; 3]),
        ("duo", &[duo(0b01), duo(0b10), FULL]),
        ("duo of one kind", &[duo(0b00), duo(0b11), duo(0b10)]),
        ("mixed", &[groups, strided(4, 1), chunks]),
    ];
    let tokens = text(150);
    for (name, layers) in patterns {
        let plan = plan(layers, Scaling::Default);
        for (pieces, chunk) in [(&[150][..], 7), (&[70], 64), (&[1, 2, 9, 40, 3, 33], 16), (&[], 1), (&[97, 30], 500)] {
            holds(name, &plan, &tokens, pieces, chunk);
        }
    }
}

#[test]
fn every_rope_equals_one_pass() {
    let yarn = Scaling::Yarn {
        factor: 4.0,
        original: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.1386,
        truncate: true,
    };
    let llama3 = Scaling::Llama3 { factor: 4.0, low: 1.0, high: 4.0, original: 64 };
    for scaling in [Scaling::Linear { factor: 4.0 }, yarn, llama3] {
        let plan = plan(&[window(8, 2), FULL, window(12, 0)], scaling);
        holds(plan.rope.scaling.rope_type(), &plan, &text(130), &[37, 50], 16);
    }
}

/// The keys of the first layer depend on nothing but their token, so there decoding is one pass over the new length.
/// Keys of later layers carry what earlier layers saw at the length of their time; turning them is all that can be done.
#[test]
fn dynamic_keys_turn_with_the_length() {
    let scaling = Scaling::Dynamic { factor: 4.0, original: 32 };
    let tokens = text(120);
    for pattern in [FULL, window(20, 2)] {
        let plan = plan(&[pattern], scaling.clone());
        let mut engine = engine(&plan);
        let mut cache = Cache::new(engine.device(), &plan, 0, 16).unwrap();
        engine.prefill(&mut cache, &tokens[..20]).unwrap();
        for length in 21..=tokens.len() {
            engine.prefill(&mut cache, &tokens[length - 1..length]).unwrap();
            let logits = engine.next_logits(&mut cache).unwrap();
            let whole = one_pass(&mut engine, &tokens[..length]);
            let expected = &whole[whole.len() - logits.len()..];
            let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            let worst = logits.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst <= 1e-5 * largest, "{pattern:?} at {length}: {worst} of {largest}");
        }
    }
}

#[test]
fn dynamic_prefill_in_chunks_is_one_pass_in_every_layer() {
    let plan = plan(&[window(20, 2), FULL, window(9, 0)], Scaling::Dynamic { factor: 4.0, original: 32 });
    for chunk in [1, 7, 64] {
        holds("dynamic", &plan, &text(120), &[120], chunk);
    }
    let below = &text(32);
    holds("dynamic, below its native length", &plan, below, &[5, 11], 8);
}

#[test]
fn a_window_only_model_reads_a_stream_in_constant_memory() {
    let plan = plan(&[window(32, 4); 3], Scaling::Default);
    let mut engine = engine(&plan);
    let mut cache = Cache::new(engine.device(), &plan, usize::MAX, 16).unwrap();
    let tokens = text(20 * 32);
    let mut sizes = vec![];
    for piece in tokens.chunks(10) {
        engine.prefill(&mut cache, piece).unwrap();
        sizes.push((cache.bytes(), engine.device().memory()));
    }
    // Keys and values, 3 layers, f32: sinks, and a window and a chunk less the token that both count.
    let expected = 2 * 3 * 4 * (plan.model.kv_width() * (4 + 31 + 16)) as u64;
    assert_eq!(sizes.last().unwrap().0, expected);
    let full = sizes.iter().position(|size| size.0 == expected).unwrap();
    assert!(full < 7, "{sizes:?}");
    assert!(sizes[full + 1..].iter().all(|size| size == &sizes[full + 1]), "{sizes:?}");
}

/// Token by token a strided layer holds at most a block more than its pattern sees, and its far blocks have room to double.
#[test]
fn streaming_heads_and_strided_layers_keep_what_the_plan_counts() {
    let duo = Pattern::Duo { retrieval: 0b10, kv_heads: 2, window: 8, sink: 4 };
    let strided = Pattern::Strided { block: 4, stride: 8, local: 2 };
    for (pattern, slack) in [(duo, 0.01), (strided, 0.8)] {
        let plan = plan(&[pattern; 2], Scaling::Default);
        let mut engine = engine(&plan);
        let mut cache = Cache::new(engine.device(), &plan, 640, 1).unwrap();
        text(640).iter().for_each(|&token| engine.prefill(&mut cache, &[token]).unwrap());
        let (held, planned) = (cache.bytes() as f64, plan.kv_cache_bytes(640) as f64);
        assert!(held >= planned && held <= (1.0 + slack) * planned, "{pattern:?}: {held} held, {planned} planned");
        assert!(planned < 0.6 * plan.kv_cache_bytes_full(640) as f64);
    }
}

#[test]
fn a_full_layer_takes_what_its_limit_says_and_outgrows_it() {
    let plan = plan(&[FULL; 2], Scaling::Default);
    let mut engine = engine(&plan);
    let mut cache = Cache::new(engine.device(), &plan, 40, 16).unwrap();
    let per_row = 2 * 2 * 4 * plan.model.kv_width() as u64;
    let before = engine.device().memory().0;
    let mut rows = |engine: &mut Engine<Cpu>, tokens: usize| {
        engine.prefill(&mut cache, &text(tokens)).unwrap();
        cache.bytes() / per_row
    };
    assert_eq!(rows(&mut engine, 10), 20);
    assert_eq!(rows(&mut engine, 15), 40);
    assert_eq!(rows(&mut engine, 15), 40);
    assert_eq!(rows(&mut engine, 1), 82);
    assert!(engine.device().memory().0 - before >= cache.bytes());
}

#[test]
fn a_pass_that_runs_out_of_memory_leaves_no_trace() {
    const LIMIT: u64 = 1 << 24;
    let plan = plan(&[FULL, window(8, 2), FULL], Scaling::Default);
    let tokens = text(200);
    let mut engine = Engine::new(Cpu::with_limit(LIMIT), &plan, &engine(&plan).values(), 0, Mode::Infer).unwrap();
    let whole = one_pass(&mut engine, &tokens);
    let mut cache = Cache::new(engine.device(), &plan, 0, 16).unwrap();
    engine.prefill(&mut cache, &tokens[..20]).unwrap();
    // Room for one of the two full layers to grow.
    let room = LIMIT - engine.device().memory().0 - 2 * 4 * (41 * 2 * plan.model.kv_width()) as u64;
    let ballast = engine.device().zeros(room as usize / 4).unwrap();
    let refused = tokens[20..].iter().find_map(|&token| engine.prefill(&mut cache, &[token]).err());
    assert!(refused.unwrap().to_string().contains("out of memory"));
    drop(ballast);
    let held = cache.len();
    engine.prefill(&mut cache, &tokens[held..]).unwrap();
    let logits = engine.next_logits(&mut cache).unwrap();
    let expected = &whole[whole.len() - logits.len()..];
    assert!(logits.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "refused at {held}");
}

#[test]
fn a_cache_of_another_model_is_refused() {
    let (one, two) = (plan(&[FULL; 2], Scaling::Default), plan(&[FULL; 3], Scaling::Default));
    let mut cache = engine(&two).cache(10).unwrap();
    let error = engine(&one).prefill(&mut cache, &[1]).unwrap_err();
    assert!(error.to_string().contains("`cache`"), "{error}");
}
