//! The model's shape and rotary law as GGUF metadata, and as the tensors of factors that stand for some laws.

use recipe_core::{Llama, RopePlan, Scaling};

use super::GgufOptions;
use super::draft::{Draft, Meta};
use crate::hub::gguf::{FACTORS, LONG_FACTORS, SHORT_FACTORS};

/// llama.cpp's own betas; it reads none for these architectures.
const BETAS: (f64, f64) = (32.0, 1.0);

/// llama.cpp's name for a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    pub(super) fn of(model: &Llama) -> Self {
        match (model.qkv_bias, model.qk_norm) {
            (_, true) => Self::Qwen3,
            (true, false) => Self::Qwen2,
            (false, false) => Self::Llama,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// All metadata but the tokenizer's, and the tables of rotary factors.
pub(super) fn draft<'t>(model: &Llama, options: &GgufOptions<'_>, notes: &mut Vec<String>) -> Draft<'t> {
    let architecture = Architecture::of(model).name();
    let mut draft = Draft::default();
    draft.set("general.architecture", Meta::Text(architecture.into()));
    draft.set("general.type", Meta::Text("model".into()));
    draft.set("general.name", Meta::Text(options.name.into()));
    draft.set("general.file_type", Meta::Count(options.kind.file_type() as usize));
    draft.set("general.quantization_version", Meta::Count(2));
    let counts = [
        ("vocab_size", model.vocab),
        ("context_length", model.context),
        ("embedding_length", model.hidden),
        ("block_count", model.layers),
        ("feed_forward_length", model.ffn),
        ("attention.head_count", model.heads),
        ("attention.head_count_kv", model.kv_heads),
        ("attention.key_length", model.head_dim),
        ("attention.value_length", model.head_dim),
        ("rope.dimension_count", model.head_dim),
    ];
    counts.into_iter().for_each(|(key, count)| draft.set(format!("{architecture}.{key}"), Meta::Count(count)));
    draft.set(format!("{architecture}.attention.layer_norm_rms_epsilon"), Meta::Float(model.norm_eps));
    let (rope, lost) = expressed(model);
    notes.extend(lost);
    set_rope(&mut draft, architecture, &rope);
    draft
}

/// The law that the file can hold, and in words what llama.cpp computes otherwise.
pub(super) fn expressed(model: &Llama) -> (RopePlan, Option<String>) {
    let rope = RopePlan::native(model);
    let plain = RopePlan { scaling: Scaling::Default, ..rope.clone() };
    let qwen = Architecture::of(model) != Architecture::Llama;
    let (held, lost) = match rope.scaling.clone() {
        Scaling::Dynamic { .. } => {
            (plain, "llama.cpp has no dynamic rope: it runs the law of the native window at every length.")
        }
        Scaling::Llama3 { .. } | Scaling::LongRope { .. } if qwen => (
            plain,
            "llama.cpp takes no factors per frequency for Qwen: it runs the model's own law, unscaled. Serve this model with \
             transformers or vLLM.",
        ),
        Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate }
            if !truncate || (beta_fast, beta_slow) != BETAS =>
        {
            let scaling = Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate: true };
            (
                RopePlan { scaling, ..rope },
                "llama.cpp runs YaRN with betas 32 and 1 and its range rounded to whole pairs, whatever a file says; this model \
                 was made with others. Start it with --yarn-beta-fast and --yarn-beta-slow, or serve it with transformers or vLLM.",
            )
        }
        _ => return (rope, None),
    };
    (held, Some(lost.to_string()))
}

fn set_rope(draft: &mut Draft<'_>, architecture: &str, rope: &RopePlan) {
    let mut set = |key: &str, value: Meta| draft.set(format!("{architecture}.rope.{key}"), value);
    set("freq_base", Meta::Float(rope.theta));
    set("scaling.type", Meta::Text(kind(&rope.scaling).into()));
    match &rope.scaling {
        Scaling::Default | Scaling::Dynamic { .. } => {}
        Scaling::Linear { factor } => set("scaling.factor", Meta::Float(*factor)),
        &Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, .. } => {
            set("scaling.factor", Meta::Float(factor));
            set("scaling.original_context_length", Meta::Count(original));
            set("scaling.finetuned", Meta::Flag(true));
            set("scaling.yarn_beta_fast", Meta::Float(beta_fast));
            set("scaling.yarn_beta_slow", Meta::Float(beta_slow));
            // llama.cpp multiplies by 0.1 ln(factor) + 1 itself.
            set("scaling.attn_factor", Meta::Float(attention_factor / (0.1 * factor.max(1.0).ln() + 1.0)));
        }
        Scaling::LongRope { short, long, original, attention_factor, .. } => {
            // No factor: llama.cpp would divide by it beside the tables.
            set("scaling.original_context_length", Meta::Count(*original));
            set("scaling.attn_factor", Meta::Float(*attention_factor));
            draft.table(LONG_FACTORS, long.iter().map(|factor| *factor as f32).collect());
            draft.table(SHORT_FACTORS, short.iter().map(|factor| *factor as f32).collect());
        }
        &Scaling::Llama3 { low, high, original, .. } => {
            // llama.cpp reads the table alone; these say what it was made of.
            set("scaling.original_context_length", Meta::Count(original));
            set("scaling.low_freq_factor", Meta::Float(low));
            set("scaling.high_freq_factor", Meta::Float(high));
            draft.table(FACTORS, factors(rope));
        }
    }
}

fn kind(scaling: &Scaling) -> &'static str {
    match scaling {
        Scaling::Linear { .. } => "linear",
        Scaling::Yarn { .. } => "yarn",
        Scaling::LongRope { .. } => "longrope",
        Scaling::Default | Scaling::Dynamic { .. } | Scaling::Llama3 { .. } => "none",
    }
}

/// What each inverse frequency is divided by.
fn factors(rope: &RopePlan) -> Vec<f32> {
    let plain = RopePlan { scaling: Scaling::Default, ..rope.clone() };
    plain.inv_freq(1).iter().zip(rope.inv_freq(1)).map(|(plain, scaled)| (plain / scaled) as f32).collect()
}
