//! Fills in what was left out. Every default of the language is stated here, once.
//!
//! Settling never fails and never judges: it makes a draft of any recipe, also of one that cannot work, with arithmetic
//! that saturates. The rules in `check` read the recipe and its draft side by side; only a draft without faults leaves
//! this crate as a [`Plan`].

use crate::gates;
use crate::layers::{full_count, layer_map};
use crate::model::Llama;
use crate::pattern::Pattern;
use crate::plan::{
    AdaptPlan, EvalPlan, GatesPlan, Learns, MergePlan, Papers, Plan, PositionsPlan, RopePlan, SelectPlan, SourcePlan,
    StagePlan,
};
use crate::recipe::{
    Adapt, Attention, Eval, Gates, Merge, MergeForm, Place, Positions, Recipe, Rope, Select, Source, Sparse, Stage,
    Strided, Window,
};
use crate::rope::{ntk_theta, yarn_attention_factor};
use crate::scaling::Scaling;
use crate::terms::{Device, Documents, Form, Optimizer, Schedule, SourceKind, StageKind, Target, TokenType};

/// The rule whose permission also makes the left side of `->` count as the native window.
pub(crate) const NATIVE_CONTEXT: &str = "native_context";
/// Tokens per kernel block.
const BLOCK: usize = 64;
/// Tokens of an MLP's tile. On the CPU the most that several sequences have together, so that they are one tile. A GPU unpacks a
/// frozen NF4 projection for every product: over 8K rows that is 4% of the product's own time, at the rates of an H100.
pub(crate) const CPU_TILE: usize = 4096;
const CUDA_TILE: usize = 8192;
/// StreamingLLM's sink tokens are asked for, never assumed.
const SINK: usize = 0;
/// LongGen's pattern B keeps as many tokens as its strided blocks hold.
const LOCAL: usize = 1;
/// DuoAttention's deployment of models whose heads share keys: half of the heads, 64 sinks, 256 recent tokens.
const SPARSITY: f64 = 0.5;
const STREAM_SINK: usize = 64;
const RECENT: usize = 256;
/// And its optimisation: steps, AdamW, windows while gates learn, what an open gate costs.
const GATE_STEPS: usize = 2000;
const GATE_LR: f64 = 0.02;
const GATE_BETAS: (f64, f64) = (0.9, 0.999);
const GATE_SINK: usize = 128;
const GATE_RECENT: usize = 256;
const GATE_REG: f64 = 0.05;
/// LongLoRA's group, of the length that is trained for (arXiv 2309.12307).
const GROUP: f64 = 0.25;
/// LongGen's ablation: the middle is best (arXiv 2410.01485).
const PLACE: Place = Place::Middle;
/// YaRN's for Llama (arXiv 2309.00071).
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;
const TRUNCATE: bool = true;
/// Llama 3.1's `low_freq_factor` and `high_freq_factor`.
const LOW_FREQUENCY: f64 = 1.0;
const HIGH_FREQUENCY: f64 = 4.0;
/// What an adapter's product is multiplied by.
const SCALE: f64 = 2.0;
const TARGETS: [Target; 4] = [Target::Q, Target::K, Target::V, Target::O];
/// Position Interpolation's training (arXiv 2306.15595 §3.1).
const LR: f64 = 2e-5;
const WARMUP: usize = 20;
const BETAS: (f64, f64) = (0.9, 0.95);
const WEIGHT_DECAY: f64 = 0.0;
const CLIP: f64 = 1.0;
const BATCH: usize = 1;
const SCHEDULE: Schedule = Schedule::Constant;
const RECOMPUTE: bool = true;
const OFFLOAD: bool = false;
const DROPOUT: f64 = 0.0;
const DOCUMENTS: Documents = Documents::Mask;
const TIMES: usize = 5;
/// LongRecipe's replay and merge (arXiv 2409.00509).
const REPLAY_LR: f64 = 5e-6;
const MERGE_BASE: f64 = 0.5;
const MERGE_FORM: MergeForm = MergeForm::Linear;
/// LongRecipe's and E2-LLM's, PoSE's and CREAM's (methods as published).
const KEEP: f64 = 0.3;
const CHUNKS: usize = 2;
const SIGMA: f64 = 3.0;
pub(crate) const SCALE_MAX: usize = 20;
/// The types that stand out in its analysis, and what its program keeps of sentences without a digit.
const TYPES: [TokenType; 3] = [TokenType::Num, TokenType::Pron, TokenType::Aux];
const KEEP_OTHERS: f64 = 0.0;
const CODE_TYPES: [TokenType; 1] = [TokenType::Num];
const CODE_KEEP_OTHERS: f64 = 0.5;
/// Position Interpolation's effective window (arXiv 2306.15595 §3.3).
const DISTANCES: usize = 32;
const TRIALS: usize = 10;
const SUCCESS: f64 = 0.2;
/// A fiftieth of a nat: 2 % of perplexity.
const MAX_LOSS: f64 = 0.02;
/// 8 bits are asked for, never assumed.
const OPTIMIZER: Optimizer = Optimizer::AdamW;
/// The CPU, as much memory as there is.
const DEVICE: Device = Device::Cpu { memory: u64::MAX };

/// More layers than any model has; a draft's layer map stops there, and a rule refuses what goes beyond.
pub(crate) const MOST_LAYERS: usize = 65_536;

/// The draft of `recipe`.
pub(crate) fn settle(recipe: &Recipe) -> Plan {
    let model = Llama { context: native(recipe), ..recipe.model.clone() };
    let (layers, block) = attention(recipe, &model);
    Plan {
        name: recipe.name.clone().into(),
        target: recipe.context.target,
        rope: rope(recipe.rope.as_ref(), &model, recipe.context.target),
        layers: layers.into(),
        gates: learned_gates(recipe.attention.as_ref()),
        block,
        tile: tile(recipe.device.unwrap_or(DEVICE)),
        adapt: adapt(recipe.adapt.as_ref()),
        optimizer: recipe.optimizer.unwrap_or(OPTIMIZER),
        data: data(&recipe.data, model.context).into(),
        stages: recipe.train.iter().enumerate().map(|(index, written)| stage(written, index, recipe, &model)).collect(),
        eval: recipe.eval.iter().map(Eval::plan).collect(),
        device: recipe.device.unwrap_or(DEVICE),
        notes: Vec::new().into(),
        model,
    }
}

fn tile(device: Device) -> usize {
    match device {
        Device::Cpu { .. } => CPU_TILE,
        Device::Cuda { .. } => CUDA_TILE,
    }
}

/// The model's own window; the left side of `->` instead, where the recipe insists on it.
fn native(recipe: &Recipe) -> usize {
    let insists = recipe.allow.iter().any(|rule| rule == NATIVE_CONTEXT);
    recipe.context.native.filter(|_| insists).unwrap_or(recipe.model.context)
}

/// A rope word replaces the scaling that the model was released with; `none` keeps it.
fn rope(rope: Option<&Rope>, model: &Llama, target: usize) -> RopePlan {
    let original = model.context;
    let (theta, scaling) = match rope.cloned().unwrap_or(Rope::None) {
        Rope::None => return RopePlan::native(model),
        Rope::Interpolate { scale } => (model.rope_theta, Scaling::Linear { factor: scale }),
        Rope::Theta { theta } => (theta, Scaling::Default),
        Rope::Ntk { scale } => (ntk_theta(model.rope_theta, scale, model.head_dim), Scaling::Default),
        Rope::DynamicNtk { scale } => (model.rope_theta, Scaling::Dynamic { factor: scale, original }),
        Rope::Yarn { scale, beta_fast, beta_slow, attention_factor, truncate } => {
            let yarn = Scaling::Yarn {
                factor: scale,
                original,
                beta_fast: beta_fast.unwrap_or(BETA_FAST),
                beta_slow: beta_slow.unwrap_or(BETA_SLOW),
                attention_factor: attention_factor.unwrap_or_else(|| yarn_attention_factor(scale)),
                truncate: truncate.unwrap_or(TRUNCATE),
            };
            (model.rope_theta, yarn)
        }
        Rope::LongRope(factors) => (model.rope_theta, Scaling::longrope(&factors, target, original)),
        Rope::Llama3 { scale, low, high } => {
            let (low, high) = (low.unwrap_or(LOW_FREQUENCY), high.unwrap_or(HIGH_FREQUENCY));
            (model.rope_theta, Scaling::Llama3 { factor: scale, low, high, original })
        }
    };
    RopePlan { theta, scaling, head_dim: model.head_dim }
}

/// The recipe's law with the stage's base or scale in the place of its own.
fn stage_rope(stage: &Stage, recipe: &Recipe, model: &Llama) -> RopePlan {
    let law = match (&recipe.rope, stage.scale) {
        (Some(law), Some(scale)) => Some(law.with_scale(scale)),
        (law, _) => law.clone(),
    };
    let settled = rope(law.as_ref(), model, recipe.context.target);
    RopePlan { theta: stage.theta.unwrap_or(settled.theta), ..settled }
}

/// The layer map and the kernel block.
fn attention(recipe: &Recipe, model: &Llama) -> (Vec<Pattern>, usize) {
    let layers = model.layers.min(MOST_LAYERS);
    let alike = |pattern| (vec![pattern; layers], BLOCK);
    let Some(attention) = &recipe.attention else { return alike(released(model)) };
    match attention {
        &Attention::Sparse(sparse) => (vec![pattern(sparse); layers], block(sparse)),
        &Attention::Hybrid { full, place, sparse } => {
            (layer_map(layers, full_count(full, layers), place.unwrap_or(PLACE), pattern(sparse)), block(sparse))
        }
        Attention::Duo { gates: Gates::Given(gates), sparsity, sink, recent } => {
            let streaming = [sink.unwrap_or(STREAM_SINK), recent.unwrap_or(RECENT)];
            let sparsity = sparsity.unwrap_or(SPARSITY);
            (gates::duo_layers(gates, [layers, model.kv_heads], sparsity, streaming), BLOCK)
        }
        Attention::Full | Attention::Duo { gates: Gates::Learned, .. } => alike(Pattern::Full),
        &Attention::ShiftedGroups { group } => alike(shifted_groups(group, recipe.context.target)),
        &Attention::DualChunk { chunk, local, form } => {
            let chunk = chunk.unwrap_or(model.context / 4 * 3);
            alike(dual_chunk(chunk, local, form.unwrap_or(Form::Paper), model.context))
        }
        &Attention::SelfExtend { group, window } => alike(Pattern::SelfExtend { group, window }),
    }
}

/// What the model's layers saw as it was released.
fn released(model: &Llama) -> Pattern {
    match model.window {
        0 => Pattern::Full,
        window => Pattern::Window { window, sink: 0 },
    }
}

fn pattern(sparse: Sparse) -> Pattern {
    match sparse {
        Sparse::Window(Window { window, sink, .. }) => Pattern::Window { window, sink: sink.unwrap_or(SINK) },
        Sparse::Strided(Strided { stride, local, block }) => {
            Pattern::Strided { block: block.unwrap_or(BLOCK), stride, local: local.unwrap_or(LOCAL) }
        }
    }
}

fn block(sparse: Sparse) -> usize {
    let (Sparse::Window(Window { block, .. }) | Sparse::Strided(Strided { block, .. })) = sparse;
    block.unwrap_or(BLOCK)
}

/// S²-Attn's groups, a share of the target.
fn shifted_groups(group: Option<f64>, target: usize) -> Pattern {
    let size = (group.unwrap_or(GROUP).clamp(0.0, 1.0) * target as f64).round();
    Pattern::ShiftedGroups { size: size as usize }
}

/// What `duo(gates = learned)` leaves to the stage `gates`.
fn learned_gates(attention: Option<&Attention>) -> GatesPlan {
    match attention {
        Some(&Attention::Duo { gates: Gates::Learned, sparsity, sink, recent }) => GatesPlan::Learned {
            sparsity: sparsity.unwrap_or(SPARSITY),
            sink: sink.unwrap_or(STREAM_SINK),
            recent: recent.unwrap_or(RECENT),
        },
        _ => GatesPlan::Given,
    }
}

/// The paper walks chunks of s and puts far queries at c − 1 = s + w − 1; the program takes the local window off the chunk
/// and puts them at the chunk size.
fn dual_chunk(chunk: usize, local: Option<usize>, form: Form, native: usize) -> Pattern {
    match form {
        Form::Paper => {
            let local = local.unwrap_or(native.saturating_sub(chunk));
            Pattern::DualChunk { chunk, farthest: chunk.saturating_add(local).saturating_sub(1) }
        }
        Form::Code => {
            let local = local.unwrap_or(native / 8);
            Pattern::DualChunk { chunk: chunk.saturating_sub(local), farthest: chunk }
        }
    }
}

fn adapt(adapt: Option<&Adapt>) -> AdaptPlan {
    let Some(Adapt::Lora { rank, alpha, targets, embed, norm, quantized, rslora, dropout }) = adapt else {
        return AdaptPlan::Full;
    };
    let mut targets = targets.clone().unwrap_or_else(|| TARGETS.to_vec());
    targets.sort_unstable();
    targets.dedup();
    let divisor = AdaptPlan::divisor(*rank, *rslora);
    let alpha = alpha.unwrap_or(SCALE * divisor);
    AdaptPlan::Lora {
        rank: *rank,
        alpha,
        rslora: *rslora,
        scale: alpha / divisor,
        targets: targets.into(),
        embed: *embed,
        norm: *norm,
        quantized: *quantized,
        dropout: dropout.unwrap_or(DROPOUT),
    }
}

/// Sources without a share divide what the others leave; shares are then scaled to sum to 1 exactly.
fn data(sources: &[Source], native: usize) -> Vec<SourcePlan> {
    let written: f64 = sources.iter().filter_map(|source| source.share).sum();
    let silent = sources.iter().filter(|source| source.share.is_none()).count();
    let rest = (1.0 - written) / silent.max(1) as f64;
    let total = if silent > 0 { 1.0 } else { written };
    let settled = |source: &Source| SourcePlan {
        kind: source.kind.clone(),
        share: source.share.unwrap_or(rest) / total,
        upsample: source.upsample.unwrap_or(0),
        times: source.times.unwrap_or(if source.upsample.is_some() { TIMES } else { 1 }),
        replay: if source.replay { native } else { 0 },
        papers: papers(source),
    };
    sources.iter().map(settled).collect()
}

/// Who says how many questions there are, or where answers stand, wants exams; questions and answers are nothing else.
fn papers(source: &Source) -> Papers {
    let usual = Papers::USUAL;
    let exams_alone = source.kind == SourceKind::Qa || source.asked.is_some() || source.depth.is_some();
    let (shallowest, deepest) = source.depth.unwrap_or((usual.shallowest, usual.deepest));
    Papers {
        exams: if exams_alone { 1.0 } else { usual.exams },
        asked: source.asked.unwrap_or(usual.asked),
        shallowest,
        deepest,
        loss: source.loss.unwrap_or(usual.loss),
    }
}

/// The scheme and the tokens of a sequence that it takes to reach `target`: LongRecipe a share of it, the others the model's
/// own window.
fn positions(written: Option<Positions>, native: usize, target: usize) -> (PositionsPlan, usize) {
    match written.unwrap_or(Positions::Contiguous) {
        Positions::Contiguous => (PositionsPlan::Contiguous, target),
        Positions::LongRecipe { keep } => {
            let share = keep.unwrap_or(KEEP).clamp(0.0, 1.0);
            (PositionsPlan::LongRecipe, (share * target as f64).round().max(2.0) as usize)
        }
        Positions::Pose { chunks, form } => {
            let (chunks, form) = (chunks.unwrap_or(CHUNKS), form.unwrap_or(Form::Paper));
            (PositionsPlan::Pose { chunks, form }, native.min(target))
        }
        Positions::Cream { sigma } => (PositionsPlan::Cream { sigma: sigma.unwrap_or(SIGMA) }, native.min(target)),
        Positions::E2 { scale_max } => {
            (PositionsPlan::E2 { scale_max: scale_max.unwrap_or(SCALE_MAX), native }, native.min(target))
        }
        Positions::Random => (PositionsPlan::Random, native.min(target)),
    }
}

/// A replay brings short-range abilities back, and gates watch a model at work, so both read whole text.
fn select(written: Option<&Select>, kind: StageKind) -> SelectPlan {
    let whole = matches!(kind, StageKind::Replay | StageKind::Gates);
    let Some(Select::Impactful { types, keep, form }) = written.filter(|_| !whole) else {
        return SelectPlan::All;
    };
    let form = form.unwrap_or(Form::Paper);
    let (usual, others) = match form {
        Form::Paper => (&TYPES[..], KEEP_OTHERS),
        Form::Code => (&CODE_TYPES[..], CODE_KEEP_OTHERS),
    };
    let mut types = types.clone().unwrap_or_else(|| usual.to_vec());
    types.sort_unstable();
    types.dedup();
    SelectPlan::Impactful { types: types.into(), keep: keep.unwrap_or(others), form }
}

/// The end of the positions.
fn reach(positions: PositionsPlan, length: usize, target: usize) -> usize {
    match positions {
        PositionsPlan::Contiguous => length,
        PositionsPlan::E2 { scale_max, native } => scale_max.saturating_mul(native),
        _ => target.max(length),
    }
}

fn stage(stage: &Stage, index: usize, recipe: &Recipe, model: &Llama) -> StagePlan {
    let (kind, target) = (stage.kind, recipe.context.target);
    let (positions, usual) = match kind {
        StageKind::Replay => (PositionsPlan::Contiguous, model.context.min(target)),
        // Gates are for inference, whose positions are contiguous.
        StageKind::Gates => (PositionsPlan::Contiguous, target),
        _ => positions(recipe.positions, model.context, target),
    };
    let length = stage.length.unwrap_or(usual);
    let batch = stage.batch.unwrap_or(BATCH);
    let gates = kind == StageKind::Gates;
    let steps = match (stage.steps, stage.tokens) {
        (Some(steps), _) => steps,
        (None, None) if gates => GATE_STEPS,
        (None, tokens) => steps_for(tokens.unwrap_or(0), length, batch),
    };
    let (beta1, beta2) = stage.betas.unwrap_or(if gates { GATE_BETAS } else { BETAS });
    StagePlan {
        kind,
        learns: learns(stage),
        steps,
        length,
        rope: stage_rope(stage, recipe, model),
        data: data(if stage.data.is_empty() { &recipe.data } else { &stage.data }, model.context).into(),
        select: select(recipe.select.as_ref(), kind),
        documents: stage.documents.unwrap_or(DOCUMENTS),
        positions,
        reach: reach(positions, length, target),
        batch,
        lr: stage.lr.unwrap_or(match kind {
            StageKind::Replay => REPLAY_LR,
            StageKind::Gates => GATE_LR,
            StageKind::Extend | StageKind::Anneal => LR,
        }),
        // A stage shorter than the usual warm-up is all warm-up; an annealing goes on at its peak.
        warmup: stage.warmup.unwrap_or(match kind {
            StageKind::Anneal => 0,
            StageKind::Gates => steps / 5,
            StageKind::Extend | StageKind::Replay => WARMUP.min(steps),
        }),
        schedule: stage.schedule.unwrap_or(match kind {
            StageKind::Anneal => Schedule::Linear,
            StageKind::Gates => Schedule::Trapezoid,
            StageKind::Extend | StageKind::Replay => SCHEDULE,
        }),
        beta1,
        beta2,
        weight_decay: stage.weight_decay.unwrap_or(WEIGHT_DECAY),
        // DuoAttention's program does not clip.
        clip: stage.clip.unwrap_or(if gates { f64::MAX } else { CLIP }),
        // Stages that share a seed would read the same text again.
        seed: stage.seed.unwrap_or(index as u64),
        recompute: stage.recompute.unwrap_or(RECOMPUTE),
        offload: stage.offload.unwrap_or(OFFLOAD),
        merge: stage.merge.map_or(MergePlan::None, merge),
    }
}

fn learns(stage: &Stage) -> Learns {
    if stage.kind != StageKind::Gates {
        return Learns::Weights;
    }
    Learns::Gates {
        sink: stage.sink.unwrap_or(GATE_SINK),
        recent: stage.recent.unwrap_or(GATE_RECENT),
        reg: stage.reg.unwrap_or(GATE_REG),
        form: stage.form.unwrap_or(Form::Paper),
    }
}

fn merge(merge: Merge) -> MergePlan {
    let base = merge.base.unwrap_or(MERGE_BASE);
    match merge.form.unwrap_or(MERGE_FORM) {
        MergeForm::Linear => MergePlan::Linear { base },
        MergeForm::Spherical => MergePlan::Spherical { base },
    }
}

/// The fewest steps that see `tokens` tokens.
fn steps_for(tokens: usize, length: usize, batch: usize) -> usize {
    tokens.div_ceil(length.saturating_mul(batch).max(1))
}

impl Eval {
    /// What it settles to; needs nothing of the recipe around it.
    pub fn plan(&self) -> EvalPlan {
        match self {
            Self::Perplexity(lengths) => EvalPlan::Perplexity { lengths: lengths.clone().into() },
            Self::Passkey(lengths) => EvalPlan::Passkey { lengths: lengths.clone().into() },
            Self::KMax(lengths) => EvalPlan::KMax {
                lengths: lengths.clone().into(),
                distances: DISTANCES,
                trials: TRIALS,
                success: SUCCESS,
            },
            Self::Needle(kind, lengths) => EvalPlan::Needle { kind: *kind, lengths: lengths.clone().into() },
            Self::Topics(lengths) => EvalPlan::Topics { lengths: lengths.clone().into() },
            Self::Short(max_loss) => EvalPlan::Short { max_loss: max_loss.unwrap_or(MAX_LOSS) },
            Self::Choice(path) => EvalPlan::Choice { path: path.clone().into() },
        }
    }
}
