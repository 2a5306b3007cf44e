//! The same recipe at toy size: what a rehearsal on the embedded tiny model does.
//!
//! Ratios are kept (target ÷ native, window ÷ native, the share and place of full layers, the kind of adapter), numbers
//! that have no ratio come from one [`RehearsalRule`], which can be printed.

use std::fmt;

use crate::fault::Note;
use crate::layers::layer_map;
use crate::list::List;
use crate::model::Llama;
use crate::pattern::Pattern;
use crate::plan::{
    AdaptPlan, EvalPlan, GatesPlan, Learns, MergePlan, Plan, PositionsPlan, RopePlan, SourcePlan, StagePlan,
};
use crate::presets;
use crate::recipe::Place;
use crate::rope::{longrope_attention_factor, ntk_theta, yarn_attention_factor};
use crate::scaling::Scaling;
use crate::terms::{Device, Schedule, StageKind};

/// Every number of a rehearsal that does not follow from the recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RehearsalRule {
    /// Larger scales are rehearsed at this one.
    pub most_scale: usize,
    /// Tokens per kernel block; windows are multiples of it.
    pub block: usize,
    /// An adapter's rank is brought into this range.
    pub least_rank: usize,
    /// Its upper end.
    pub most_rank: usize,
    /// Optimiser steps at the native length, where the model gets used to its new positions.
    pub first_steps: usize,
    /// Optimiser steps at each length between the first and the last.
    pub steps: usize,
    /// Optimiser steps at the longest length.
    pub last_steps: usize,
    /// Floating-point operations of all stages: the dearest has fewer steps where they would be more.
    pub most_flops: f64,
    /// Tokens per step, where a sequence is not longer than that.
    pub tokens: usize,
    /// Peak learning rate when all weights learn.
    pub lr_full: f64,
    /// Peak learning rate of adapters.
    pub lr_lora: f64,
    /// Factor of the learning rate from each length to the next.
    pub lr_decay: f64,
    /// Warm-up steps of the first stage; later stages go on.
    pub warmup: usize,
    /// A layer's activations are recomputed in its backward pass.
    pub recompute: bool,
    /// Optimiser steps of gates.
    pub gate_steps: usize,
    /// Native windows that gates are learned at, at most: what a head misses when it streams shows there too.
    pub gate_windows: usize,
    /// Lengths that are measured, in native windows; the target is always one more.
    pub eval_scales: [usize; 5],
}

impl RehearsalRule {
    /// What `rehearse` uses.
    pub const STANDARD: Self = Self {
        most_scale: 32,
        block: 16,
        least_rank: 8,
        most_rank: 32,
        first_steps: 250,
        steps: 60,
        last_steps: 120,
        most_flops: 50e12,
        tokens: 2048,
        lr_full: 1e-3,
        lr_lora: 8e-3,
        lr_decay: 0.75,
        warmup: 10,
        recompute: false,
        gate_steps: 300,
        gate_windows: 4,
        eval_scales: [1, 4, 8, 16, 32],
    };
}

/// The rule in plain words.
impl fmt::Display for RehearsalRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            most_scale,
            block,
            least_rank,
            most_rank,
            first_steps,
            steps,
            last_steps,
            most_flops,
            tokens,
            warmup,
            lr_decay,
            gate_steps,
            gate_windows,
            ..
        } = self;
        writeln!(out, "scale: the recipe's target ÷ native, at most {most_scale}; blocks of {block} tokens")?;
        writeln!(out, "window ÷ native, sinks, share and place of full layers: the recipe's")?;
        writeln!(out, "rope: the recipe's law, stretched as far")?;
        writeln!(
            out,
            "adapters: the recipe's kind and targets, rank {least_rank} to {most_rank}, the same alpha ÷ rank"
        )?;
        writeln!(out, "positions: the recipe's, up to native × 1, 2, 4, … and the farthest that the recipe trains")?;
        writeln!(out, "sequences: as long as that, or the recipe's share of it and a native window at least")?;
        writeln!(
            out,
            "steps: {first_steps} at the native length, then {steps} for each of those, {last_steps} for the last, of {tokens} tokens or one sequence; fewer of the longest where all would take more than {:.0} TFLOP",
            most_flops / 1e12
        )?;
        writeln!(
            out,
            "gates: {gate_steps} steps at the recipe's lr, of sequences up to native × {gate_windows}; recent tokens and sinks as window ÷ native"
        )?;
        write!(
            out,
            "lr: {:?} for all weights, {:?} for adapters, times {lr_decay} from one to the next; {warmup} warm-up steps",
            self.lr_full, self.lr_lora
        )
    }
}

impl Plan {
    /// This plan at toy size, by [`RehearsalRule::STANDARD`].
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        self.rehearsal_by(&RehearsalRule::STANDARD)
    }

    /// This plan at toy size. Text sources stand for generated text there; shares are the recipe's.
    #[must_use]
    pub fn rehearsal_by(&self, rule: &RehearsalRule) -> Self {
        let toy = Toy { plan: self, rule, model: presets::tiny() };
        let drawn = Self {
            name: self.name.clone(),
            target: toy.target(),
            rope: toy.rope(),
            layers: toy.layers().into(),
            gates: toy.gates(),
            block: rule.block,
            tile: crate::settle::CPU_TILE,
            adapt: toy.adapt(),
            optimizer: self.optimizer,
            data: toy.data(&self.data),
            stages: toy.stages().into(),
            eval: toy.eval().into(),
            device: Device::Cpu { memory: u64::MAX },
            notes: toy.notes().into(),
            model: toy.model,
        };
        drawn.within(rule.most_flops)
    }

    /// The same with fewer steps of the dearest stage, one at least, where all would take more than `most` operations.
    fn within(mut self, most: f64) -> Self {
        let flops = self.flops();
        let works = flops.stages.iter().map(|stage| stage.total).enumerate();
        let Some((dearest, work)) = works.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| flops.total > most) else {
            return self;
        };
        let stage = &mut self.stages.to_mut()[dearest];
        let affordable = stage.steps as f64 * (work - (flops.total - most)) / work;
        stage.steps = (affordable as usize).max(1);
        self
    }
}

/// What the parts of a rehearsal are computed from.
struct Toy<'a> {
    plan: &'a Plan,
    rule: &'a RehearsalRule,
    model: Llama,
}

impl Toy<'_> {
    /// The recipe's target ÷ native.
    fn ratio(&self) -> f64 {
        self.plan.target as f64 / self.plan.model.context.max(1) as f64
    }

    /// The rehearsed target ÷ native.
    fn scale(&self) -> f64 {
        self.ratio().min(self.rule.most_scale as f64)
    }

    /// `share` of the toy's native window, in whole blocks, one at least.
    fn blocks(&self, share: f64) -> usize {
        let block = self.rule.block.max(1);
        let blocks = (share * self.model.context as f64 / block as f64).round();
        (blocks as usize).max(1).saturating_mul(block)
    }

    fn target(&self) -> usize {
        self.blocks(self.scale())
    }

    /// A stretch of the recipe's, relative to what is rehearsed: 40 at a scale of 32 keeps its margin under a cap.
    fn stretch(&self, recipe: f64) -> f64 {
        if self.ratio() <= 1.0 { recipe } else { (recipe * self.scale() / self.ratio()).max(1.0) }
    }

    /// The recipe's law on the toy's heads and window.
    fn rope(&self) -> RopePlan {
        let (theirs, ours) = (&self.plan.rope, RopePlan::native(&self.model));
        if *theirs == RopePlan::native(&self.plan.model) {
            return ours;
        }
        let original = self.model.context;
        let scaling = match &theirs.scaling {
            Scaling::Default => Scaling::Default,
            Scaling::LongRope { short, long, factor, attention_factor, .. } => {
                let rescaled = self.stretch(*factor);
                let own = *attention_factor != longrope_attention_factor(*factor, self.plan.model.context);
                let attention_factor =
                    if own { *attention_factor } else { longrope_attention_factor(rescaled, original) };
                let [short, long] = [short, long].map(|factors| self.factors(factors, rescaled / factor).into());
                Scaling::LongRope { short, long, factor: rescaled, original, attention_factor }
            }
            &Scaling::Linear { factor } => Scaling::Linear { factor: self.stretch(factor) },
            &Scaling::Dynamic { factor, .. } => Scaling::Dynamic { factor: self.stretch(factor), original },
            &Scaling::Llama3 { factor, low, high, .. } => {
                Scaling::Llama3 { factor: self.stretch(factor), low, high, original }
            }
            &Scaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, .. } => {
                let rescaled = self.stretch(factor);
                let own = attention_factor != yarn_attention_factor(factor);
                let attention_factor = if own { attention_factor } else { yarn_attention_factor(rescaled) };
                Scaling::Yarn { factor: rescaled, original, beta_fast, beta_slow, attention_factor, truncate }
            }
        };
        RopePlan { theta: self.theta(), scaling, ..ours }
    }

    /// LongRoPE's factors at the toy's pairs: those of the same place from the shortest to the longest wave, reduced as the
    /// scale is.
    fn factors(&self, theirs: &[f64], reduced: f64) -> Vec<f64> {
        let (pairs, last) = (self.model.head_dim / 2, theirs.len().saturating_sub(1));
        let at = |pair: usize| theirs.get(pair * last / (pairs - 1).max(1)).copied().unwrap_or(1.0);
        // A factor of 1 stays, the largest is reduced in full.
        (0..pairs).map(|pair| if reduced < 1.0 { 1.0 + (at(pair) - 1.0) * reduced } else { at(pair) }).collect()
    }

    /// The base that stretches the toy's longest wave as far as the recipe's base stretches the model's.
    fn theta(&self) -> f64 {
        let (dim, model) = (self.plan.model.head_dim as f64, &self.plan.model);
        if self.plan.rope.theta == model.rope_theta {
            return self.model.rope_theta;
        }
        let stretch = (self.plan.rope.theta / model.rope_theta).powf((dim - 2.0) / dim);
        ntk_theta(self.model.rope_theta, self.stretch(stretch), self.model.head_dim)
    }

    /// The same share of full layers at the same place; what is neither all full nor all sparse stays a mixture.
    fn layers(&self) -> Vec<Pattern> {
        let theirs = &self.plan.layers;
        if self.foreign_heads() {
            return vec![Pattern::Full; self.model.layers];
        }
        let full = theirs.iter().filter(|pattern| **pattern == Pattern::Full).count();
        let Some(sparse) = theirs.iter().find(|pattern| **pattern != Pattern::Full) else {
            return vec![Pattern::Full; self.model.layers];
        };
        let (layers, sparse) = (self.model.layers, self.sparse(*sparse));
        if full == 0 {
            return vec![sparse; layers];
        }
        let share = full as f64 / theirs.len() as f64;
        let count = ((share * layers as f64).round() as usize).clamp(1, layers - 1);
        layer_map(layers, count, place(theirs, full), sparse)
    }

    /// Whether the recipe tells apart heads that the toy does not have.
    fn foreign_heads(&self) -> bool {
        let shape = |model: &Llama| (model.layers, model.kv_heads);
        let apart = self.plan.layers.iter().any(|pattern| matches!(pattern, Pattern::Duo { .. }));
        apart && shape(&self.plan.model) != shape(&self.model)
    }

    /// Lengths keep their ratio to the native window, or to the target where they are shares of that; counts stay.
    fn sparse(&self, pattern: Pattern) -> Pattern {
        let native = self.plan.model.context.max(1) as f64;
        let scaled = |tokens: usize| self.scaled(tokens);
        match pattern {
            Pattern::Window { window, sink } => {
                let window = scaled(window);
                Pattern::Window { window, sink: sink.min(window - 1) }
            }
            Pattern::Strided { stride, local, .. } => Pattern::Strided { block: self.rule.block, stride, local },
            Pattern::ShiftedGroups { size } => {
                let share = size as f64 / self.plan.target.max(1) as f64;
                Pattern::ShiftedGroups { size: self.blocks(share * self.target() as f64 / self.model.context as f64) }
            }
            Pattern::DualChunk { chunk, farthest } => {
                let chunk = scaled(chunk);
                let farthest = (farthest as f64 / native * self.model.context as f64).round() as usize;
                Pattern::DualChunk { chunk, farthest: farthest.max(chunk) }
            }
            Pattern::SelfExtend { group, window } => Pattern::SelfExtend { group, window: scaled(window) },
            Pattern::Full | Pattern::Duo { .. } => pattern,
        }
    }

    /// `tokens` in the same ratio to the native window, in whole blocks.
    fn scaled(&self, tokens: usize) -> usize {
        self.blocks(tokens as f64 / self.plan.model.context.max(1) as f64).min(self.target())
    }

    /// What a streaming head sees: recent tokens like a window, sinks in their ratio to these.
    fn streaming(&self, sink: usize, recent: usize) -> [usize; 2] {
        let ours = self.scaled(recent);
        [(sink as f64 / recent.max(1) as f64 * ours as f64).round() as usize, ours]
    }

    fn gates(&self) -> GatesPlan {
        match self.plan.gates {
            GatesPlan::Given => GatesPlan::Given,
            GatesPlan::Learned { sparsity, sink, recent } => {
                let [sink, recent] = self.streaming(sink, recent);
                GatesPlan::Learned { sparsity, sink, recent }
            }
        }
    }

    fn adapt(&self) -> AdaptPlan {
        match &self.plan.adapt {
            AdaptPlan::Full => AdaptPlan::Full,
            AdaptPlan::Lora { rank, rslora, scale, targets, embed, norm, quantized, dropout, .. } => {
                let ours = (*rank).clamp(self.rule.least_rank, self.rule.most_rank);
                AdaptPlan::Lora {
                    rank: ours,
                    alpha: scale * AdaptPlan::divisor(ours, *rslora),
                    rslora: *rslora,
                    scale: *scale,
                    targets: targets.clone(),
                    embed: *embed,
                    norm: *norm,
                    quantized: *quantized,
                    dropout: *dropout,
                }
            }
        }
    }

    /// Lengths from the native window in powers of two to the longest that the recipe trains, in the same ratio to the
    /// target. The last stage follows the schedule of the recipe's longest, and merges where the recipe's last does. Gates
    /// come behind.
    fn stages(&self) -> Vec<StagePlan> {
        let gates = self.plan.gates_stage().map(|stage| self.gates_stage(stage));
        self.weight_stages().into_iter().chain(gates).collect()
    }

    fn weight_stages(&self) -> Vec<StagePlan> {
        let Some(last) = self.longest() else {
            return vec![];
        };
        let merge = self.trained().last().map_or(MergePlan::None, |stage| stage.merge);
        let reaches = self.reaches();
        let count = reaches.len();
        let stage = |(index, reach): (usize, usize)| StagePlan {
            kind: StageKind::Extend,
            rope: self.rope(),
            steps: match index {
                0 if count > 1 => self.rule.first_steps,
                last if last + 1 == count => self.rule.last_steps,
                _ => self.rule.steps,
            },
            length: self.length(last, reach),
            positions: self.positions(last, reach),
            data: self.data(&last.data),
            reach,
            batch: (self.rule.tokens / self.length(last, reach)).max(1),
            lr: self.lr() * self.rule.lr_decay.powi(index as i32),
            warmup: if index == 0 { self.rule.warmup } else { 0 },
            schedule: if index + 1 == count { last.schedule } else { Schedule::Constant },
            seed: last.seed.wrapping_add(index as u64),
            recompute: self.rule.recompute,
            offload: false,
            merge: if index + 1 == count { merge } else { MergePlan::None },
            ..last.clone()
        };
        reaches.into_iter().enumerate().map(stage).collect()
    }

    /// Short text is as short as the toy's window.
    fn data(&self, sources: &[SourcePlan]) -> List<SourcePlan> {
        let piece = |source: &SourcePlan| if source.replay > 0 { self.model.context } else { 0 };
        sources.iter().map(|source| SourcePlan { replay: piece(source), ..source.clone() }).collect()
    }

    /// Gates at the recipe's length, as far as the toy goes, with the recipe's shares of warm-up.
    fn gates_stage(&self, stage: &StagePlan) -> StagePlan {
        let scaled = self.blocks(self.scale() * stage.length as f64 / self.plan.target.max(1) as f64);
        let length = scaled.min(self.target()).min(self.rule.gate_windows.saturating_mul(self.model.context));
        let learns = match stage.learns {
            Learns::Weights => Learns::Weights,
            Learns::Gates { sink, recent, reg, form } => {
                let [sink, recent] = self.streaming(sink, recent);
                Learns::Gates { sink, recent, reg, form }
            }
        };
        let warmup = (stage.warmup as f64 / stage.steps.max(1) as f64 * self.rule.gate_steps as f64).round();
        StagePlan {
            learns,
            rope: self.rope(),
            data: self.data(&stage.data),
            steps: self.rule.gate_steps,
            length,
            reach: length,
            batch: (self.rule.tokens / length).max(1),
            warmup: warmup as usize,
            ..stage.clone()
        }
    }

    /// The recipe's stages that change weights.
    fn trained(&self) -> impl Iterator<Item = &StagePlan> {
        self.plan.stages.iter().filter(|stage| stage.learns == Learns::Weights)
    }

    /// That of them whose positions go farthest, the last of equals.
    fn longest(&self) -> Option<&StagePlan> {
        self.trained().max_by_key(|stage| stage.reach)
    }

    fn lr(&self) -> f64 {
        if self.plan.adapt == AdaptPlan::Full { self.rule.lr_full } else { self.rule.lr_lora }
    }

    /// Tokens of a sequence whose positions go up to `reach`: the recipe's share of it, a native window at least.
    fn length(&self, last: &StagePlan, reach: usize) -> usize {
        let share = last.length as f64 / last.reach.max(1) as f64;
        ((share * reach as f64).round() as usize).clamp(self.model.context.min(reach), reach)
    }

    /// E2-LLM's scales grow with the reach, by the recipe's margin over target ÷ native.
    fn positions(&self, last: &StagePlan, reach: usize) -> PositionsPlan {
        let PositionsPlan::E2 { scale_max, .. } = last.positions else {
            return last.positions;
        };
        let native = self.model.context;
        let margin = scale_max as f64 / self.ratio().max(1.0);
        PositionsPlan::E2 { scale_max: ((margin * reach as f64 / native as f64).round() as usize).max(1), native }
    }

    fn reaches(&self) -> Vec<usize> {
        let longest = self.longest().map_or(0, |stage| stage.reach);
        let reach = self.blocks(self.scale() * longest as f64 / self.plan.target.max(1) as f64).min(self.target());
        let doubled = (0..usize::BITS).map(|shift| self.model.context << shift);
        doubled.take_while(|length| *length < reach).chain([reach]).collect()
    }

    fn eval(&self) -> Vec<EvalPlan> {
        let scaled = self.rule.eval_scales.iter().map(|scale| scale.saturating_mul(self.model.context));
        let mut lengths: Vec<usize> = scaled.filter(|length| *length < self.target()).chain([self.target()]).collect();
        lengths.sort_unstable();
        vec![EvalPlan::Perplexity { lengths: lengths.clone().into() }, EvalPlan::Passkey { lengths: lengths.into() }]
    }

    fn notes(&self) -> Vec<Note> {
        let (ratio, most) = (self.ratio(), self.rule.most_scale);
        let capped = (ratio > most as f64).then(|| {
            let message =
                format!("the recipe's scale is {ratio}, it is rehearsed at {most}; every stretch is reduced alike");
            Note { rule: "rehearsal_scale".into(), message: message.into() }
        });
        let heads = self.foreign_heads().then(|| Note {
            rule: "rehearsal_heads".into(),
            message:
                "gates belong to the recipe's model; the small one has other heads and is rehearsed with full attention"
                    .into(),
        });
        capped.into_iter().chain(heads).collect()
    }
}

/// Where the full layers of `map` stand; a map of no known place counts as middle.
fn place(map: &[Pattern], full: usize) -> Place {
    let sparse = map.iter().find(|pattern| **pattern != Pattern::Full).copied().unwrap_or(Pattern::Full);
    let places = [Place::Middle, Place::Top, Place::Bottom, Place::Interleaved];
    places.into_iter().find(|place| layer_map(map.len(), full, *place, sparse) == map).unwrap_or(Place::Middle)
}

#[cfg(test)]
mod tests;
