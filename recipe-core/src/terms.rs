//! Words that mean the same in a recipe and in its plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::list::Text;

/// What moves the weights that learn. Gates are few, and AdamW in f32 moves them always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimizer {
    /// AdamW with moments in f32 (arXiv 1711.05101).
    AdamW,
    /// AdamW with moments in 8 bits, block by block (arXiv 2110.02861); those of small tensors stay in f32.
    AdamW8bit,
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine, down to zero.
    Cosine,
    /// A line, down to zero.
    Linear,
    /// It stays, and falls along a line over the last fifth of the steps; never below a tenth of the peak, the warm-up
    /// included.
    Trapezoid,
}

/// A stage's word. It decides defaults in a recipe and a name in reports, nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageKind {
    /// `extend`: longer sequences.
    #[default]
    Extend,
    /// `replay`: short text at the native length, so that short-range abilities come back (arXiv 2409.00509).
    Replay,
    /// `anneal`: the learning rate falls to zero.
    Anneal,
    /// `gates`: which heads need the whole context; weights stay (arXiv 2410.10819).
    Gates,
}

/// What a source reads. Globs are relative to the working directory and resolved at run time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SourceKind {
    /// `text("glob")`: each file is a document.
    Text {
        /// The glob.
        glob: Text,
    },
    /// `jsonl("glob", field = "text")`: each line is a document.
    Jsonl {
        /// The glob.
        glob: Text,
        /// The field that holds the text.
        field: Text,
    },
    /// `parquet("glob", field = "text")`: each row is a document.
    Parquet {
        /// The glob.
        glob: Text,
        /// The column that holds the text.
        field: Text,
    },
    /// `dataset("path", split = "train", field = "text")`: a directory as the Hugging Face Hub lays it out or `save_to_disk`
    /// writes it.
    Dataset {
        /// The directory.
        path: Text,
        /// Which part of it.
        split: Text,
        /// Which of the configurations that its README.md names; empty for the usual one.
        config: Text,
        /// The field or column that holds the text.
        field: Text,
    },
    /// `chat("glob", field = "messages")`: each line or row is a conversation, and only the assistant's turns are learned.
    Chat {
        /// The glob.
        glob: Text,
        /// The field that holds the messages.
        field: Text,
    },
    /// `passkey`: generated documents that hide keys and ask for them.
    Passkey,
    /// `qa`: generated documents that ask what they said, half of the time by way of two facts.
    Qa,
}

impl SourceKind {
    /// Whether its documents are generated, as long as they are asked for.
    pub fn is_generated(&self) -> bool {
        matches!(self, Self::Passkey | Self::Qa)
    }
}

impl StageKind {
    /// The word that a recipe writes it with.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Replay => "replay",
            Self::Anneal => "anneal",
            Self::Gates => "gates",
        }
    }
}

/// Whether the documents that share a sequence see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Documents {
    /// Each is on its own.
    Mask,
    /// They count as one document.
    Joined,
}

/// A kind of token that context changes, named as in Universal Dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum TokenType {
    /// Numbers.
    Num,
    /// Pronouns.
    Pron,
    /// Auxiliary verbs.
    Aux,
    /// Coordinating conjunctions.
    Cconj,
    /// Adpositions.
    Adp,
}

impl TokenType {
    /// All of them, in the order of their frequency among the tokens that gain most (arXiv 2409.00509).
    pub const ALL: [Self; 5] = [Self::Num, Self::Pron, Self::Aux, Self::Cconj, Self::Adp];

    /// The word that a recipe writes it with.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Num => "num",
            Self::Pron => "pron",
            Self::Aux => "aux",
            Self::Cconj => "cconj",
            Self::Adp => "adp",
        }
    }
}

/// Whose law is followed where a paper and its released program disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Form {
    /// The paper's.
    Paper,
    /// The program's.
    Code,
}

/// A projection that LoRA can adapt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Target {
    /// `q_proj`.
    Q,
    /// `k_proj`.
    K,
    /// `v_proj`.
    V,
    /// `o_proj`.
    O,
    /// `gate_proj`.
    Gate,
    /// `up_proj`.
    Up,
    /// `down_proj`.
    Down,
}

/// Which tokens of a generated document are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Loss {
    /// `all`.
    All,
    /// `answers`.
    Answers,
}

/// What `needle` hides and asks for (RULER, arXiv 2404.06654).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Needle {
    /// One key, asked for.
    Single,
    /// Several people's keys, one of them asked for.
    MultiKey,
    /// Several keys of one person, all asked for.
    MultiValue,
    /// Several people's keys, all asked for.
    MultiQuery,
}

impl Needle {
    /// The word that a recipe writes it with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::MultiKey => "multikey",
            Self::MultiValue => "multivalue",
            Self::MultiQuery => "multiquery",
        }
    }
}

/// Where it runs and how much memory there is, in bytes; `cpu` alone sets no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// `cpu(16GiB)`.
    Cpu {
        /// Bytes; `u64::MAX` for no limit.
        memory: u64,
    },
    /// `cuda(80GB)`.
    Cuda {
        /// Bytes on the card.
        memory: u64,
        /// Whether the same step gives the same bits every time, for which attention's backward pass computes seven products in
        /// place of five.
        deterministic: bool,
    },
}

impl Device {
    /// `cuda(…)` with so many bytes, and nothing else said.
    pub const fn cuda(memory: u64) -> Self {
        Self::Cuda { memory, deterministic: false }
    }

    /// Whether the same work gives the same bits every time.
    pub fn repeats(&self) -> bool {
        match self {
            Self::Cpu { .. } => true,
            Self::Cuda { deterministic, .. } => *deterministic,
        }
    }

    /// Bytes of memory; `u64::MAX` for no limit.
    pub fn memory(&self) -> u64 {
        match self {
            Self::Cpu { memory } | Self::Cuda { memory, .. } => *memory,
        }
    }
}

/// As a recipe writes it: `cuda(80GB)`, `cpu(16GiB)`, `cpu`.
impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Cpu { .. } => "cpu",
            Self::Cuda { .. } => "cuda",
        };
        let memory = match self.memory() {
            u64::MAX => None,
            n if n.is_multiple_of(1 << 30) => Some(format!("{}GiB", n >> 30)),
            n if n.is_multiple_of(1_000_000_000) => Some(format!("{}GB", n / 1_000_000_000)),
            n => Some(format!("{:.1}GB", n as f64 / 1e9)),
        };
        let deterministic = matches!(self, Self::Cuda { deterministic: true, .. });
        let args: Vec<String> =
            memory.into_iter().chain(deterministic.then(|| "deterministic = true".into())).collect();
        if args.is_empty() { write!(out, "{word}") } else { write!(out, "{word}({})", args.join(", ")) }
    }
}
