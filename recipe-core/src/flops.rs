//! Floating-point operations of training and of reading, term by term; a multiply-add counts as two.
//!
//! Attention is counted by the pairs of tokens that each layer's pattern makes visible, not by T².

use serde::{Deserialize, Serialize};

use crate::list::Text;
use crate::pattern::Pattern;
use crate::plan::{Learns, Plan, StagePlan};
use crate::terms::{Form, Target};

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

impl Plan {
    /// The work of every stage.
    pub fn flops(&self) -> Flops {
        let stages: Vec<StageFlops> = self.stages.iter().map(|stage| self.stage_flops(stage)).collect();
        let total = stages.iter().map(|stage| stage.total).fold(0.0, |sum, total| sum + total);
        Flops { stages, total }
    }

    /// The work of reading one document of `length` tokens, term by term.
    pub fn forward_flops(&self, length: usize) -> Vec<Work> {
        let tokens = length as f64;
        vec![
            work("linear forward", tokens * self.linear()),
            work("adapter forward", tokens * self.adapter()),
            work("attention forward", 4.0 * self.attention(self.expected_layers(), length)),
            work("loss head forward", tokens * self.head()),
        ]
    }

    /// One step computes everything forward, layers again where their activations were not kept, and backward what
    /// leads to a weight that learns.
    fn stage_flops(&self, stage: &StagePlan) -> StageFlops {
        let terms = match stage.learns {
            Learns::Weights => self.weight_terms(stage),
            Learns::Gates { sink, recent, form, .. } => {
                self.gate_terms(stage, Pattern::Window { window: recent, sink }, form)
            }
        };
        let step = terms.iter().map(|term| term.flops).sum();
        StageFlops { terms, step, total: step * stage.steps as f64 }
    }

    fn weight_terms(&self, stage: &StagePlan) -> Vec<Work> {
        let (sequences, tokens) = (stage.batch as f64, stage.batch as f64 * stage.length as f64);
        let (linear, adapter, head) = (tokens * self.linear(), tokens * self.adapter(), tokens * self.head());
        let attention = sequences * self.attention(self.layers.to_vec(), stage.length);
        let again = if stage.recompute { 1.0 } else { 0.0 };
        let weights = if self.adapt.trains_projections() { 1.0 } else { 0.0 };
        let head_weights = if self.trains_head() { 1.0 } else { 0.0 };
        vec![
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
        ]
    }

    /// The full model forward, the gated one forward, again, and backward; no weight has a gradient, and the loss needs no
    /// logits.
    fn gate_terms(&self, stage: &StagePlan, stream: Pattern, form: Form) -> Vec<Work> {
        let (sequences, tokens) = (stage.batch as f64, stage.batch as f64 * stage.length as f64);
        let (linear, adapter) = (tokens * self.linear(), tokens * self.adapter());
        let attention = |pattern| sequences * self.attention(vec![pattern; self.layers.len()], stage.length);
        let full = attention(Pattern::Full);
        let gated = attention(stream) + if form == Form::Paper { full } else { 0.0 };
        vec![
            work("linear forward", 2.0 * linear),
            work("linear recompute", linear),
            work("linear backward", linear),
            work("adapter forward", 2.0 * adapter),
            work("adapter recompute", adapter),
            work("adapter backward", adapter),
            work("attention forward", 4.0 * (full + gated)),
            work("attention recompute", 4.0 * gated),
            work("attention backward", 10.0 * gated),
        ]
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
    fn attention(&self, layers: Vec<Pattern>, length: usize) -> f64 {
        let pairs: f64 = layers.into_iter().map(|pattern| pattern.visible_pairs(length)).sum();
        pairs * Target::Q.shape(&self.model)[0] as f64
    }
}

fn work(name: &'static str, flops: f64) -> Work {
    Work { name: name.into(), flops }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{bare, llama2_128k};

    /// Llama-2 7B reading 128K: 1.7e15 in projections, 4.5e15 in full causal attention.
    #[test]
    fn reading_a_long_document() {
        let work = bare().plan().unwrap().forward_flops(131_072);
        let of = |name: &str| work.iter().find(|work| work.name == name).unwrap().flops;
        assert!((of("linear forward") / 1.7e15 - 1.0).abs() < 0.01);
        assert!((of("attention forward") / 4.5e15 - 1.0).abs() < 0.01);
    }

    #[test]
    fn training_counts_what_learns_and_what_is_recomputed() {
        let mut recipe = llama2_128k();
        recipe.allow.push("does_not_fit".into());
        let flops = recipe.plan().unwrap().flops();
        let of = |flops: &Flops, name: &str| flops.stages[0].terms.iter().find(|work| work.name == name).unwrap().flops;
        assert_eq!(of(&flops, "linear backward"), of(&flops, "linear forward"));
        assert_eq!(of(&flops, "linear recompute"), of(&flops, "linear forward"));
        assert_eq!(of(&flops, "attention backward"), 2.5 * of(&flops, "attention forward"));
        assert_eq!(flops.total, 1000.0 * flops.stages[0].step);
        recipe.adapt = None;
        recipe.train[0].recompute = Some(false);
        let full = recipe.plan().unwrap().flops();
        assert_eq!(of(&full, "linear backward"), 2.0 * of(&full, "linear forward"));
        assert_eq!(of(&full, "linear recompute"), 0.0);
        assert_eq!(of(&full, "loss head backward"), 2.0 * of(&full, "loss head forward"));
        assert_eq!(of(&full, "adapter forward"), 0.0);
    }
}
