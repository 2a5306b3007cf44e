//! Memory of one training step, term by term, and of the KV cache.
//!
//! One function per term, each the engine's law for that buffer; what a pass writes into is one list (`workspace`). The CPU engine holds everything in f32; the CUDA engine
//! stores weights and activations in bf16 and keeps f32 masters of what learns. T is the number of tokens in a
//! micro-batch, C the hidden size, F the width of the MLP, V the vocabulary.

use std::fmt;

mod cuda;
mod longest;
pub mod workspace;

use serde::{Deserialize, Serialize};

use crate::counts::product;
use crate::list::Text;
use crate::plan::{Learns, Plan, StagePlan};
use crate::readable::readable_bytes;
use crate::terms::{Device, Target};
use workspace::Purpose;

/// Sequences shorter than this share a micro-batch.
const MICRO_BATCH: usize = 4096;
/// Rows of logits that exist at a time.
const LOGIT_ROWS: usize = 512;
/// Weights of a quantised projection that are unpacked together.
const TILE: u64 = 1 << 20;
/// Driver, cuBLAS workspace and fragmentation on a card.
const CUDA_RESERVED: u64 = 2 << 30;

const F32: u64 = 4;
const BF16: u64 = 2;

/// One buffer, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// What it holds.
    pub name: Text,
    /// Its size.
    pub bytes: u64,
}

/// Memory, term by term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The terms, the lasting ones first.
    pub terms: Vec<Term>,
    /// Their sum.
    pub total: u64,
    /// Pinned memory of the host beside it, where layer inputs wait.
    pub host: u64,
}

impl Memory {
    fn of(terms: Vec<(&'static str, u64)>) -> Self {
        let terms: Vec<Term> = terms
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| Term { name: name.into(), bytes })
            .collect();
        let total = terms.iter().fold(0, |sum: u64, term| sum.saturating_add(term.bytes));
        Self { terms, total, host: 0 }
    }
}

/// The terms on one line: `weights 12.6 GiB, gradients 1.2 GiB, …`.
impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(out, "{comma}{} {}", term.name, readable_bytes(term.bytes))?;
        }
        Ok(())
    }
}

impl StagePlan {
    /// Sequences that go through the model together: as many whole ones as fit into 4096 tokens, one at least.
    pub fn micro_batch(&self) -> usize {
        (MICRO_BATCH / self.length.max(1)).clamp(1, self.batch.max(1))
    }

    /// Tokens that go through the model together.
    pub fn micro_batch_tokens(&self) -> usize {
        self.micro_batch().saturating_mul(self.length)
    }
}

impl Plan {
    /// The peak of one optimiser step of the stage that needs most; without stages, of reading `target` tokens.
    pub fn memory(&self) -> Memory {
        let stages = self.stages.iter().map(|stage| self.stage_memory(stage));
        stages.max_by_key(|memory| memory.total).unwrap_or_else(|| self.inference_memory())
    }

    /// What a stage's passes are for. Without a GPU there is nowhere to offload to.
    pub fn purpose(&self, stage: &StagePlan) -> Purpose {
        match stage.learns {
            Learns::Weights => Purpose::Train { recompute: stage.recompute, offload: stage.offload && self.on_cuda() },
            Learns::Gates { form, .. } => Purpose::Gates { form },
        }
    }

    fn stage_memory(&self, stage: &StagePlan) -> Memory {
        let tokens = stage.micro_batch_tokens();
        let purpose = self.purpose(stage);
        let [activations, workspace] = self.buffers(tokens, purpose);
        let (numbers, layers) = self.offloaded(tokens, purpose);
        let host = product(&[numbers, layers]).saturating_mul(self.stored());
        let memory = Memory::of(vec![
            ("weights", self.weights()),
            ("adapters", self.adapters()),
            ("masters", self.masters()),
            ("gradients", self.gradients()),
            ("optimizer", self.optimizer()),
            ("gates", self.gate_state()),
            ("activations", activations),
            ("layer workspace", workspace),
            ("rope tables", self.rope_tables(tokens)),
            ("row lists", self.row_lists(tokens, Some(stage))),
            ("partial sums", self.partial_sums(tokens, stage)),
            ("logits", if stage.learns == Learns::Weights { self.logits(tokens) } else { 0 }),
            ("dequantized tile", self.dequantized()),
            ("reserved", self.reserved()),
        ]);
        Memory { host, ..memory }
    }

    /// A text of `target` tokens is scored in one pass or generated through a cache, whichever needs more.
    fn inference_memory(&self) -> Memory {
        let [_, scored] = self.buffers(self.target, Purpose::Score);
        let tables = self.rope_tables(self.target).saturating_add(self.row_lists(self.target, None));
        let one_pass = scored.saturating_add(tables);
        let (name, bytes) = match self.kv_cache_bytes(self.target) {
            cache if cache > one_pass => ("KV cache", cache),
            _ => ("layer workspace", one_pass),
        };
        Memory::of(vec![
            ("weights", self.weights()),
            ("adapters", self.adapters()),
            (name, bytes),
            ("logits", self.logits(self.target)),
            ("dequantized tile", self.dequantized()),
            ("reserved", self.reserved()),
        ])
    }

    /// Keys and values of `length` tokens; a layer keeps what its pattern can still see.
    pub fn kv_cache_bytes(&self, length: usize) -> u64 {
        let kept = self.expected_layers().into_iter().map(|pattern| pattern.kept(length, self.model.kv_heads));
        let kept = kept.fold(0, |sum: usize, rows| sum.saturating_add(rows));
        product(&[2, self.model.head_dim, kept]).saturating_mul(self.stored())
    }

    /// Keys and values of `length` tokens, were every layer full.
    pub fn kv_cache_bytes_full(&self, length: usize) -> u64 {
        let numbers = [2, self.model.kv_heads, self.model.head_dim, self.model.layers, length];
        product(&numbers).saturating_mul(self.stored())
    }

    /// Bytes of a stored weight or activation.
    fn stored(&self) -> u64 {
        match self.device {
            Device::Cpu { .. } => F32,
            Device::Cuda { .. } => BF16,
        }
    }

    /// The base model; frozen projections of a quantized plan in NF4.
    fn weights(&self) -> u64 {
        let counts = self.counts();
        if !self.adapt.quantized() {
            return counts.base().saturating_mul(self.stored());
        }
        let plain = counts.base().saturating_sub(counts.projections);
        let layer = Target::ALL.iter().map(|target| nf4_bytes(product(&target.shape(&self.model))));
        let layer = layer.fold(0, u64::saturating_add);
        plain.saturating_mul(self.stored()).saturating_add(layer.saturating_mul(self.model.layers as u64))
    }

    fn adapters(&self) -> u64 {
        self.counts().adapters.saturating_mul(self.stored())
    }

    /// f32 copies of what learns, where the weights themselves are bf16.
    fn masters(&self) -> u64 {
        match self.device {
            Device::Cpu { .. } => 0,
            Device::Cuda { .. } => self.counts().trainable.saturating_mul(F32),
        }
    }

    fn gradients(&self) -> u64 {
        self.counts().trainable.saturating_mul(F32)
    }

    /// AdamW's two moments of each tensor that learns.
    fn optimizer(&self) -> u64 {
        let bytes = |(numbers, times): (u64, u64)| self.optimizer.moment_bytes(numbers).saturating_mul(times);
        self.learning_tensors().into_iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// A gate for each key/value head of each layer, its gradient and two moments, in f32 everywhere.
    fn gate_state(&self) -> u64 {
        match self.gates_stage() {
            Some(_) => product(&[4, self.model.layers, self.model.kv_heads]).saturating_mul(F32),
            None => 0,
        }
    }

    /// Bytes of a pass's buffers: what waits for the backward pass in each layer, and what all layers share.
    fn buffers(&self, tokens: usize, purpose: Purpose) -> [u64; 2] {
        let mut bytes = [0_u64; 2];
        for slot in self.slots(tokens, purpose) {
            let each = if slot.exact { F32 } else { self.stored() };
            let sum = &mut bytes[usize::from(!slot.waits)];
            *sum = sum.saturating_add((slot.len as u64).saturating_mul(each));
        }
        bytes
    }

    /// Whether a layer turns its queries and keys once for each part of its pattern.
    pub(crate) fn remaps(&self) -> bool {
        self.layers.iter().any(|pattern| pattern.remaps())
    }

    /// cos and sin of every position and pair, in f32; patterns that remap have three more places for each token.
    fn rope_tables(&self, tokens: usize) -> u64 {
        let tables = if self.remaps() { 4 } else { 1 };
        product(&[tables, tokens, self.model.head_dim]).saturating_mul(F32)
    }

    /// The rows of logits that exist at a time, in f32.
    fn logits(&self, tokens: usize) -> u64 {
        let vocab = if self.on_cuda() { self.model.vocab.next_multiple_of(8) } else { self.model.vocab };
        product(&[LOGIT_ROWS.min(tokens), vocab]).saturating_mul(F32)
    }

    /// Rows of a projection, unpacked while they are used; on a GPU all of them.
    fn dequantized(&self) -> u64 {
        if !self.adapt.quantized() {
            return 0;
        }
        if self.on_cuda() {
            return self.unpacked();
        }
        let tiles = Target::ALL.iter().map(|target| {
            let shape = target.shape(&self.model);
            product(&shape).min(TILE).max(shape[1] as u64)
        });
        tiles.max().unwrap_or(0).saturating_mul(self.stored())
    }

    fn reserved(&self) -> u64 {
        match self.device {
            Device::Cpu { .. } => 0,
            Device::Cuda { .. } => CUDA_RESERVED,
        }
    }
}

/// A tensor in NF4 with double quantization: 4 bits per weight, a byte per 64, an f32 per 64 × 256 and one more
/// (arXiv 2305.14314).
pub fn nf4_bytes(weights: u64) -> u64 {
    let scales = weights.div_ceil(64).saturating_add(weights.div_ceil(64 * 256).saturating_mul(F32));
    weights.div_ceil(2).saturating_add(scales).saturating_add(F32)
}

fn sum(widths: &[usize]) -> usize {
    widths.iter().fold(0, |sum, width| sum.saturating_add(*width))
}

fn times(count: usize, width: usize) -> usize {
    count.saturating_mul(width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use crate::recipe::Adapt;
    use crate::samples::{bare, llama2_128k};

    fn term(plan: &Plan, name: &str) -> u64 {
        plan.memory().terms.iter().find(|term| term.name == name).map_or(0, |term| term.bytes)
    }

    #[test]
    fn nf4_takes_a_little_over_four_bits() {
        assert_eq!(nf4_bytes(64 * 256), 8192 + 256 + 4 + 4);
        assert_eq!(nf4_bytes(1), 1 + 1 + 4 + 4);
        let bits = nf4_bytes(6_476_005_376) as f64 * 8.0 / 6_476_005_376.0;
        assert!((bits - 4.127).abs() < 1e-3, "{bits}");
    }

    /// Figures for Llama-2 7B at 128K in bf16: 32 GiB of layer inputs, a KV cache of 64 GiB.
    #[test]
    fn the_published_figures() {
        let mut recipe = llama2_128k();
        let plan = recipe.plan().unwrap();
        assert_eq!(term(&plan, "activations"), 32 << 30);
        assert_eq!(plan.kv_cache_bytes_full(131_072), 64 << 30);
        assert!((3.2..3.7).contains(&(term(&plan, "weights") as f64 / (1u64 << 30) as f64)));
        assert_eq!(term(&plan, "reserved"), 2 << 30);
        recipe.device = None;
        assert_eq!(recipe.plan().unwrap().kv_cache_bytes_full(131_072), 128 << 30);
    }

    /// LongGen: 12 of 32 layers full, 2048 tokens kept elsewhere, 62% less (arXiv 2410.01485).
    #[test]
    fn a_window_layer_keeps_its_window() {
        let mut plan = llama2_128k().plan().unwrap();
        let sparse = Pattern::Window { window: 2044, sink: 4 };
        plan.layers = crate::layers::layer_map(32, 12, crate::recipe::Place::Middle, sparse).into();
        let share = plan.kv_cache_bytes(131_072) as f64 / plan.kv_cache_bytes_full(131_072) as f64;
        assert!((share - 0.385).abs() < 5e-4, "{share}");
        assert_eq!(plan.kv_cache_bytes(1024), plan.kv_cache_bytes_full(1024));
    }

    #[test]
    fn short_sequences_share_a_micro_batch() {
        let mut stage = llama2_128k().plan().unwrap().stages[0].clone();
        assert_eq!((stage.micro_batch(), stage.micro_batch_tokens()), (1, 131_072));
        (stage.length, stage.batch) = (1024, 3);
        assert_eq!((stage.micro_batch(), stage.micro_batch_tokens()), (3, 3072));
        stage.batch = 100;
        assert_eq!(stage.micro_batch_tokens(), 4096);
        stage.length = 3000;
        assert_eq!(stage.micro_batch_tokens(), 3000);
    }

    #[test]
    fn what_learns_costs_sixteen_bytes_in_f32() {
        let mut recipe = llama2_128k();
        (recipe.adapt, recipe.device) = (None, None);
        let plan = recipe.plan().unwrap();
        let parameters = plan.counts().base();
        let lasting = ["weights", "gradients", "optimizer"].map(|name| term(&plan, name)).iter().sum::<u64>();
        assert_eq!(lasting, 16 * parameters);
        assert_eq!(term(&plan, "dequantized tile"), 0);
        assert_eq!(plan.memory().total, plan.memory().terms.iter().map(|term| term.bytes).sum::<u64>());
    }

    #[test]
    fn the_largest_stage_counts_and_recompute_saves() {
        let mut recipe = llama2_128k();
        let one = recipe.plan().unwrap().memory();
        let mut short = recipe.train[0].clone();
        short.length = Some(8192);
        recipe.train.insert(0, short);
        assert_eq!(recipe.plan().unwrap().memory(), one);
        recipe.device = None;
        let saved = recipe.plan().unwrap().memory().total;
        recipe.train[1].recompute = Some(false);
        assert!(recipe.plan().unwrap().memory().total > 3 * saved);
    }

    #[test]
    fn a_reader_needs_weights_a_cache_and_logits() {
        let memory = bare().plan().unwrap().memory();
        let names: Vec<&str> = memory.terms.iter().map(|term| &*term.name).collect();
        assert_eq!(names, ["weights", "KV cache", "logits"]);
        assert_eq!(memory.total, 6_738_415_616 * 4 + (4 << 30) + LOGIT_ROWS as u64 * 32_000 * 4);
    }

    #[test]
    fn quantization_pays_for_the_frozen_projections_only() {
        let mut recipe = llama2_128k();
        recipe.device = None;
        let with = |quantized| {
            Some(Adapt::Lora {
                rank: 32,
                alpha: None,
                targets: None,
                embed: false,
                norm: false,
                quantized,
                rslora: false,
                dropout: None,
            })
        };
        recipe.adapt = with(false);
        let plain = recipe.plan().unwrap();
        recipe.adapt = with(true);
        let packed = recipe.plan().unwrap();
        let layer = Target::ALL.iter().map(|target| {
            let weights = product(&target.shape(&plain.model));
            4 * weights - nf4_bytes(weights)
        });
        let saved = term(&plain, "weights") - term(&packed, "weights");
        assert_eq!(saved, 32 * layer.sum::<u64>());
        assert_eq!(term(&packed, "dequantized tile"), TILE * 4);
    }
}
