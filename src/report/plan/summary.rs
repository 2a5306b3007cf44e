//! The lines at the head of a plan, for a terminal and for a report.

use recipe_core::{AdaptPlan, GatesPlan, Pattern, Plan, RopePlan, Scaling, Target};

use super::layer_map::pattern_words;
use crate::report::number::{self, plain, tokens};

/// Label and words of each line.
pub(crate) fn summary(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("model", model(plan)),
        ("context", context(plan)),
        ("rope", rope_words(&plan.rope)),
        ("attention", attention(plan)),
        ("adapt", adapt(&plan.adapt)),
        ("weights", weights(plan)),
        ("device", device(plan)),
    ];
    let only_read = !plan.trains_weights() && plan.adapt == AdaptPlan::Full;
    lines.retain(|(label, _)| *label != "adapt" || !only_read);
    lines
}

/// `cuda(80GB), two runs differ in last bits`: where a step is not the same bits every time.
fn device(plan: &Plan) -> String {
    let differ = !plan.device.repeats() && !plan.stages.is_empty();
    format!("{}{}", plan.device, if differ { ", two runs differ in last bits" } else { "" })
}

fn model(plan: &Plan) -> String {
    let model = &plan.model;
    let heads = match model.kv_heads == model.heads {
        true => format!("{} heads of {}", model.heads, model.head_dim),
        false => format!("{} heads of {} ({} for keys and values)", model.heads, model.head_dim, model.kv_heads),
    };
    let tied = if model.tied { ", tied embeddings" } else { "" };
    let (layers, hidden, ffn, vocab) = (model.layers, model.hidden, model.ffn, model.vocab);
    let family = match (model.qkv_bias, model.qk_norm) {
        (false, false) => "Llama",
        (true, _) => "Qwen2",
        (false, true) => "Qwen3",
    };
    format!("{family}, {layers} layers, hidden {hidden}, {heads}, MLP {ffn}, vocabulary {vocab}{tied}")
}

pub(super) fn context(plan: &Plan) -> String {
    let (native, target) = (plan.model.context, plan.target);
    if native == target {
        return format!("{} tokens, the model's own", tokens(native));
    }
    let ratio = number::scientific(target as f64 / native.max(1) as f64);
    format!("{} → {} tokens, {ratio}×", tokens(native), tokens(target))
}

/// `linear, theta 10000, factor 32, attention factor 1`.
pub(crate) fn rope_words(rope: &RopePlan) -> String {
    let head = format!("{}, theta {}", rope.scaling.rope_type(), plain(rope.theta));
    let tail = format!("attention factor {}", plain(rope.attention_factor()));
    let parameters = match &rope.scaling {
        Scaling::Default => String::new(),
        Scaling::LongRope { factor, original, long, .. } => {
            let (least, most) = long.iter().fold((f64::MAX, 0f64), |(a, b), f| (a.min(*f), b.max(*f)));
            let range = format!("long factors {} to {}", plain(least), plain(most));
            format!("factor {}, original {}, {range}, ", plain(*factor), tokens(*original))
        }
        &Scaling::Linear { factor } => format!("factor {}, ", plain(factor)),
        &Scaling::Dynamic { factor, original } => format!("factor {}, original {}, ", plain(factor), tokens(original)),
        &Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => format!(
            "factor {}, original {}, betas {} and {}{}, ",
            plain(factor),
            tokens(original),
            plain(beta_fast),
            plain(beta_slow),
            if truncate { "" } else { ", not truncated" },
        ),
        &Scaling::Llama3 { factor, low, high, original } => format!(
            "factor {}, original {}, low {}, high {}, ",
            plain(factor),
            tokens(original),
            plain(low),
            plain(high),
        ),
    };
    format!("{head}, {parameters}{tail}")
}

pub(in crate::report) fn attention(plan: &Plan) -> String {
    if let GatesPlan::Learned { sparsity, sink, recent } = plan.gates {
        let share = number::percent(sparsity);
        let window = pattern_words(Pattern::Window { window: recent, sink });
        return format!("{share} of the heads {window}, the others full, by learned gates");
    }
    let (layers, block) = (plan.layers.len(), plan.block);
    let full = plan.layers.iter().filter(|pattern| **pattern == Pattern::Full).count();
    let sparse = plan.layers.iter().find(|pattern| **pattern != Pattern::Full).map(|pattern| pattern_words(*pattern));
    match sparse {
        None => "full in every layer".to_owned(),
        Some(words) if full == 0 => format!("{words} in every layer, blocks of {block}"),
        Some(words) => format!("{full} of {layers} layers full, the others {words}, blocks of {block}"),
    }
}

pub(super) fn adapt(adapt: &AdaptPlan) -> String {
    let AdaptPlan::Lora { rank, alpha, rslora, targets, embed, norm, quantized, dropout, .. } = adapt else {
        return "every weight learns".to_owned();
    };
    let kind = if *quantized { "qlora" } else { "lora" };
    let targets: Vec<&str> = targets.iter().map(|target: &Target| target.name()).collect();
    let whole = match (embed, norm) {
        (true, true) => "; embedding and norms learn in full",
        (true, false) => "; the embedding learns in full",
        (false, true) => "; the norms learn in full",
        (false, false) => "",
    };
    let base = if *quantized { "; frozen projections in NF4" } else { "" };
    let root = if *rslora { " over √rank" } else { "" };
    let dropout = if *dropout > 0.0 { format!(", dropout {}", number::percent(*dropout)) } else { String::new() };
    format!("{kind}, rank {rank}, alpha {}{root}{dropout} on {}{whole}{base}", plain(*alpha), targets.join(", "))
}

fn weights(plan: &Plan) -> String {
    let counts = plan.counts();
    let all = counts.base().saturating_add(counts.adapters);
    let adapters = match counts.adapters {
        0 => String::new(),
        adapters => format!(" and {} in adapters", number::count(adapters as f64)),
    };
    let size = format!("{}{adapters}", number::count(counts.base() as f64));
    if plan.stages.is_empty() {
        return size;
    }
    if !plan.trains_weights() {
        let gates = plan.model.layers.saturating_mul(plan.model.kv_heads);
        return format!("{size}; none learn, but {gates} gates");
    }
    let share = number::percent(counts.trainable as f64 / all.max(1) as f64);
    format!("{size}; {} learn, {share}", number::count(counts.trainable as f64))
}
