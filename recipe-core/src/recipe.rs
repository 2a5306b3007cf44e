//! What the user wrote, nothing filled in: an `Option` is a word that was left out.

use crate::model::Llama;
use crate::terms::{
    Device, Documents, Form, Loss, Needle, Optimizer, Schedule, SourceKind, StageKind, Target, TokenType,
};

/// A recipe as written. [`Recipe::plan`](crate::Recipe::plan) checks it and settles every number.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The type's name.
    pub name: String,
    /// `model:`.
    pub model: Llama,
    /// `context:`.
    pub context: Context,
    /// `rope:`.
    pub rope: Option<Rope>,
    /// `attention:`.
    pub attention: Option<Attention>,
    /// `positions:`.
    pub positions: Option<Positions>,
    /// `select:`.
    pub select: Option<Select>,
    /// `adapt:`.
    pub adapt: Option<Adapt>,
    /// `optimizer:`.
    pub optimizer: Option<Optimizer>,
    /// `data: […]`.
    pub data: Vec<Source>,
    /// `train: […]`.
    pub train: Vec<Stage>,
    /// `eval: […]`.
    pub eval: Vec<Eval>,
    /// `allow: […]`: names of rules whose fault becomes a note.
    pub allow: Vec<String>,
    /// `device:`.
    pub device: Option<Device>,
}

/// `context: 4K -> 128K`, or `context: 8K` when the window stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Left of `->`.
    pub native: Option<usize>,
    /// Right of `->`, or the only value.
    pub target: usize,
}

/// `rope:`: the law of rotary frequencies. Scales are target ÷ native unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Rope {
    /// `none`: as the model was released.
    None,
    /// `interpolate(scale)`: Position Interpolation (arXiv 2306.15595).
    Interpolate {
        /// Every angle is divided by this.
        scale: f64,
    },
    /// `theta(base)`: adjusted base frequency (arXiv 2309.16039).
    Theta {
        /// The new `rope_theta`.
        theta: f64,
    },
    /// `ntk(scale)`: static NTK-aware base change.
    Ntk {
        /// The lowest frequency is divided by this.
        scale: f64,
    },
    /// `dynamic_ntk(scale)`: NTK base recomputed from the current length.
    DynamicNtk {
        /// Hugging Face's `factor`.
        scale: f64,
    },
    /// `yarn(scale, …)` (arXiv 2309.00071).
    Yarn {
        /// Hugging Face's `factor`.
        scale: f64,
        /// Rotations above which a pair is kept; 32.
        beta_fast: Option<f64>,
        /// Rotations below which a pair is divided; 1.
        beta_slow: Option<f64>,
        /// Multiplies cos and sin; 0.1 ln(scale) + 1.
        attention_factor: Option<f64>,
        /// Whether the correction range is rounded to whole dimensions; true.
        truncate: Option<bool>,
    },
    /// `longrope(short, long)`: a factor for each pair (arXiv 2402.13753).
    LongRope(LongRopeFactors),
    /// `llama3(scale, low, high)`: Llama 3.1's scaling.
    Llama3 {
        /// Hugging Face's `factor`.
        scale: f64,
        /// `low_freq_factor`; 1.
        low: Option<f64>,
        /// `high_freq_factor`; 4.
        high: Option<f64>,
    },
}

impl Rope {
    /// The same law with another scale; a law without one stays.
    #[must_use]
    pub fn with_scale(&self, scale: f64) -> Self {
        match *self {
            Self::None | Self::Theta { .. } | Self::LongRope(_) => self.clone(),
            Self::Interpolate { .. } => Self::Interpolate { scale },
            Self::Ntk { .. } => Self::Ntk { scale },
            Self::DynamicNtk { .. } => Self::DynamicNtk { scale },
            Self::Yarn { beta_fast, beta_slow, attention_factor, truncate, .. } => {
                Self::Yarn { scale, beta_fast, beta_slow, attention_factor, truncate }
            }
            Self::Llama3 { low, high, .. } => Self::Llama3 { scale, low, high },
        }
    }
}

/// What LongRoPE's search finds, as a file of factors holds it: head_dim ÷ 2 numbers for texts inside the model's own
/// window, and as many for longer ones.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongRopeFactors {
    /// Frequencies are divided by these up to the model's own window.
    #[serde(rename = "short_factor")]
    pub short: Vec<f64>,
    /// And by these beyond it.
    #[serde(rename = "long_factor")]
    pub long: Vec<f64>,
    /// Multiplies cos and sin; √(1 + ln s ÷ ln native).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
}

impl LongRopeFactors {
    /// Reads a file of factors, `{"short_factor": […], "long_factor": […]}`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

/// `attention:`: which keys a query sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Attention {
    /// `full`.
    Full,
    /// `window(…)` or `strided(…)` in every layer.
    Sparse(Sparse),
    /// `hybrid(full, place, …)`: some layers full, the others sparse (LongGen, arXiv 2410.01485).
    Hybrid {
        /// How many layers stay full.
        full: FullLayers,
        /// Where they stand; the middle.
        place: Option<Place>,
        /// What the others see.
        sparse: Sparse,
    },
    /// `shifted_groups(group)`: S²-Attn in training, full attention otherwise (LongLoRA, arXiv 2309.12307).
    ShiftedGroups {
        /// A group's share of the target; 1/4.
        group: Option<f64>,
    },
    /// `duo(gates, sparsity, sink, recent)`: retrieval heads full, the others streaming (DuoAttention, arXiv 2410.10819).
    Duo {
        /// How much each key/value head needs the whole context.
        gates: Gates,
        /// Share of the heads that stream; 50%.
        sparsity: Option<f64>,
        /// First tokens that a streaming head sees; 64.
        sink: Option<usize>,
        /// Nearest tokens that it sees, the query's own included; 256.
        recent: Option<usize>,
    },
    /// `dual_chunk(chunk, local, form)`: no distance beyond the model's own window (arXiv 2402.17463).
    DualChunk {
        /// The paper's chunk size s, or the released program's `chunk_size`; 3/4 of the model's own window.
        chunk: Option<usize>,
        /// Tokens behind a chunk's border at their exact distance; the paper's w is the rest of the window, the program's
        /// `local_window` an eighth of it.
        local: Option<usize>,
        /// The paper's law or the released program's; the paper's.
        form: Option<Form>,
    },
    /// `self_extend(group, window)`: far positions are shared by groups (arXiv 2401.01325).
    SelfExtend {
        /// Tokens that share a far position.
        group: usize,
        /// Nearest tokens, at their own distance.
        window: usize,
    },
}

/// Where the gates of `duo` come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Gates {
    /// `gates = "gates.json"`: a number for each key/value head, layer by layer.
    Given(Vec<Vec<f64>>),
    /// `gates = learned`: the stage `gates(…)` finds them.
    Learned,
}

/// Reads a file of gates: `[[0.9, 0.1, …], …]`, a list for each layer, or lines of numbers apart by tabs, as DuoAttention's
/// program writes them.
///
/// # Errors
/// What is wrong, and where.
pub fn parse_gates(text: &str) -> Result<Vec<Vec<f64>>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let number =
        |(line, word): (usize, &str)| word.parse().map_err(|_| format!("line {}: {word:?} is not a number", line + 1));
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| line.split_whitespace().map(|word| number((index, word))).collect()).collect()
}

/// What a layer that is not full sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// `window(window, sink)`.
    Window(Window),
    /// `strided(stride, local)`.
    Strided(Strided),
}

/// `window = …, sink = …, block = …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Tokens that a query sees, itself included.
    pub window: usize,
    /// First tokens of the document that stay visible; 0.
    pub sink: Option<usize>,
    /// Tokens per kernel block; 64.
    pub block: Option<usize>,
}

/// `stride = …, local = …, block = …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strided {
    /// Blocks from one that is always seen to the next.
    pub stride: usize,
    /// Nearest blocks, the query's own included; 1.
    pub local: Option<usize>,
    /// Tokens per block; 64.
    pub block: Option<usize>,
}

/// `full = 1/3` or `full = 12`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FullLayers {
    /// A share of all layers, rounded to the nearest count.
    Share(f64),
    /// A number of layers.
    Count(usize),
}

/// `place = …`: where the full layers of a hybrid stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A contiguous run in the middle.
    Middle,
    /// The last layers.
    Top,
    /// The first layers.
    Bottom,
    /// Spread evenly.
    Interleaved,
}

/// `positions:`: which position ids a training sequence carries, so that far distances are trained on short text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// `contiguous`: 0, 1, 2, …
    Contiguous,
    /// `longrecipe(keep)`: sentences stay whole, with random gaps between them (arXiv 2409.00509).
    LongRecipe {
        /// Tokens of a sequence as a share of the target; 30%.
        keep: Option<f64>,
    },
    /// `pose(chunks, form)`: chunks stay whole (arXiv 2309.10400).
    Pose {
        /// How many; 2.
        chunks: Option<usize>,
        /// The paper's law or the released program's; the paper's.
        form: Option<Form>,
    },
    /// `cream(sigma)`: head, tail, and a middle drawn around the centre (arXiv 2406.07138).
    Cream {
        /// Width of that draw; 3.
        sigma: Option<f64>,
    },
    /// `e2(scale_max)`: a random scale per step and a random offset per sequence (arXiv 2401.06951).
    E2 {
        /// The largest scale; 20.
        scale_max: Option<usize>,
    },
    /// `random`: a sorted sample of all positions of the target.
    Random,
}

/// `select:`: which sentences of the text are trained on. Replays read all of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    /// `all`.
    All,
    /// `impactful(types, keep, form)`: those with a token whose prediction gains from a longer window (arXiv 2409.00509).
    Impactful {
        /// A sentence with one of these stays; numbers, pronouns, auxiliaries.
        types: Option<Vec<TokenType>>,
        /// Share of the other sentences that stays; none, in the released program half.
        keep: Option<f64>,
        /// The paper's law, or the released program's, which looks for digits alone; the paper's.
        form: Option<Form>,
    },
}

/// `adapt:`: which weights learn.
#[derive(Clone, Debug, PartialEq)]
pub enum Adapt {
    /// `full`: all of them.
    Full,
    /// `lora(rank, alpha, targets, train)`, and `qlora(…)` on a base in NF4.
    Lora {
        /// `r`.
        rank: usize,
        /// `lora_alpha`; the product is scaled by alpha ÷ rank. Default: a scale of 2.
        alpha: Option<f64>,
        /// Projections that get an adapter; q, k, v, o.
        targets: Option<Vec<Target>>,
        /// `train = [embed, norm]`: the embedding learns in full.
        embed: bool,
        /// `train = [embed, norm]`: the norms learn in full.
        norm: bool,
        /// True for `qlora`.
        quantized: bool,
        /// `rslora = true`: the product is scaled by alpha ÷ √rank instead (arXiv 2312.03732).
        rslora: bool,
        /// Share of an adapter's inputs that a training step leaves out; none.
        dropout: Option<f64>,
    },
}

/// One entry of `data: […]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What is read.
    pub kind: SourceKind,
    /// `* 90%` as 0.9.
    pub share: Option<f64>,
    /// Tokens from which on a document counts as long and is drawn more often.
    pub upsample: Option<usize>,
    /// How often a long document comes in an epoch; 5.
    pub times: Option<usize>,
    /// `replay(…)`: short text of the model's own window among longer sequences.
    pub replay: bool,
    /// `keys` of `passkey`, `questions` of `qa`: what a generated document asks at its end; 5.
    pub asked: Option<usize>,
    /// Between which shares of a generated document its answers are said; anywhere.
    pub depth: Option<(f64, f64)>,
    /// Which tokens of a generated document are learned; all.
    pub loss: Option<Loss>,
}

impl Source {
    /// A source about which nothing else is written.
    pub fn new(kind: SourceKind) -> Self {
        Self { kind, share: None, upsample: None, times: None, replay: false, asked: None, depth: None, loss: None }
    }
}

/// One stage of `train: […]`: `extend(…)`, `replay(…)`, `anneal(…)` or `gates(…)`, with the `merge(…)` that may follow it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// The word, which decides the defaults.
    pub kind: StageKind,
    /// Optimiser steps; exactly one of `steps` and `tokens` is written, or in `gates(…)` none for 2000 steps.
    pub steps: Option<usize>,
    /// Tokens to see in all.
    pub tokens: Option<usize>,
    /// Tokens per sequence; the target, or what `positions` takes of it.
    pub length: Option<usize>,
    /// Base of the rotary law while this stage trains; the recipe's.
    pub theta: Option<f64>,
    /// Scale of the rotary law while this stage trains; the recipe's.
    pub scale: Option<f64>,
    /// What this stage reads; empty for the recipe's `data`.
    pub data: Vec<Source>,
    /// Whether documents of one sequence see each other; they do not.
    pub documents: Option<Documents>,
    /// Peak learning rate; 2e-5, of a replay 5e-6, of gates 0.02.
    pub lr: Option<f64>,
    /// Linear warm-up steps; 20, of an annealing 0, of gates a fifth of the steps.
    pub warmup: Option<usize>,
    /// Sequences per optimiser step; 1.
    pub batch: Option<usize>,
    /// What follows the warm-up; constant, of an annealing linear, of gates trapezoid.
    pub schedule: Option<Schedule>,
    /// AdamW's betas; (0.9, 0.95), of gates (0.9, 0.999).
    pub betas: Option<(f64, f64)>,
    /// Decoupled weight decay; 0.
    pub weight_decay: Option<f64>,
    /// Largest gradient norm; 1, of gates unlimited.
    pub clip: Option<f64>,
    /// Seed of the data order, and in the first stage of initialisation; the stage's number, from 0.
    pub seed: Option<u64>,
    /// `recompute = every | none`: whether a layer's activations are recomputed in its backward pass; every.
    pub recompute: Option<bool>,
    /// Whether layer inputs wait in the host's memory until then; no.
    pub offload: Option<bool>,
    /// First tokens that a streaming head sees while gates learn; 128.
    pub sink: Option<usize>,
    /// Nearest tokens that it sees then, the query's own included; 256.
    pub recent: Option<usize>,
    /// What an open gate costs: factor of the gates' mean in their loss; 0.05.
    pub reg: Option<f64>,
    /// What an open gate lets through, by the paper's law or the released program's; the paper's.
    pub form: Option<Form>,
    /// `merge(…)`, written behind the stage.
    pub merge: Option<Merge>,
}

/// `merge(base, form)`: the weights reached so far are averaged with the original ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Merge {
    /// Share of the original weights; 50%.
    pub base: Option<f64>,
    /// Along a line or an arc; a line.
    pub form: Option<MergeForm>,
}

/// How two tensors are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeForm {
    /// base · original + (1 − base) · trained.
    Linear,
    /// Along the great circle between their directions.
    Spherical,
}

/// One entry of `eval: […]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Eval {
    /// `perplexity(4K, 32K)`.
    Perplexity(Vec<usize>),
    /// `passkey(4K, 32K)`.
    Passkey(Vec<usize>),
    /// `k_max(32K)`.
    KMax(Vec<usize>),
    /// `needle(multikey, 4K, 32K)`.
    Needle(Needle, Vec<usize>),
    /// `topics(4K, 32K)`.
    Topics(Vec<usize>),
    /// `short(max_loss = 0.02)`: how much worse, in nats per token, text inside the native window may be predicted; 0.02.
    Short(Option<f64>),
    /// `choice("file.jsonl")`.
    Choice(String),
}
