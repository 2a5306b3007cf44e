//! The plan: every number settled, no `Option` left.
//!
//! The macro writes a `Plan` as a constant, field by field; at run time `Recipe::plan` makes one. Fields are public so
//! that the constant can be written, and nothing but those two makes one.

use serde::{Deserialize, Serialize};

use crate::fault::Note;
use crate::list::{List, Text};
use crate::model::Llama;
use crate::pattern::Pattern;
use crate::readable::readable_tokens;
use crate::scaling::Scaling;
use crate::terms::{
    Device, Documents, Form, Loss, Needle, Optimizer, Schedule, SourceKind, StageKind, Target, TokenType,
};

/// What a recipe comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The recipe's name.
    pub name: Text,
    /// The model's shape, as released.
    pub model: Llama,
    /// The context window that the recipe reaches, in tokens.
    pub target: usize,
    /// The rotary law of the finished model, settled: what evaluation and export use.
    pub rope: RopePlan,
    /// What each layer sees, bottom to top.
    pub layers: List<Pattern>,
    /// Whether `layers` still wait for gates that training finds.
    pub gates: GatesPlan,
    /// Tokens per kernel block.
    pub block: usize,
    /// Tokens that go through an MLP together, where its activations are not kept.
    pub tile: usize,
    /// Which weights learn.
    pub adapt: AdaptPlan,
    /// What moves them.
    pub optimizer: Optimizer,
    /// Where training text comes from unless a stage says otherwise; shares sum to 1.
    pub data: List<SourcePlan>,
    /// Training, stage after stage.
    pub stages: List<StagePlan>,
    /// What is measured.
    pub eval: List<EvalPlan>,
    /// Where it runs.
    pub device: Device,
    /// What the user should know.
    pub notes: List<Note>,
}

/// Which heads see everything (DuoAttention, arXiv 2410.10819).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum GatesPlan {
    /// `layers` say it.
    Given,
    /// The last stage's gates will; until [`Plan::with_gates`] puts them in, every layer is full.
    Learned {
        /// Share of the key/value heads that stream afterwards.
        sparsity: f64,
        /// First tokens of the document that a streaming head sees.
        sink: usize,
        /// Nearest tokens that it sees, the query's own included.
        recent: usize,
    },
}

/// The rotary embedding, in Hugging Face's terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopePlan {
    /// `rope_theta`, after a base change.
    pub theta: f64,
    /// `rope_type` and its parameters.
    pub scaling: Scaling,
    /// Rotary dimensions per head.
    pub head_dim: usize,
}

/// Which weights learn, settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AdaptPlan {
    /// All of them.
    Full,
    /// Low-rank adapters on frozen projections.
    Lora {
        /// `r`.
        rank: usize,
        /// `lora_alpha`.
        alpha: f64,
        /// Whether alpha is divided by √rank rather than by rank.
        rslora: bool,
        /// What the adapter's product is multiplied by.
        scale: f64,
        /// Adapted projections, in the order q, k, v, o, gate, up, down.
        targets: List<Target>,
        /// The embedding (and an untied `lm_head`'s input side stays frozen) learns in full.
        embed: bool,
        /// All norms learn in full.
        norm: bool,
        /// Frozen projections are stored in NF4.
        quantized: bool,
        /// `lora_dropout`: share of an adapter's inputs that a training step leaves out, in [0, 1).
        dropout: f64,
    },
}

/// One source of text, settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourcePlan {
    /// What is read.
    pub kind: SourceKind,
    /// Share of the training tokens, in (0, 1].
    pub share: f64,
    /// Tokens from which on a document is long.
    pub upsample: usize,
    /// How often a long document comes in an epoch; the others come once.
    pub times: usize,
    /// Short text among longer sequences: pieces of at most this many tokens (the model's own window), each a document of
    /// its own at contiguous positions, read whole. 0 where the stage says how text is read.
    pub replay: usize,
    /// What generated documents are like.
    pub papers: Papers,
}

/// What generated documents are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Papers {
    /// Share of the documents that ask at their end; the others ask all along.
    pub exams: f64,
    /// Questions at the end.
    pub asked: usize,
    /// Where answers are said, as shares of the document: from here …
    pub shallowest: f64,
    /// … to here, uniformly.
    pub deepest: f64,
    /// Which tokens are learned.
    pub loss: Loss,
}

/// What a stage changes, and by which loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Learns {
    /// What `adapt` says, by cross entropy.
    Weights,
    /// A gate for each key/value head of each layer, by the distance of the gated model's last hidden states from the full
    /// model's, plus `reg` times the mean gate (arXiv 2410.10819, equations 2 to 4).
    Gates {
        /// First tokens of the document that a streaming head sees.
        sink: usize,
        /// Nearest tokens that it sees, the query's own included.
        recent: usize,
        /// Factor of the mean gate.
        reg: f64,
        /// What an open gate lets through: full attention over the gated model's own keys (`Paper`), or what the full model
        /// attended to (`Code`).
        form: Form,
    },
}

/// What happens to the weights when a stage is done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum MergePlan {
    /// They stay.
    None,
    /// base · original + (1 − base) · trained.
    Linear {
        /// Share of the original weights, in (0, 1).
        base: f64,
    },
    /// Each tensor moves along the great circle from its trained to its original direction.
    Spherical {
        /// Share of the way, in (0, 1).
        base: f64,
    },
}

/// One stage of training, settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagePlan {
    /// The word that it was written with.
    pub kind: StageKind,
    /// What it changes.
    pub learns: Learns,
    /// Optimiser steps.
    pub steps: usize,
    /// Tokens per sequence.
    pub length: usize,
    /// The rotary law that it trains under.
    pub rope: RopePlan,
    /// Where its text comes from; shares sum to 1.
    pub data: List<SourcePlan>,
    /// Which sentences of it are read.
    pub select: SelectPlan,
    /// Whether documents of one sequence see each other.
    pub documents: Documents,
    /// Which position ids a sequence carries.
    pub positions: PositionsPlan,
    /// Position ids stay below this; the length where they are contiguous.
    pub reach: usize,
    /// Sequences per optimiser step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Linear warm-up steps.
    pub warmup: usize,
    /// What follows the warm-up.
    pub schedule: Schedule,
    /// AdamW's first beta.
    pub beta1: f64,
    /// AdamW's second beta.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest gradient norm; `f64::MAX` for no limit.
    pub clip: f64,
    /// Seed of the data order.
    pub seed: u64,
    /// A layer's activations are recomputed in its backward pass.
    pub recompute: bool,
    /// Until then its input waits in the host's memory.
    pub offload: bool,
    /// What happens to the weights afterwards.
    pub merge: MergePlan,
}

/// Which sentences of files are read, settled. Conversations and generated text are read whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SelectPlan {
    /// All.
    All,
    /// Those with a token of these types, and a share of the others.
    Impactful {
        /// The types, in the order of [`TokenType::ALL`].
        types: List<TokenType>,
        /// Share of the other sentences that stays, in [0, 1).
        keep: f64,
        /// `Code`: a number is a token with a digit; `Paper`: numerals are numbers too.
        form: Form,
    },
}

/// Which position ids a training sequence carries, settled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PositionsPlan {
    /// 0, 1, 2, …
    Contiguous,
    /// Whole sentences with random gaps between them.
    LongRecipe,
    /// Whole chunks with random gaps between them.
    Pose {
        /// How many.
        chunks: usize,
        /// The paper's law or the released program's.
        form: Form,
    },
    /// Head, tail, and a middle drawn around the centre.
    Cream {
        /// Width of that draw.
        sigma: f64,
    },
    /// The model's own frequencies divided by a random scale, behind a random offset.
    E2 {
        /// The largest scale.
        scale_max: usize,
        /// The model's own window, which the scale stretches.
        native: usize,
    },
    /// A sorted sample.
    Random,
}

/// One measurement, settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EvalPlan {
    /// Loss by position at these lengths.
    Perplexity {
        /// Tokens.
        lengths: List<usize>,
    },
    /// Recall of hidden keys at these lengths.
    Passkey {
        /// Tokens.
        lengths: List<usize>,
    },
    /// Effective window by passkey at these lengths T (Position Interpolation, arXiv 2306.15595 §3.3): the largest tested
    /// distance k up to which every tested k is recalled often enough.
    KMax {
        /// Tokens.
        lengths: List<usize>,
        /// Distances n: k = T/n, 2T/n, … T.
        distances: usize,
        /// Keys per distance.
        trials: usize,
        /// The share of keys that counts as recalled often enough.
        success: f64,
    },
    /// Recall of needles in text without keys at these lengths.
    Needle {
        /// What is hidden and asked for.
        kind: Needle,
        /// Tokens.
        lengths: List<usize>,
    },
    /// The first of many topics at these lengths.
    Topics {
        /// Tokens.
        lengths: List<usize>,
    },
    /// Loss inside the native window against the untouched model's.
    Short {
        /// The largest difference that passes, in nats per token.
        max_loss: f64,
    },
    /// Multiple choice by length-normalised log-probability.
    Choice {
        /// A JSONL file of questions.
        path: Text,
    },
}

impl SourcePlan {
    /// A source that is read in the usual way.
    pub fn new(kind: SourceKind, share: f64) -> Self {
        Self { kind, share, upsample: 0, times: 1, replay: 0, papers: Papers::USUAL }
    }
}

impl Papers {
    /// Of all shapes: half of the documents ask all along, half at their end.
    pub const USUAL: Self = Self { exams: 0.5, asked: 5, shallowest: 0.0, deepest: 1.0, loss: Loss::All };
}

impl RopePlan {
    /// Hugging Face's `factor`, where the scaling has one.
    pub fn scaling_factor(&self) -> Option<f64> {
        match self.scaling {
            Scaling::Default => None,
            Scaling::Linear { factor }
            | Scaling::Dynamic { factor, .. }
            | Scaling::Yarn { factor, .. }
            | Scaling::LongRope { factor, .. }
            | Scaling::Llama3 { factor, .. } => Some(factor),
        }
    }
}

impl EvalPlan {
    /// The word that a recipe writes it with.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Perplexity { .. } => "perplexity",
            Self::Passkey { .. } => "passkey",
            Self::KMax { .. } => "k_max",
            Self::Needle { .. } => "needle",
            Self::Topics { .. } => "topics",
            Self::Short { .. } => "short",
            Self::Choice { .. } => "choice",
        }
    }

    /// The lengths that it is measured at, in tokens; nothing for one that takes no lengths.
    pub fn lengths(&self) -> Option<&[usize]> {
        match self {
            Self::Perplexity { lengths }
            | Self::Passkey { lengths }
            | Self::KMax { lengths, .. }
            | Self::Needle { lengths, .. }
            | Self::Topics { lengths } => Some(lengths),
            Self::Short { .. } | Self::Choice { .. } => None,
        }
    }

    /// As a recipe would write it at one length: `needle(single, 4K)`.
    pub fn written(&self, length: usize) -> String {
        let (word, length) = (self.word(), readable_tokens(length));
        match self {
            Self::Needle { kind, .. } => format!("{word}({}, {length})", kind.word()),
            Self::Short { max_loss } => format!("{word}(max_loss = {max_loss})"),
            Self::Choice { path } => format!("{word}({path:?})"),
            _ => format!("{word}({length})"),
        }
    }
}

impl Plan {
    /// The same model as it is evaluated, served and exported: adapters merged into the weights, and what each layer sees
    /// outside of training.
    #[must_use]
    pub fn merged(&self) -> Self {
        Self { adapt: AdaptPlan::Full, layers: self.inference_layers().collect(), ..self.clone() }
    }

    /// What each layer sees outside of training.
    pub fn inference_layers(&self) -> impl Iterator<Item = Pattern> + '_ {
        self.layers.iter().map(|pattern| pattern.at_inference())
    }

    /// The model as it was released: its own rope, every layer full, no adapters.
    #[must_use]
    pub fn untouched(&self) -> Self {
        let layers = vec![Pattern::Full; self.layers.len()].into();
        Self { rope: RopePlan::native(&self.model), layers, gates: GatesPlan::Given, ..self.merged() }
    }
}
