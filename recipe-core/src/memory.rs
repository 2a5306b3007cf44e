//! Memory of one training step, term by term, and of the KV cache.
//!
//! One function per term, each the engine's law for that buffer. The CPU engine holds everything in f32; the CUDA engine
//! stores weights and activations in bf16 and keeps f32 masters of what learns. T is the number of tokens in a
//! micro-batch, C the hidden size, F the width of the MLP, V the vocabulary.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::counts::product;
use crate::plan::{Device, Pattern, Plan, StagePlan, Text};
use crate::recipe::Target;

/// Sequences shorter than this share a micro-batch.
const MICRO_BATCH: usize = 4096;
/// Rows of logits that exist at a time.
const LOGIT_ROWS: usize = 512;
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
}

impl Memory {
    fn of(terms: Vec<(&'static str, u64)>) -> Self {
        let terms: Vec<Term> =
            terms.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| Term { name: name.into(), bytes }).collect();
        let total = terms.iter().fold(0, |sum: u64, term| sum.saturating_add(term.bytes));
        Self { terms, total }
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

    fn stage_memory(&self, stage: &StagePlan) -> Memory {
        let tokens = stage.micro_batch_tokens();
        Memory::of(vec![
            ("weights", self.weights()),
            ("adapters", self.adapters()),
            ("masters", self.masters()),
            ("gradients", self.gradients()),
            ("optimizer", self.optimizer()),
            ("activations", self.activations(tokens, stage.recompute)),
            ("layer workspace", self.layer_workspace(tokens)),
            ("logits", self.logits(tokens)),
            ("dequantized projection", self.dequantized()),
            ("reserved", self.reserved()),
        ])
    }

    fn inference_memory(&self) -> Memory {
        Memory::of(vec![
            ("weights", self.weights()),
            ("adapters", self.adapters()),
            ("KV cache", self.kv_cache_bytes(self.target)),
            ("dequantized projection", self.dequantized()),
            ("reserved", self.reserved()),
        ])
    }

    /// Keys and values of `length` tokens; a window layer keeps its window and its sinks only.
    pub fn kv_cache_bytes(&self, length: usize) -> u64 {
        let kept = self.layers.iter().map(|pattern| match *pattern {
            Pattern::Full => length,
            Pattern::Window { window, sink } => length.min(window.saturating_add(sink)),
        });
        let kept = kept.fold(0, |sum: usize, tokens| sum.saturating_add(tokens));
        product(&[2, self.model.kv_heads, self.model.head_dim, kept]).saturating_mul(self.stored())
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

    /// AdamW's two moments.
    fn optimizer(&self) -> u64 {
        self.counts().trainable.saturating_mul(2 * F32)
    }

    /// What waits for the backward pass: each layer's input, or all that each layer computes.
    fn activations(&self, tokens: usize, recompute: bool) -> u64 {
        let model = &self.model;
        let width = if recompute {
            model.hidden
        } else {
            // Input, its norm, the middle residual and its norm; q, k, v and the heads' output; log-sum-exp; gate, up
            // and their product.
            sum(&[times(4, model.hidden), self.heads_width(), model.heads, times(3, model.ffn)])
        };
        product(&[model.layers, tokens, width]).saturating_mul(self.stored())
    }

    /// The buffers that one layer works in, forward and backward, used again by the next.
    fn layer_workspace(&self, tokens: usize) -> u64 {
        let model = &self.model;
        let rank = Target::ALL.iter().filter_map(|target| self.adapt.rank(*target)).max().unwrap_or(0);
        let rope_table = model.head_dim;
        let stored = [times(4, model.hidden), times(2, self.heads_width()), times(4, model.ffn), rank];
        let wide = product(&[tokens, sum(&stored)]).saturating_mul(self.stored());
        wide.saturating_add(product(&[tokens, sum(&[model.heads, rope_table])]).saturating_mul(F32))
    }

    /// q, k, v and the heads' output, side by side.
    fn heads_width(&self) -> usize {
        let model = &self.model;
        times(2, times(model.head_dim, model.heads.saturating_add(model.kv_heads)))
    }

    /// A chunk of logits, and the gradient of the last hidden states.
    fn logits(&self, tokens: usize) -> u64 {
        let chunk = product(&[LOGIT_ROWS.min(tokens), self.model.vocab]).saturating_mul(F32);
        chunk.saturating_add(product(&[tokens, self.model.hidden]).saturating_mul(self.stored()))
    }

    /// The widest projection, unpacked while it is used.
    fn dequantized(&self) -> u64 {
        if !self.adapt.quantized() {
            return 0;
        }
        let sizes = Target::ALL.iter().map(|target| product(&target.shape(&self.model)));
        sizes.max().unwrap_or(0).saturating_mul(self.stored())
    }

    fn reserved(&self) -> u64 {
        match self.device {
            Device::Cpu { .. } => 0,
            Device::Cuda { .. } => CUDA_RESERVED,
        }
    }
}

/// A tensor in NF4 with double quantization: 4 bits per weight, a byte per 64, an f32 per 64 × 256 (arXiv 2305.14314).
pub fn nf4_bytes(weights: u64) -> u64 {
    weights.div_ceil(2).saturating_add(weights.div_ceil(64)).saturating_add(weights.div_ceil(64 * 256).saturating_mul(F32))
}

/// Bytes as people read them, in binary units: `12.6 GiB`.
pub fn readable_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

fn sum(widths: &[usize]) -> usize {
    widths.iter().fold(0, |sum, width| sum.saturating_add(*width))
}

fn times(count: usize, width: usize) -> usize {
    count.saturating_mul(width)
}
