//! The rule about `device:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::layers::layer_map;
use crate::pattern::Pattern;
use crate::plan::{AdaptPlan, Learns, Plan, StagePlan};
use crate::readable::{readable_bytes, readable_tokens as tokens};
use crate::recipe::Place;
use crate::settle::MOST_LAYERS;
use crate::terms::{Device, Optimizer, Target};

pub(super) const RULES: &[Rule] = &[Rule { name: "does_not_fit", level: Level::Guard, find: does_not_fit }];

/// A change to a plan, as a person would write it; none where it changes nothing.
type Change = (String, Plan);

/// What a step needs must be there; the help names the cheapest change that makes it fit, found by trying.
fn does_not_fit(case: &Case) -> Vec<Finding> {
    let (plan, memory) = (case.plan, case.plan.memory());
    let available = plan.device.memory();
    // Where sizes are a slip of the keyboard, so is the sum.
    if memory.total <= available || plan.model.layers > MOST_LAYERS {
        return vec![];
    }
    let (needed, there) = (readable_bytes(memory.total), readable_bytes(available));
    let message = format!("needs {needed}, {} has {there}: {memory}", plan.device);
    let fitting = changes(plan).into_iter().find(|(_, changed)| changed.memory().total <= available);
    let help = match fitting {
        Some((words, changed)) => format!("{words}, which needs {}", readable_bytes(changed.memory().total)),
        None => format!("no small change fits; write `device: {}`", larger(plan.device, memory.total)),
    };
    vec![Finding::new(Field::new("device"), message, help)]
}

impl Plan {
    /// What to write so that a step needs `missing` bytes less and stays within `available`, each with what it needs then: small
    /// changes of one thing, and the longest sequences that fit; empty where none of them helps.
    pub fn remedies(&self, missing: u64, available: u64) -> Vec<String> {
        let within = self.memory().total.saturating_sub(missing).min(available);
        let alone = [recompute(self), offload(self), moments(self).into_iter().collect(), adapters(self)];
        let alone = alone.into_iter().flatten();
        let length = self.longest_within(within);
        let shorter = (length > 0 && !self.stages.is_empty())
            .then(|| (format!("write `length = {}`", tokens(length)), self.of_length(length)));
        let fits = |(words, plan): Change| {
            let total = plan.memory().total;
            (total <= within).then(|| format!("{words} ({})", readable_bytes(total)))
        };
        alone.chain(shorter).filter_map(fits).collect()
    }
}

/// Changes from the cheapest to the dearest: time first, then what learns, then how long it trains.
fn changes(plan: &Plan) -> Vec<Change> {
    if plan.stages.is_empty() {
        return sparse(plan).into_iter().chain(shorter_targets(plan)).collect();
    }
    let recompute = recompute(plan);
    let offload = offload(plan);
    let moments: Vec<Change> = moments(plan).into_iter().collect();
    let adapters = adapters(plan);
    let both = recompute.iter().chain(&offload).flat_map(adapters_after).collect();
    let mut list: Vec<Change> = [recompute, offload, moments, adapters, both].into_iter().flatten().collect();
    list.extend(shorter_stages(plan));
    // The last resort: everything at once.
    let smallest =
        list.iter().filter(|(words, _)| !words.contains("length")).min_by_key(|(_, plan)| plan.memory().total).cloned();
    list.extend(smallest.iter().flat_map(|(words, plan)| joined(words, shorter_stages(plan))));
    list
}

fn joined(words: &str, changes: Vec<Change>) -> Vec<Change> {
    let join = |(more, plan)| (format!("{words} and {more}"), plan);
    changes.into_iter().map(join).collect()
}

/// Recomputing a layer costs a third of its time.
fn recompute(plan: &Plan) -> Vec<Change> {
    if plan.stages.iter().all(|stage| stage.recompute) {
        return vec![];
    }
    let stages = plan.stages.iter().map(|stage| StagePlan { recompute: true, ..stage.clone() }).collect();
    vec![("write `recompute = every`".to_owned(), Plan { stages, ..plan.clone() })]
}

/// Moments in 8 bits cost rounding and hardly any time.
fn moments(plan: &Plan) -> Option<Change> {
    let smaller = Plan { optimizer: Optimizer::AdamW8bit, ..plan.clone() };
    let words = format!("write `optimizer: {}`", smaller.optimizer.word());
    (smaller.memory().total < plan.memory().total).then_some((words, smaller))
}

/// Copies to the host hide behind the layers' own work.
fn offload(plan: &Plan) -> Vec<Change> {
    let moves = |stage: &StagePlan| stage.learns == Learns::Weights && stage.recompute && !stage.offload;
    if !matches!(plan.device, Device::Cuda { .. }) || !plan.stages.iter().any(moves) {
        return vec![];
    }
    let stages = plan.stages.iter().map(|stage| StagePlan { offload: stage.offload || moves(stage), ..stage.clone() });
    vec![("write `offload = true`".to_owned(), Plan { stages: stages.collect(), ..plan.clone() })]
}

fn adapters_after((words, plan): &Change) -> Vec<Change> {
    joined(words, adapters(plan))
}

/// Fewer weights that learn, or smaller ones that do not.
fn adapters(plan: &Plan) -> Vec<Change> {
    let adapted = |words: &str, adapt| (words.to_owned(), Plan { adapt, ..plan.clone() });
    let rank = 32.min(plan.model.kv_width()).min(plan.model.hidden);
    match &plan.adapt {
        AdaptPlan::Full => vec![
            adapted(&format!("write `adapt: lora(rank = {rank})`"), lora(rank, false)),
            adapted(&format!("write `adapt: qlora(rank = {rank})`"), lora(rank, true)),
        ],
        AdaptPlan::Lora { rank, alpha, rslora, scale, targets, embed, norm, quantized, dropout } => {
            let (rank, alpha, rslora, scale, dropout) = (*rank, *alpha, *rslora, *scale, *dropout);
            let with = |embed, quantized| AdaptPlan::Lora {
                rank,
                alpha,
                rslora,
                scale,
                targets: targets.clone(),
                embed,
                norm: *norm,
                quantized,
                dropout,
            };
            let mut list = vec![];
            if !quantized {
                list.push(adapted("write `qlora` in place of `lora`", with(*embed, true)));
            }
            if *embed {
                list.push(adapted("remove `embed` from `train`", with(false, *quantized)));
            }
            if *embed && !quantized {
                list.push(adapted(
                    "write `qlora` in place of `lora` and remove `embed` from `train`",
                    with(false, true),
                ));
            }
            list
        }
    }
}

fn lora(rank: usize, quantized: bool) -> AdaptPlan {
    let targets = vec![Target::Q, Target::K, Target::V, Target::O].into();
    let alpha = 2.0 * rank as f64;
    let (rslora, scale, dropout) = (false, 2.0, 0.0);
    AdaptPlan::Lora { rank, alpha, rslora, scale, targets, embed: false, norm: false, quantized, dropout }
}

/// Halves of the longest sequence, down to the native window.
fn shorter_stages(plan: &Plan) -> Vec<Change> {
    let longest = plan.stages.iter().map(|stage| stage.length).max().unwrap_or(0);
    let change = |length: usize| {
        let cut = |stage: &StagePlan| StagePlan { length: stage.length.min(length), ..stage.clone() };
        let stages = plan.stages.iter().map(cut).collect();
        (format!("write `length = {}`", tokens(length)), Plan { stages, ..plan.clone() })
    };
    halves(longest, plan.model.context).map(change).collect()
}

/// LongGen's layout (arXiv 2410.01485) for a model that only reads.
fn sparse(plan: &Plan) -> Option<Change> {
    let pattern = Pattern::Window { window: 4096, sink: 4 };
    let all_full = plan.layers.iter().all(|pattern| *pattern == Pattern::Full);
    if !all_full || plan.target <= 4096 {
        return None;
    }
    let count = plan.layers.len();
    let layers = layer_map(count, (count / 3).max(1), Place::Middle, pattern);
    let words = "write `attention: hybrid(full = 1/3, window = 4096, sink = 4)`".to_owned();
    Some((words, Plan { layers: layers.into(), ..plan.clone() }))
}

fn shorter_targets(plan: &Plan) -> Vec<Change> {
    let change = |target| (format!("write a target of {}", tokens(target)), Plan { target, ..plan.clone() });
    halves(plan.target, plan.model.context).map(change).collect()
}

/// `length` ÷ 2, ÷ 4, … while that is `least` or more.
fn halves(length: usize, least: usize) -> impl Iterator<Item = usize> {
    (1..usize::BITS).map(move |shift| length >> shift).take_while(move |half| *half >= least.max(1))
}

/// A device of the same kind that holds `bytes`.
fn larger(device: Device, bytes: u64) -> Device {
    const GB: u64 = 1_000_000_000;
    match device {
        Device::Cpu { .. } => Device::Cpu { memory: bytes.div_ceil(1 << 30).saturating_mul(1 << 30) },
        Device::Cuda { deterministic, .. } => {
            Device::Cuda { memory: bytes.div_ceil(GB).saturating_mul(GB), deterministic }
        }
    }
}
