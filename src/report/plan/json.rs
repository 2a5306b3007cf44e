//! A plan for programs: what `plan --json` prints.

use recipe_core::{
    AdaptPlan, Device, Documents, EvalPlan, Form, GatesPlan, Learns, Llama, Loss, MergePlan, Papers, Pattern, Plan,
    RopePlan, SelectPlan, SourceKind, SourcePlan, StageFlops, StagePlan, Target, TokenType, Work,
};
use serde_json::{Map, Value, json};

use super::stage_tokens;
use super::stages::position_words;

/// The plan as one JSON object; `rope.inv_freq` is that of a sequence of `length` tokens.
///
/// Names are Hugging Face's where it has one. `memory` and `flops` hold their terms only, sums stand beside them;
/// `flops` is all training, or reading the target once where nothing is trained.
pub fn plan_json(plan: &Plan, length: usize) -> Value {
    let (counts, memory) = (plan.counts(), plan.memory());
    let (flops, flops_total) = flops(plan);
    let terms: Map<String, Value> =
        memory.terms.iter().map(|term| (term.name.to_string(), term.bytes.into())).collect();
    json!({
        "name": plan.name,
        "model": model(&plan.model),
        "context": { "native": plan.model.context, "target": plan.target },
        "rope": rope(plan, length),
        "layers": plan.layers.iter().enumerate().map(layer).collect::<Vec<_>>(),
        "gates": gates(&plan.gates),
        "block": plan.block,
        "adapt": adapt(&plan.adapt),
        "optimizer": plan.optimizer.word(),
        "parameters": counts.base().saturating_add(counts.adapters),
        "adapters": counts.adapters,
        "trainable": counts.trainable,
        "data": plan.data.iter().map(source).collect::<Vec<_>>(),
        "stages": plan.stages.iter().zip(plan.flops().stages).map(stage).collect::<Vec<_>>(),
        "eval": plan.eval.iter().map(eval).collect::<Vec<_>>(),
        "device": device(plan.device),
        "memory": terms,
        "memory_total": memory.total,
        "memory_available": available(plan.device),
        "memory_host": memory.host,
        // Null without a limit.
        "longest": plan.longest(),
        "kv_bytes": plan.kv_cache_bytes(plan.target),
        "kv_bytes_full": plan.kv_cache_bytes_full(plan.target),
        "flops": flops,
        "flops_total": flops_total,
        "notes": plan.notes,
    })
}

fn model(model: &Llama) -> Value {
    json!({
        "num_hidden_layers": model.layers,
        "hidden_size": model.hidden,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.ffn,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
        "rope_theta": model.rope_theta,
        "rms_norm_eps": model.norm_eps,
        "tie_word_embeddings": model.tied,
        "qkv_bias": model.qkv_bias,
        "qk_norm": model.qk_norm,
    })
}

fn rope(plan: &Plan, length: usize) -> Value {
    json!({
        "rope_type": plan.rope.scaling.rope_type(),
        "rope_theta": plan.rope.theta,
        "factor": plan.rope.scaling_factor(),
        "attention_factor": plan.rope.attention_factor(),
        "length": length,
        "inv_freq": plan.rope.inv_freq(length),
    })
}

fn layer((index, pattern): (usize, &Pattern)) -> Value {
    match pattern {
        Pattern::Full => json!({ "index": index, "pattern": "full" }),
        Pattern::Window { window, sink } => {
            json!({ "index": index, "pattern": "window", "window": window, "sink": sink })
        }
        Pattern::Strided { block, stride, local } => {
            json!({ "index": index, "pattern": "strided", "block": block, "stride": stride, "local": local })
        }
        Pattern::ShiftedGroups { size } => json!({ "index": index, "pattern": "shifted_groups", "group": size }),
        Pattern::Duo { retrieval, kv_heads, window, sink } => {
            let full: Vec<bool> = (0..*kv_heads).map(|head| retrieval >> head & 1 == 1).collect();
            json!({ "index": index, "pattern": "duo", "retrieval": full, "window": window, "sink": sink })
        }
        Pattern::DualChunk { chunk, farthest } => {
            json!({ "index": index, "pattern": "dual_chunk", "chunk": chunk, "farthest": farthest })
        }
        Pattern::SelfExtend { group, window } => {
            json!({ "index": index, "pattern": "self_extend", "group": group, "window": window })
        }
    }
}

/// Null where `layers` say which heads stream.
fn gates(gates: &GatesPlan) -> Value {
    match gates {
        GatesPlan::Given => Value::Null,
        GatesPlan::Learned { sparsity, sink, recent } => {
            json!({ "sparsity": sparsity, "sink": sink, "recent": recent })
        }
    }
}

/// Null where weights learn.
fn learns(learns: &Learns) -> Value {
    match learns {
        Learns::Weights => Value::Null,
        Learns::Gates { sink, recent, reg, form } => {
            json!({ "sink": sink, "recent": recent, "reg": reg, "form": form_word(*form) })
        }
    }
}

fn form_word(form: Form) -> &'static str {
    if form == Form::Code { "code" } else { "paper" }
}

fn adapt(adapt: &AdaptPlan) -> Value {
    match adapt {
        AdaptPlan::Full => json!({ "kind": "full" }),
        AdaptPlan::Lora { rank, alpha, rslora, scale, targets, embed, norm, quantized, dropout } => json!({
            "kind": if *quantized { "qlora" } else { "lora" },
            "r": rank,
            "lora_alpha": alpha,
            "use_rslora": rslora,
            "lora_dropout": dropout,
            "scale": scale,
            "target_modules": targets.iter().map(|target: &Target| target.name()).collect::<Vec<_>>(),
            "embed": embed,
            "norm": norm,
        }),
    }
}

fn source(source: &SourcePlan) -> Value {
    let share = source.share;
    let mut value = match &source.kind {
        SourceKind::Text { glob } => json!({ "kind": "text", "glob": glob, "share": share }),
        SourceKind::Jsonl { glob, field } => json!({ "kind": "jsonl", "glob": glob, "field": field, "share": share }),
        SourceKind::Parquet { glob, field } => {
            json!({ "kind": "parquet", "glob": glob, "field": field, "share": share })
        }
        SourceKind::Dataset { path, split, config, field } => {
            json!({ "kind": "dataset", "path": path, "split": split, "config": config, "field": field, "share": share })
        }
        SourceKind::Chat { glob, field } => json!({ "kind": "chat", "glob": glob, "field": field, "share": share }),
        SourceKind::Passkey => json!({ "kind": "passkey", "share": share, "papers": papers(&source.papers) }),
        SourceKind::Qa => json!({ "kind": "qa", "share": share, "papers": papers(&source.papers) }),
    };
    if source.replay > 0 {
        value["replay"] = source.replay.into();
    }
    if source.times > 1 {
        (value["upsample"], value["times"]) = (source.upsample.into(), source.times.into());
    }
    value
}

fn papers(papers: &Papers) -> Value {
    let Papers { exams, asked, shallowest, deepest, loss } = papers;
    let loss = if *loss == Loss::Answers { "answers" } else { "all" };
    json!({ "exams": exams, "asked": asked, "depth": [shallowest, deepest], "loss": loss })
}

fn stage((stage, work): (&StagePlan, StageFlops)) -> Value {
    json!({
        "kind": stage.kind.word(),
        "gates": learns(&stage.learns),
        "steps": stage.steps,
        "length": stage.length,
        "positions": position_words(stage.positions).unwrap_or_else(|| "contiguous".to_owned()),
        "reach": stage.reach,
        "rope": stage_rope(&stage.rope),
        "data": stage.data.iter().map(source).collect::<Vec<_>>(),
        "select": select(&stage.select),
        "documents": if stage.documents == Documents::Joined { "joined" } else { "mask" },
        "batch": stage.batch,
        "tokens": stage_tokens(stage),
        "lr": stage.lr,
        "warmup": stage.warmup,
        "schedule": super::schedule_word(stage.schedule),
        "betas": [stage.beta1, stage.beta2],
        "weight_decay": stage.weight_decay,
        // Null for no limit.
        "clip": Some(stage.clip).filter(|clip| *clip < f64::MAX),
        "seed": stage.seed,
        "recompute": if stage.recompute { "every" } else { "none" },
        "offload": stage.offload,
        "merge": merge(&stage.merge),
        "flops_per_step": by_term(&work.terms),
        "flops_total": work.total,
    })
}

/// Null where everything is read.
fn select(select: &SelectPlan) -> Value {
    match select {
        SelectPlan::All => Value::Null,
        SelectPlan::Impactful { types, keep, form } => {
            let types: Vec<&str> = types.iter().map(TokenType::word).collect();
            json!({ "types": types, "keep": keep, "form": form_word(*form) })
        }
    }
}

fn stage_rope(rope: &RopePlan) -> Value {
    json!({ "rope_type": rope.scaling.rope_type(), "rope_theta": rope.theta, "factor": rope.scaling_factor() })
}

/// Null where the weights stay.
fn merge(merge: &MergePlan) -> Value {
    match merge {
        MergePlan::None => Value::Null,
        MergePlan::Linear { base } => json!({ "form": "linear", "base": base }),
        MergePlan::Spherical { base } => json!({ "form": "spherical", "base": base }),
    }
}

fn eval(eval: &EvalPlan) -> Value {
    let kind = eval.word();
    match eval {
        EvalPlan::Perplexity { lengths } | EvalPlan::Passkey { lengths } | EvalPlan::Topics { lengths } => {
            json!({ "kind": kind, "lengths": lengths })
        }
        EvalPlan::KMax { lengths, distances, trials, success } => {
            json!({ "kind": kind, "lengths": lengths, "distances": distances, "trials": trials, "success": success })
        }
        EvalPlan::Needle { kind: needle, lengths } => {
            json!({ "kind": kind, "needle": needle.word(), "lengths": lengths })
        }
        EvalPlan::Short { max_loss } => json!({ "kind": kind, "max_loss": max_loss }),
        EvalPlan::Choice { path } => json!({ "kind": kind, "path": path }),
    }
}

fn device(device: Device) -> Value {
    let memory = available(device);
    match device {
        Device::Cpu { .. } => json!({ "kind": "cpu", "memory": memory }),
        Device::Cuda { deterministic, .. } => {
            json!({ "kind": "cuda", "memory": memory, "deterministic": deterministic })
        }
    }
}

/// Bytes, or null where nothing limits them.
fn available(device: Device) -> Option<u64> {
    Some(device.memory()).filter(|bytes| *bytes < u64::MAX)
}

/// Terms over all steps of all stages, and their sum.
fn flops(plan: &Plan) -> (Map<String, Value>, f64) {
    let all = plan.flops();
    if all.stages.is_empty() {
        let terms = plan.forward_flops(plan.target);
        return (by_term(&terms), terms.iter().map(|term| term.flops).sum());
    }
    let mut terms: Vec<Work> = vec![];
    for (stage, planned) in all.stages.iter().zip(plan.stages.iter()) {
        for term in &stage.terms {
            let flops = term.flops * planned.steps as f64;
            match terms.iter_mut().find(|known| known.name == term.name) {
                Some(known) => known.flops += flops,
                None => terms.push(Work { name: term.name.clone(), flops }),
            }
        }
    }
    (by_term(&terms), all.total)
}

fn by_term(terms: &[Work]) -> Map<String, Value> {
    terms.iter().map(|term| (term.name.to_string(), term.flops.into())).collect()
}
