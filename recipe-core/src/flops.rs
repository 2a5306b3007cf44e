//! Floating-point operations of training and of reading, term by term; a multiply-add counts as two.
//!
//! Attention is counted by the pairs of tokens that each layer's pattern makes visible, not by T².

use serde::{Deserialize, Serialize};

use crate::plan::{Pattern, Plan, StagePlan, Text};
use crate::recipe::Target;

/// One kind of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// What is computed.
    pub name: Text,
    /// Floating-point operations.
    pub flops: f64,
}

/// The work of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageFlops {
    /// One optimiser step, term by term.
    pub terms: Vec<Work>,
    /// One optimiser step.
    pub step: f64,
    /// All steps.
    pub total: f64,
}

/// The work of all training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Stage by stage.
    pub stages: Vec<StageFlops>,
    /// All stages.
    pub total: f64,
}

impl Pattern {
    /// Pairs of a query and a key that it sees, in one document of `length` tokens.
    pub fn visible_pairs(&self, length: usize) -> f64 {
        match *self {
            Self::Full => triangle(length as f64),
            Self::Window { window, sink } => {
                // Row i sees min(i + 1, window) of its window, and of the sinks min(i + 1 − window, sink) more.
                let (length, window, sink) = (length as f64, window as f64, sink as f64);
                grown(length, window) + grown((length - window).max(0.0), sink)
            }
        }
    }
}

/// 1 + 2 + … + n.
fn triangle(n: f64) -> f64 {
    n * (n + 1.0) / 2.0
}

/// The sum of min(i, most) over i from 1 to n.
fn grown(n: f64, most: f64) -> f64 {
    let rising = n.min(most);
    triangle(rising) + (n - rising) * most
}

impl Plan {
    /// The work of every stage.
    pub fn flops(&self) -> Flops {
        let stages: Vec<StageFlops> = self.stages.iter().map(|stage| self.stage_flops(stage)).collect();
        let total = stages.iter().map(|stage| stage.total).sum();
        Flops { stages, total }
    }

    /// The work of reading one document of `length` tokens, term by term.
    pub fn forward_flops(&self, length: usize) -> Vec<Work> {
        let tokens = length as f64;
        vec![
            work("linear forward", tokens * self.linear()),
            work("adapter forward", tokens * self.adapter()),
            work("attention forward", 4.0 * self.attention(length)),
            work("loss head forward", tokens * self.head()),
        ]
    }

    /// One step computes everything forward, layers again where their activations were not kept, and backward what
    /// leads to a weight that learns.
    fn stage_flops(&self, stage: &StagePlan) -> StageFlops {
        let (sequences, tokens) = (stage.batch as f64, stage.batch as f64 * stage.length as f64);
        let (linear, adapter, head) = (tokens * self.linear(), tokens * self.adapter(), tokens * self.head());
        let attention = sequences * self.attention(stage.length);
        let again = if stage.recompute { 1.0 } else { 0.0 };
        let weights = if self.adapt.trains_projections() { 1.0 } else { 0.0 };
        let head_weights = if self.trains_head() { 1.0 } else { 0.0 };
        let terms = vec![
            work("linear forward", linear),
            work("linear recompute", again * linear),
            work("linear backward", linear * (1.0 + weights)),
            work("adapter forward", adapter),
            work("adapter recompute", again * adapter),
            work("adapter backward", 2.0 * adapter),
            // QKᵀ and PV; backward: QKᵀ again, dP, dV, dQ, dK.
            work("attention forward", 4.0 * attention),
            work("attention recompute", again * 4.0 * attention),
            work("attention backward", 10.0 * attention),
            work("loss head forward", head),
            work("loss head backward", head * (1.0 + head_weights)),
        ];
        let step = terms.iter().map(|term| term.flops).sum();
        StageFlops { terms, step, total: step * stage.steps as f64 }
    }

    /// The head is the embedding when they are tied.
    fn trains_head(&self) -> bool {
        self.adapt.trains_projections() || (self.model.tied && self.adapt.trains_embedding())
    }

    /// All projections, for one token.
    fn linear(&self) -> f64 {
        2.0 * self.counts().projections as f64
    }

    /// All adapters, for one token.
    fn adapter(&self) -> f64 {
        2.0 * self.counts().adapters as f64
    }

    /// The logits, for one token.
    fn head(&self) -> f64 {
        2.0 * self.model.vocab as f64 * self.model.hidden as f64
    }

    /// One multiplication and no addition for each visible pair and each dimension of each head, in all layers.
    fn attention(&self, length: usize) -> f64 {
        let pairs: f64 = self.layers.iter().map(|pattern| pattern.visible_pairs(length)).sum();
        pairs * Target::Q.shape(&self.model)[0] as f64
    }
}

fn work(name: &'static str, flops: f64) -> Work {
    Work { name: name.into(), flops }
}
