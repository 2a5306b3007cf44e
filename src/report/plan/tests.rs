use recipe_core::{
    AdaptPlan, Device, Documents, Form, GatesPlan, Learns, MergePlan, Pattern, Recipe, RopePlan, Scaling, Schedule,
    SelectPlan, SourceKind, SourcePlan, StageKind, StagePlan, TokenType, presets,
};

use super::*;
use crate::report::samples::{bare, llama2_128k, recipe};

/// The lines that stand beside `label`, without the label's column.
fn block(text: &str, label: &str) -> Vec<String> {
    let body = |line: &str| line.chars().skip(12).collect::<String>();
    let from = text.lines().skip_while(|line| !line.starts_with(&format!("{label} ")));
    let first = from.clone().take(1);
    let rest = from.skip(1).take_while(|line| line.starts_with("   "));
    first.chain(rest).map(body).collect()
}

#[test]
fn the_head_says_what_the_recipe_is() {
    let text = plan_text(&llama2_128k());
    assert!(text.starts_with("Llama2_128k\n═══════════\nmodel       Llama, 32 layers, hidden 4096, 32 heads of 128, MLP 11008, vocabulary 32000\n"));
    for line in [
        "context     4K → 128K tokens, 32×",
        "rope        linear, theta 10000, factor 32, attention factor 1",
        "attention   11 of 32 layers full, the others window 4K + 4 sinks, blocks of 64",
        "weights     6.74 B and 33.6 M in adapters; 165 M learn, 2.4%",
        "device      cuda(80GB), two runs differ in last bits",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}\n{text}");
    }
    assert_eq!(
        block(&text, "adapt"),
        [
            "qlora, rank 32, alpha 16 on q_proj, k_proj, v_proj, o_proj; embedding and norms learn in",
            "  full; frozen projections in NF4",
        ]
    );
}

#[test]
fn the_layer_map_is_drawn() {
    assert_eq!(
        block(&plan_text(&llama2_128k()), "layers"),
        [
            "0         10        20        30",
            "▒▒▒▒▒▒▒▒▒▒███████████▒▒▒▒▒▒▒▒▒▒▒",
            "▒  window 4K + 4 sinks  21 layers  0–9, 21–31",
            "█  full                 11 layers  10–20",
        ]
    );
}

#[test]
fn stages_are_a_table() {
    let lines = block(&plan_text(&llama2_128k()), "training");
    assert_eq!(lines[0], "stage  steps  length  batch  tokens  peak lr  warm-up  schedule  recompute");
    assert_eq!(lines[2], "    1   1000    128K      1   131 M     2e-5       20  constant  every layer");
    assert_eq!(lines[3], "AdamW, betas 0.9 and 0.95, weight decay 0, clipped at norm 1; seed 0");
    let toy = block(&plan_text(&llama2_128k().rehearsal()), "training");
    assert!(toy.iter().any(|line| line.trim_start().starts_with("all ")), "{toy:#?}");
    let different = Plan {
        stages: [0.5, 1.0].map(|clip| StagePlan { clip, ..llama2_128k().stages[0].clone() }).to_vec().into(),
        ..llama2_128k()
    };
    let lines = block(&plan_text(&different), "training");
    assert!(lines[6].starts_with("stage 1: AdamW") && lines[7].starts_with("stage 2: AdamW"), "{lines:#?}");
}

#[test]
fn an_optimizer_in_eight_bits_is_said() {
    let plan = Plan { optimizer: Optimizer::AdamW8bit, ..llama2_128k() };
    let lines = block(&plan_text(&plan), "training");
    assert!(lines[3].starts_with("AdamW with moments in 8 bits, betas 0.9 and 0.95"), "{lines:#?}");
    assert_eq!(plan_json(&plan, 4096)["optimizer"], "adamw_8bit");
    assert!(plan_words(&plan).contains(&"optimizer adamw_8bit".to_owned()));
    assert!(!plan_words(&llama2_128k()).iter().any(|line| line.starts_with("optimizer")));
    let optimizer = |plan: &Plan| plan_json(plan, 4096)["memory"]["optimizer"].as_f64().unwrap();
    let share = optimizer(&plan) / optimizer(&llama2_128k());
    assert_eq!(share, (2.0 + 8.0 / 256.0) / 8.0, "its smallest tensors, the norms, have 4096 numbers");
}

#[test]
fn memory_shows_every_term_and_the_device() {
    let plan = llama2_128k();
    let (memory, lines) = (plan.memory(), block(&plan_text(&plan), "memory"));
    for term in &memory.terms {
        let line = lines.iter().find(|line| line.starts_with(&format!("{} ", term.name)));
        assert!(line.is_some_and(|line| line.contains(&number::bytes(term.bytes))), "{} in {lines:#?}", term.name);
    }
    let total = lines.iter().find(|line| line.starts_with("total")).unwrap();
    assert!(total.contains(&number::bytes(memory.total)) && total.ends_with('░'), "{total}");
    assert!(lines[lines.len() - 2].contains("of cuda(80GB), which holds 74.5 GiB"), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "sequences of up to 201K tokens fit");
    // Bars begin under each other.
    let begins: Vec<usize> =
        lines.iter().filter_map(|line| line.chars().position(|letter| "█▏▎▍▌▋▊▉".contains(letter))).collect();
    assert!(begins.len() > memory.terms.len() && begins.windows(2).all(|pair| pair[0] == pair[1]), "{begins:?}");
}

/// What differs from run to run is said where something does: in training, on a GPU that was not asked to be deterministic.
#[test]
fn a_device_says_whether_it_repeats() {
    let line = |device, stages: &Plan| {
        let plan = Plan { device, ..stages.clone() };
        plan_text(&plan).lines().find(|line| line.starts_with("device")).unwrap().to_owned()
    };
    let trained = llama2_128k();
    let read = Plan { stages: vec![].into(), ..trained.clone() };
    let in_order = Device::Cuda { memory: 80_000_000_000, deterministic: true };
    assert_eq!(line(Device::cuda(80_000_000_000), &trained), "device      cuda(80GB), two runs differ in last bits");
    assert_eq!(line(Device::cuda(80_000_000_000), &read), "device      cuda(80GB)");
    assert_eq!(line(in_order, &trained), "device      cuda(80GB, deterministic = true)");
    assert_eq!(line(Device::Cpu { memory: u64::MAX }, &trained), "device      cpu");
}

#[test]
fn too_much_memory_is_said() {
    let plan = Plan { device: Device::cuda(24_000_000_000), ..llama2_128k() };
    let lines = block(&plan_text(&plan), "memory");
    assert!(lines[lines.len() - 2].ends_with(" too much"), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "sequences of up to 39K tokens fit");
    let mut offloaded = llama2_128k();
    offloaded.stages.to_mut()[0].offload = true;
    let lines = block(&plan_text(&offloaded), "memory");
    assert!(lines.last().unwrap().starts_with("beside it 30.0 GiB of the host's memory"), "{lines:#?}");
    let unlimited = Plan { device: Device::Cpu { memory: u64::MAX }, ..llama2_128k() };
    assert_eq!(block(&plan_text(&unlimited), "memory").last().unwrap(), "cpu sets no limit");
}

#[test]
fn the_cache_is_held_against_full_attention() {
    let lines = block(&plan_text(&llama2_128k()), "KV cache");
    assert_eq!(lines[0], "one sequence of 128K tokens");
    assert!(lines[1].starts_with("this recipe      23.3 GiB  █"));
    assert!(lines[2].starts_with("all layers full  64.0 GiB  █"));
    assert_eq!(lines[3], "saves 64%, 40.7 GiB");
    assert!(block(&plan_text(&bare()), "KV cache")[3].starts_with("saves nothing"));
}

#[test]
fn work_adds_up_and_time_names_its_speed() {
    let plan = llama2_128k();
    let (flops, lines) = (plan.flops(), block(&plan_text(&plan), "FLOPs"));
    let together = lines.iter().find(|line| line.starts_with("together")).unwrap();
    assert!(together.contains(&number::flops(flops.stages[0].step)) && together.ends_with("100.0%"), "{together}");
    assert!(lines.contains(&format!("{} in 1000 steps", number::flops(flops.total))));
    let expected = number::duration(flops.total / 156e12);
    assert!(
        lines.contains(&format!("training: {expected} at 156 TFLOP/s (half of an A100's bf16 peak)")),
        "{lines:#?}"
    );
    assert!(!plan_text_at(&plan, &[]).contains("times are"));
}

#[test]
fn a_plan_without_training_has_no_word_about_it() {
    let text = plan_text(&bare());
    assert!(!text.contains("learn") && !text.contains("adapt") && !text.contains("optimiser"), "{text}");
    assert!(text.contains("FLOPs       of reading 256 tokens once\n"));
    assert!(text.ends_with("\nnotes       none\n"));
}

#[test]
fn notes_carry_their_rule() {
    assert_eq!(
        block(&plan_text(&llama2_128k()), "notes"),
        [
            "[adapter_needs_merge] the embedding and the norms learn in full, vLLM does not load such",
            "  an adapter; export the merged model",
        ]
    );
}

#[test]
fn every_rope_law_has_its_words() {
    let line = |model, rope| {
        let plan = Recipe { model, rope: Some(rope), ..recipe() }.plan();
        plan.map(|plan| block(&plan_text(&plan), "rope").join("\n")).unwrap_or_else(|faults| panic!("{faults:?}"))
    };
    let yarn = recipe_core::Rope::Yarn {
        scale: 32.0,
        beta_fast: None,
        beta_slow: None,
        attention_factor: None,
        truncate: None,
    };
    assert_eq!(
        line(presets::llama2_7b(), yarn),
        "yarn, theta 10000, factor 32, original 4K, betas 32 and 1, attention factor 1.3466"
    );
    assert_eq!(
        line(presets::llama2_7b(), recipe_core::Rope::Theta { theta: 2e8 }),
        "default, theta 200000000, attention factor 1"
    );
}

#[test]
fn pages_are_a_hundred_columns_wide() {
    for plan in [llama2_128k(), llama2_128k().rehearsal(), bare()] {
        for line in plan_text(&plan).lines() {
            assert!(line.chars().count() <= 100 && line == line.trim_end(), "{line:?}");
        }
    }
}

#[test]
fn what_is_particular_to_a_stage_has_a_line() {
    let plain = plan_text(&llama2_128k());
    assert!(!plain.contains("stage 1:") && !plain.contains("reads"), "{plain}");
    let one = llama2_128k().stages[0].clone();
    let rope = RopePlan { theta: 5e6, ..one.rope.clone() };
    let data = vec![SourcePlan::new(SourceKind::Passkey, 1.0)].into();
    let ladder = StagePlan { rope, documents: Documents::Joined, ..one.clone() };
    let replay = StagePlan { kind: StageKind::Replay, data, merge: MergePlan::Linear { base: 0.25 }, ..one };
    let text = plan_text(&Plan { stages: vec![ladder, replay].into(), ..llama2_128k() });
    for words in [
        "stage 1: rope linear, theta 5",
        "stage 1: the documents of a sequence see each other",
        "stage 2: replay",
        "after stage 2: merged with 25% of the original weights, along a line; AdamW starts anew",
        "stage 2 reads",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn gates_are_announced_before_anyone_knows_them() {
    let gates = StagePlan {
        kind: StageKind::Gates,
        learns: Learns::Gates { sink: 128, recent: 256, reg: 0.05, form: Form::Code },
        clip: f64::MAX,
        schedule: Schedule::Trapezoid,
        ..llama2_128k().stages[0].clone()
    };
    let plan = Plan {
        adapt: AdaptPlan::Full,
        layers: vec![Pattern::Full; 32].into(),
        gates: GatesPlan::Learned { sparsity: 0.75, sink: 64, recent: 256 },
        stages: vec![gates].into(),
        ..llama2_128k()
    };
    let text = plan_text(&plan);
    for words in [
        "75% of the heads window 256 + 64 sinks, the others full, by learned gates",
        "none learn, but 1024 gates",
        "stage 1: gates, weights stay: distance of last hidden states + 0.05 × mean gate;",
        "trapezoid",
        "not clipped",
        "saves 75%",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let json = plan_json(&plan, 8);
    assert_eq!(json["gates"], serde_json::json!({ "sparsity": 0.75, "sink": 64, "recent": 256 }));
    let stage = &json["stages"][0];
    assert_eq!(stage["gates"], serde_json::json!({ "sink": 128, "recent": 256, "reg": 0.05, "form": "code" }));
    assert!(stage["clip"].is_null() && json["memory"].get("logits").is_none());
    assert!(plan_json(&llama2_128k(), 8)["gates"].is_null());
}

/// The macro's constant is made elsewhere; whatever is in it, printing it must not fail.
#[test]
fn senseless_plans_are_printed() {
    let stage = StagePlan {
        steps: usize::MAX,
        length: usize::MAX,
        batch: usize::MAX,
        lr: f64::NAN,
        ..llama2_128k().stages[0].clone()
    };
    let plan = Plan {
        name: "".into(),
        target: usize::MAX,
        rope: RopePlan { theta: f64::NAN, scaling: Scaling::Linear { factor: 0.0 }, head_dim: 0 },
        layers: vec![Pattern::Window { window: usize::MAX, sink: usize::MAX }; 3].into(),
        stages: vec![stage.clone(), stage].into(),
        device: Device::Cpu { memory: 0 },
        ..llama2_128k()
    };
    assert!(plan_text(&plan).contains("training"));
    assert!(plan_json(&plan, 0).is_object());
    let empty = Plan { layers: vec![].into(), stages: vec![].into(), target: 0, ..plan };
    assert!(plan_text(&empty).contains("layers") || !plan_json(&empty, usize::MAX).is_null());
}

#[test]
fn json_has_the_promised_keys() {
    let plan = llama2_128k();
    let json = plan_json(&plan, 4096);
    assert_eq!(json["name"], "Llama2_128k");
    assert_eq!(json["context"], serde_json::json!({ "native": 4096, "target": 131_072 }));
    assert_eq!(json["layers"][0], serde_json::json!({ "index": 0, "pattern": "window", "window": 4096, "sink": 4 }));
    assert_eq!(json["layers"][10], serde_json::json!({ "index": 10, "pattern": "full" }));
    assert_eq!(json["layers"].as_array().unwrap().len(), 32);
    let parameters: usize = plan.parameters().iter().map(recipe_core::Parameter::count).sum();
    assert_eq!(json["parameters"], parameters);
    assert_eq!(json["trainable"], plan.counts().trainable);
    let memory: u64 = json["memory"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(json["memory_total"], memory);
    assert_eq!(json["kv_bytes"], plan.kv_cache_bytes(131_072));
    assert_eq!(json["kv_bytes_full"], 68_719_476_736_u64);
    assert_eq!(json["rope"]["attention_factor"], 1.0);
    assert_eq!(json["rope"]["inv_freq"].as_array().unwrap().len(), 64);
    assert_eq!(json["rope"]["inv_freq"][0], 1.0 / 32.0);
    assert_eq!(json["stages"][0]["steps"], 1000);
    assert_eq!(json["notes"][0]["rule"], "adapter_needs_merge");
    assert!(json["notes"][0]["message"].as_str().unwrap().contains("vLLM"));
}

#[test]
fn json_work_is_that_of_all_stages() {
    for plan in [llama2_128k(), llama2_128k().rehearsal()] {
        let json = plan_json(&plan, 4096);
        let sum: f64 = json["flops"].as_object().unwrap().values().map(|flops| flops.as_f64().unwrap()).sum();
        let total = plan.flops().total;
        assert!((sum / total - 1.0).abs() < 1e-9 && json["flops_total"] == total);
    }
    let reading = plan_json(&bare(), 256);
    assert!(reading["flops"]["attention forward"].as_f64().unwrap() > 0.0);
}

#[test]
fn json_follows_the_length_where_the_law_does() {
    let dynamic = Plan {
        rope: RopePlan { scaling: Scaling::Dynamic { factor: 2.0, original: 4096 }, ..llama2_128k().rope },
        ..llama2_128k()
    };
    let lowest = |length| plan_json(&dynamic, length)["rope"]["inv_freq"][63].as_f64().unwrap();
    assert!(lowest(8192) < lowest(4096));
}

#[test]
fn a_selection_is_told_in_text_and_json() {
    let select = |form, keep| SelectPlan::Impactful { types: vec![TokenType::Num, TokenType::Pron].into(), keep, form };
    let with =
        |select| Plan { stages: vec![StagePlan { select, ..llama2_128k().stages[0].clone() }].into(), ..llama2_128k() };
    let (paper, code) = (with(select(Form::Paper, 0.0)), with(select(Form::Code, 0.5)));
    assert!(plan_text(&paper).contains("stage 1: select impactful: sentences with num, pron; 0% of the others"));
    assert!(plan_text(&code).contains("stage 1: select impactful: sentences with a digit; 50% of the others"));
    let json = |plan: &Plan| plan_json(plan, 4096)["stages"][0]["select"].clone();
    assert_eq!(json(&paper), serde_json::json!({ "types": ["num", "pron"], "keep": 0.0, "form": "paper" }));
    assert!(json(&llama2_128k()).is_null() && !plan_text(&llama2_128k()).contains("select"));
}
