//! DuoAttention's gates (arXiv 2410.10819): from a number for each key/value head to heads that retrieve and heads that
//! stream.

use crate::pattern::Pattern;
use crate::plan::{GatesPlan, Learns, Plan, StagePlan};

/// A layer's heads are the bits of a number.
pub(crate) const MOST_HEADS: usize = 64;

/// Above this a gate says that its head needs the whole context.
const OPEN: f64 = 0.5;

/// What gates say, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct GateSummary {
    /// Key/value heads of all layers.
    pub heads: usize,
    /// The mean gate.
    pub mean: f64,
    /// Heads whose gate is above one half.
    pub open: usize,
    /// Heads that stream.
    pub streaming: usize,
    /// Heads that stream although their gate is above one half.
    pub open_streaming: usize,
}

impl Plan {
    /// This plan with gates that were learned, layer by layer: the heads with the largest keep the whole context. A plan that
    /// waits for none stays as it is.
    #[must_use]
    pub fn with_gates(&self, gates: &[Vec<f64>]) -> Self {
        let GatesPlan::Learned { sparsity, sink, recent } = self.gates else {
            return self.clone();
        };
        let layers = duo_layers(gates, [self.layers.len(), self.model.kv_heads], sparsity, [sink, recent]);
        Self { layers: layers.into(), gates: GatesPlan::Given, ..self.clone() }
    }

    /// Whether some stage changes weights.
    pub fn trains_weights(&self) -> bool {
        self.stages.iter().any(|stage| stage.learns == Learns::Weights)
    }

    /// The stage that learns gates.
    pub fn gates_stage(&self) -> Option<&StagePlan> {
        self.stages.iter().find(|stage| stage.learns != Learns::Weights)
    }

    /// How many of `gates` are open, and how many heads stream all the same.
    pub fn gate_summary(&self, gates: &[Vec<f64>]) -> GateSummary {
        let layers = self.with_gates(gates).layers;
        let mut found = GateSummary { heads: 0, mean: 0.0, open: 0, streaming: 0, open_streaming: 0 };
        for (pattern, gates) in layers.iter().zip(gates) {
            for (head, &gate) in gates.iter().enumerate() {
                let (open, streams) = (gate > OPEN, pattern.streams(head));
                found.heads += 1;
                found.mean += gate;
                found.open += usize::from(open);
                found.streaming += usize::from(streams);
                found.open_streaming += usize::from(open && streams);
            }
        }
        found.mean /= found.heads.max(1) as f64;
        found
    }

    /// What each layer sees outside of training. Of gates that nobody knows yet, as many heads stream as will: sums over all
    /// heads are right, their places are not.
    pub(crate) fn expected_layers(&self) -> Vec<Pattern> {
        match self.gates {
            GatesPlan::Given => self.inference_layers().collect(),
            GatesPlan::Learned { .. } => {
                let equal = vec![1.0; self.model.kv_heads.min(MOST_HEADS)];
                self.with_gates(&vec![equal; self.layers.len()]).layers.into_owned()
            }
        }
    }
}

/// A pattern for each of `layers`, whose `kv_heads` stream but for those with the largest gates.
pub(crate) fn duo_layers(
    gates: &[Vec<f64>],
    [layers, kv_heads]: [usize; 2],
    sparsity: f64,
    [sink, window]: [usize; 2],
) -> Vec<Pattern> {
    let retrieval = retrieval_heads(gates, sparsity);
    let of = |layer: usize| retrieval.get(layer).copied().unwrap_or(0);
    (0..layers).map(|layer| Pattern::Duo { retrieval: of(layer), kv_heads, window, sink }).collect()
}

/// Which heads of each layer retrieve, a bit each: of all heads of all layers those with the largest gates, the first ones
/// where gates are equal. The published threshold is the gates' quantile, with noise to break ties.
fn retrieval_heads(gates: &[Vec<f64>], sparsity: f64) -> Vec<u64> {
    let mut heads: Vec<(f64, usize, usize)> = gates
        .iter()
        .enumerate()
        .flat_map(|(layer, gates)| {
            gates.iter().take(MOST_HEADS).enumerate().map(move |(head, gate)| (*gate, layer, head))
        })
        .collect();
    heads.sort_by(|a, b| b.0.total_cmp(&a.0));
    let count = ((1.0 - sparsity.clamp(0.0, 1.0)) * heads.len() as f64).round() as usize;
    let mut retrieval = vec![0; gates.len()];
    heads.iter().take(count).for_each(|(_, layer, head)| retrieval[*layer] |= 1 << head);
    retrieval
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::recipe::{Attention, Gates, Stage};
    use crate::samples::bare;
    use crate::{GatesPlan, Pattern, StageKind};

    fn duo(gates: Gates, sparsity: f64) -> Plan {
        let mut recipe = bare();
        let learned = gates == Gates::Learned;
        recipe.attention = Some(Attention::Duo { gates, sparsity: Some(sparsity), sink: Some(4), recent: Some(32) });
        let stage = Stage { kind: StageKind::Gates, ..Stage::default() };
        recipe.train = if learned { vec![stage] } else { vec![] };
        recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
    }

    /// No two alike.
    fn gates() -> Vec<Vec<f64>> {
        (0..32)
            .map(|layer| (0..32).map(|head| f64::from((layer * 32 + head) * 389 % 1024) / 1024.0).collect())
            .collect()
    }

    #[test]
    fn learned_gates_make_the_layers_that_given_ones_make() {
        for sparsity in [0.0, 0.25, 0.75, 1.0] {
            let (given, waiting) = (duo(Gates::Given(gates()), sparsity), duo(Gates::Learned, sparsity));
            assert!(waiting.layers.iter().all(|pattern| *pattern == Pattern::Full));
            let learned = waiting.with_gates(&gates());
            assert_eq!((&learned.layers, learned.gates), (&given.layers, GatesPlan::Given));
            assert_eq!(learned.with_gates(&[vec![0.0; 32]]).layers, given.layers);
            assert_eq!(waiting.kv_cache_bytes(4096), given.kv_cache_bytes(4096));
            let flops = |plan: &Plan| plan.forward_flops(4096).iter().map(|work| work.flops).sum::<f64>();
            assert!((flops(&waiting) / flops(&given) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_summary_counts_what_the_quantile_ignores() {
        let found = duo(Gates::Learned, 0.75).gate_summary(&gates());
        assert_eq!((found.heads, found.open, found.streaming, found.open_streaming), (1024, 511, 768, 255));
        assert!((found.mean - 0.4995).abs() < 1e-4, "{}", found.mean);
    }

    #[test]
    fn only_the_stage_of_gates_leaves_weights_alone() {
        let plan = duo(Gates::Learned, 0.5);
        assert!(!plan.trains_weights() && plan.gates_stage().is_some());
        assert_eq!(plan.counts().trainable, 0);
        let plan = crate::samples::llama2_128k().plan().unwrap();
        assert!(plan.trains_weights() && plan.gates_stage().is_none());
    }
}
