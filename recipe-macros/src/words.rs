//! The vocabulary: every key, every word under it, every argument of that word. A new word is one line here and one arm
//! in [`lower`](crate::lower).

use crate::kind::Kind::{self, *};

/// A recipe's keys, in the order in which they are best written.
pub(crate) const KEYS: &[&str] = &[
    "model",
    "context",
    "rope",
    "attention",
    "positions",
    "select",
    "adapt",
    "optimizer",
    "data",
    "train",
    "eval",
    "allow",
    "device",
];

/// A word that may stand under a key.
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [Arg],
    /// How many arguments, from the first, may be given without their name.
    pub(crate) positional: usize,
    /// `word { … }` rather than `word(…)`.
    pub(crate) braces: bool,
}

/// An argument of a word.
pub(crate) struct Arg {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

pub(crate) const MODEL: &[Word] = &[word("hf", &[need("path", Text)], 1), LLAMA];

const LLAMA: Word = Word {
    name: "llama",
    args: &[
        need("layers", Count),
        need("hidden", Count),
        need("heads", Count),
        need("kv_heads", Count),
        need("head_dim", Count),
        need("ffn", Count),
        need("vocab", Count),
        may("context", Length),
        may("rope_theta", Number),
        may("norm_eps", Number),
        may("tied", Flag),
        may("qkv_bias", Flag),
        may("qk_norm", Flag),
    ],
    positional: 0,
    braces: true,
};

pub(crate) const ROPE: &[Word] = &[
    word("none", &[], 0),
    word("interpolate", &[need("scale", Number)], 1),
    word("theta", &[need("theta", Number)], 1),
    word("ntk", &[need("scale", Number)], 1),
    word("dynamic_ntk", &[need("scale", Number)], 1),
    word(
        "yarn",
        &[
            need("scale", Number),
            may("beta_fast", Number),
            may("beta_slow", Number),
            may("attention_factor", Number),
            may("truncate", Flag),
        ],
        1,
    ),
    // Two lists, or a file that holds both.
    word(
        "longrope",
        &[may("path", Text), may("short", Numbers), may("long", Numbers), may("attention_factor", Number)],
        1,
    ),
    word("llama3", &[need("scale", Number), may("low", Number), may("high", Number)], 3),
];

pub(crate) const ATTENTION: &[Word] = &[
    word("full", &[], 0),
    word("window", &[need("window", Length), may("sink", Length), may("block", Length)], 2),
    word("strided", &[need("stride", Count), may("local", Count), may("block", Length)], 0),
    // Its layers that are not full are written with the arguments of `window` or of `strided`.
    word(
        "hybrid",
        &[
            need("full", Layers),
            may("window", Length),
            may("sink", Length),
            may("stride", Count),
            may("local", Count),
            may("place", OneOf(PLACES)),
            may("block", Length),
        ],
        0,
    ),
    word("shifted_groups", &[may("group", Share)], 1),
    word("duo", &[need("gates", TextOr(GATES)), may("sparsity", Share), may("sink", Length), may("recent", Length)], 1),
    word("dual_chunk", &[may("chunk", Length), may("local", Length), may("form", OneOf(FORMS))], 2),
    word("self_extend", &[need("group", Count), need("window", Length)], 2),
];

/// Gates that a stage of `train` finds.
pub(crate) const GATES: &[&str] = &["learned"];

pub(crate) const PLACES: &[&str] = &["middle", "top", "bottom", "interleaved"];

pub(crate) const POSITIONS: &[Word] = &[
    word("contiguous", &[], 0),
    word("longrecipe", &[may("keep", Share)], 1),
    word("pose", &[may("chunks", Count), may("form", OneOf(FORMS))], 1),
    word("cream", &[may("sigma", Number)], 1),
    word("e2", &[may("scale_max", Count)], 1),
    word("random", &[], 0),
];

pub(crate) const SELECT: &[Word] = &[
    word("all", &[], 0),
    word("impactful", &[may("types", SomeOf(TYPES)), may("keep", Share), may("form", OneOf(FORMS))], 0),
];

/// Kinds of tokens, named as in Universal Dependencies.
pub(crate) const TYPES: &[&str] = &["num", "pron", "aux", "cconj", "adp"];

/// Whose law is followed where paper and released program disagree.
pub(crate) const FORMS: &[&str] = &["paper", "code"];

pub(crate) const ADAPT: &[Word] = &[word("full", &[], 0), word("lora", ADAPTER, 1), word("qlora", ADAPTER, 1)];

const ADAPTER: &[Arg] = &[
    need("rank", Count),
    may("alpha", Number),
    may("targets", SomeOf(TARGETS)),
    may("train", SomeOf(WHOLE)),
    may("dropout", Share),
    may("rslora", Flag),
];

pub(crate) const TARGETS: &[&str] = &["q", "k", "v", "o", "gate", "up", "down"];

/// What learns in full beside the adapters.
pub(crate) const WHOLE: &[&str] = &["embed", "norm"];

/// AdamW, with the moments of large tensors in f32 or in 8 bits.
pub(crate) const OPTIMIZER: &[Word] = &[word("adamw", &[], 0), word("adamw_8bit", &[], 0)];

pub(crate) const DATA: &[Word] = &[
    word("text", &[need("glob", Text), may("upsample", Length), may("times", Count)], 1),
    word("jsonl", LINES, 1),
    word("parquet", LINES, 1),
    word("dataset", DATASET, 1),
    word("chat", LINES, 1),
    word("passkey", &[may("keys", Count), may("depth", Between), may("loss", OneOf(LOSSES))], 0),
    word("qa", &[may("questions", Count), may("depth", Between), may("loss", OneOf(LOSSES))], 0),
    word("replay", &[need("source", Source)], 1),
];

/// Which tokens of a generated document are learned.
pub(crate) const LOSSES: &[&str] = &["all", "answers"];

/// A directory of Hugging Face's `datasets`.
const DATASET: &[Arg] = &[
    need("path", Text),
    may("split", Text),
    may("config", Text),
    may("field", Text),
    may("upsample", Length),
    may("times", Count),
];

/// A line of a JSONL file is a document, or a row of Parquet.
const LINES: &[Arg] = &[need("glob", Text), may("field", Text), may("upsample", Length), may("times", Count)];

pub(crate) const TRAIN: &[Word] = &[
    word("extend", STAGE, 0),
    word("replay", STAGE, 0),
    word("anneal", STAGE, 0),
    word("gates", GATES_STAGE, 0),
    word("merge", &[may("base", Share), may("form", OneOf(MERGES))], 0),
];

const STAGE: &[Arg] = &[
    may("steps", Count),
    may("tokens", Count),
    may("length", Length),
    may("lr", Number),
    may("warmup", Count),
    may("batch", Count),
    may("schedule", OneOf(SCHEDULES)),
    may("theta", Number),
    may("scale", Number),
    may("data", Sources),
    may("documents", OneOf(DOCUMENTS)),
    may("betas", Pair),
    may("weight_decay", Number),
    may("clip", Number),
    may("seed", Count),
    may("recompute", OneOf(RECOMPUTES)),
    may("offload", Flag),
];

/// Weights stay, so neither rope nor what AdamW does to weights can be said.
const GATES_STAGE: &[Arg] = &[
    may("steps", Count),
    may("tokens", Count),
    may("length", Length),
    may("sink", Length),
    may("recent", Length),
    may("reg", Number),
    may("form", OneOf(FORMS)),
    may("lr", Number),
    may("warmup", Count),
    may("batch", Count),
    may("schedule", OneOf(SCHEDULES)),
    may("data", Sources),
    may("documents", OneOf(DOCUMENTS)),
    may("betas", Pair),
    may("seed", Count),
];

/// `mask`: each document on its own; `joined`: those of a sequence count as one.
pub(crate) const DOCUMENTS: &[&str] = &["mask", "joined"];

pub(crate) const MERGES: &[&str] = &["linear", "spherical"];

pub(crate) const SCHEDULES: &[&str] = &["constant", "cosine", "linear", "trapezoid"];

/// `every` layer's activations are recomputed in its backward pass, or none's.
pub(crate) const RECOMPUTES: &[&str] = &["every", "none"];

pub(crate) const EVAL: &[Word] = &[
    word("perplexity", &[need("lengths", Lengths)], 1),
    word("passkey", &[need("lengths", Lengths)], 1),
    word("k_max", &[need("lengths", Lengths)], 1),
    word("needle", &[need("kind", OneOf(NEEDLES)), need("lengths", Lengths)], 2),
    word("topics", &[need("lengths", Lengths)], 1),
    word("short", &[may("max_loss", Number)], 1),
    word("choice", &[need("path", Text)], 1),
];

/// What `needle` hides and asks for.
pub(crate) const NEEDLES: &[&str] = &["single", "multikey", "multivalue", "multiquery"];

pub(crate) const DEVICE: &[Word] =
    &[word("cpu", &[may("memory", Bytes)], 1), word("cuda", &[need("memory", Bytes), may("deterministic", Flag)], 1)];

const fn word(name: &'static str, args: &'static [Arg], positional: usize) -> Word {
    Word { name, args, positional, braces: false }
}

/// An argument that must be given.
const fn need(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, required: true }
}

/// An argument that has a default, which recipe-core knows.
const fn may(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, required: false }
}

impl Word {
    /// How it is written: `hybrid(full = …, window = …, sink = …, place = …, block = …)`.
    pub(crate) fn usage(&self) -> String {
        if self.args.is_empty() {
            return self.name.to_owned();
        }
        let arg = |(index, arg): (usize, &Arg)| match (index < self.positional, arg.required) {
            (true, true) => arg.name.to_owned(),
            (true, false) => format!("[{}]", arg.name),
            (false, true) => format!("{} = …", arg.name),
            (false, false) => format!("[{} = …]", arg.name),
        };
        let args: Vec<String> = self.args.iter().enumerate().map(arg).collect();
        let (open, close) = if self.braces { (" { ", " }") } else { ("(", ")") };
        format!("{}{open}{}{close}", self.name, args.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use recipe_core::presets;

    use super::*;

    const ALL: [&[Word]; 11] = [MODEL, ROPE, ATTENTION, POSITIONS, SELECT, ADAPT, OPTIMIZER, DATA, TRAIN, EVAL, DEVICE];

    #[test]
    fn the_documentation_knows_every_word() {
        let text = include_str!("language.md");
        let mut words: Vec<&str> = [
            KEYS, GATES, PLACES, FORMS, TYPES, TARGETS, WHOLE, SCHEDULES, RECOMPUTES, DOCUMENTS, MERGES, NEEDLES,
            LOSSES,
        ]
        .concat();
        words.extend(presets::NAMES);
        words.extend(ALL.iter().copied().flatten().map(|word| word.name));
        words.extend(ALL.iter().copied().flatten().flat_map(|word| word.args).map(|arg| arg.name));
        for word in words {
            let known = text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word);
            // A path and a glob are shown by an example.
            assert!(known || ["path", "glob"].contains(&word), "`{word}` is not documented");
        }
    }

    #[test]
    fn required_arguments_stand_before_the_others() {
        for word in ALL.iter().copied().flatten() {
            let first_optional = word.args.iter().position(|arg| !arg.required).unwrap_or(word.args.len());
            assert!(word.args[first_optional..].iter().all(|arg| !arg.required), "{}", word.usage());
        }
    }
}
