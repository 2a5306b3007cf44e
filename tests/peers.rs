//! Exported models in the programs that people load them with: transformers, PEFT, gguf-py, llama.cpp, TensorBoard.
//!
//! ```text
//! PEERS_PYTHON=$(scripts/peers_venv.sh) cargo test --release --test peers
//! ```
//!
//! With `SMOLLM2` (what `scripts/fetch_smollm2.sh` prints) llama.cpp also reads a real model and its text.

#[path = "peers/cases.rs"]
mod cases;
mod common;
#[path = "peers/llama_cpp.rs"]
mod llama_cpp;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cases::{Exports, base, plan, random, ropes};
use context_recipe::hub::{AdapterConfig, Dtype, GgufOptions, GgufType, write_adapter, write_gguf};
use context_recipe::plan::{Adapt, HfConfig, Llama, Pattern, Plan, Rope, Stage, Target};
use serde_json::{Value, json};

/// What a script of `tests/peers` prints, as JSON.
fn asked(script: &str, argument: &Path) -> Value {
    let python = std::env::var("PEERS_PYTHON").expect("PEERS_PYTHON is the path that scripts/peers_venv.sh prints");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let output = Command::new(python).arg(&script).arg(argument).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{}", script.display());
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{text}"))
}

/// Asks about a list of cases, and checks that there is an answer for each.
fn answers(script: &str, dir: &Path, cases: &[Value]) -> Vec<Value> {
    let path = dir.join("cases.json");
    fs::write(&path, json!(cases).to_string()).unwrap();
    let found = asked(script, &path).as_array().unwrap().clone();
    assert_eq!(found.len(), cases.len());
    found
}

/// Every answer loads whole, and its logits are within 1e-4 of ours.
fn logits_agree(found: &[Value]) {
    for case in found {
        println!("{}: {:.1e}", case["name"].as_str().unwrap(), case["error"].as_f64().unwrap());
    }
    for case in found {
        assert_eq!(case["missing"], json!([]), "{case}");
        assert!(case["error"].as_f64().unwrap() <= 1e-4, "{case}");
    }
}

#[test]
fn transformers_computes_the_same() {
    let mut out = Exports::new();
    let llama = base();
    for (name, rope) in ropes() {
        let plan = plan(&llama.model, Some(rope));
        out.hf(&format!("llama {name}"), &plan, &HfConfig::of(&plan.model), &llama.weights, Dtype::F32);
    }
    for (name, model) in [
        ("qwen2", Llama { qkv_bias: true, tied: false, ..llama.model.clone() }),
        ("qwen3", Llama { qk_norm: true, kv_heads: 2, ..llama.model.clone() }),
        ("grouped llama", Llama { kv_heads: 2, tied: false, ..llama.model.clone() }),
    ] {
        for rope in [None, Some(yarn())] {
            let name = format!("{name} {}", if rope.is_none() { "plain" } else { "yarn" });
            let plan = plan(&model, rope);
            out.hf(&name, &plan, &HfConfig::of(&model), &random(&model), Dtype::F32);
        }
    }
    for dtype in [Dtype::BF16, Dtype::F16] {
        let plan = plan(&llama.model, Some(yarn()));
        out.hf(&format!("llama {}", dtype.tag()), &plan, &HfConfig::of(&plan.model), &llama.weights, dtype);
    }
    let found = answers("logits.py", out.path(), &out.cases);
    logits_agree(&found);
}

fn yarn() -> Rope {
    Rope::Yarn { scale: 4.0, beta_fast: None, beta_slow: None, attention_factor: None, truncate: None }
}

/// Windows of 64 in every other layer: 300 tokens see other things than with full attention.
#[test]
fn windows_are_served_as_a_ministral() {
    let mut out = Exports::new();
    let llama = base();
    for (window, same) in [(64, true), (65, false)] {
        let layers = |window| {
            let layer = |index: usize| {
                if index.is_multiple_of(2) { Pattern::Window { window, sink: 0 } } else { Pattern::Full }
            };
            (0..llama.model.layers).map(layer).collect::<Vec<_>>()
        };
        let plan = Plan { layers: layers(64).into(), ..plan(&llama.model, Some(yarn())) };
        let config = HfConfig::of(&plan.model).as_ministral(&layers(window)).unwrap();
        out.hf(if same { "same window" } else { "another window" }, &plan, &config, &llama.weights, Dtype::F32);
    }
    let found = answers("logits.py", out.path(), &out.cases);
    logits_agree(&found[..1]);
    assert!(found[1]["error"].as_f64().unwrap() > 1e-4, "one token more is seen: {}", found[1]);
}

/// Adapters on every projection or on two, with the embedding and norms or without, over the rank or its root.
#[test]
fn peft_computes_the_same() {
    let mut out = Exports::new();
    let llama = base();
    let untied = Llama { tied: false, ..llama.model.clone() };
    let qwen = Llama { qk_norm: true, ..llama.model.clone() };
    let cases = [
        ("lora", llama.model.clone(), llama.weights.clone(), (false, false), false, Target::ALL.to_vec()),
        ("lora, rslora", llama.model.clone(), llama.weights.clone(), (false, false), true, vec![Target::Q, Target::V]),
        ("lora, norms", llama.model.clone(), llama.weights.clone(), (false, true), false, vec![Target::Q, Target::K]),
        (
            "lora, embedding and norms, tied",
            llama.model.clone(),
            llama.weights.clone(),
            (true, true),
            false,
            Target::ALL.to_vec(),
        ),
        ("lora, embedding and norms", untied.clone(), random(&untied), (true, true), false, Target::ALL.to_vec()),
        ("lora, qwen3, norms", qwen.clone(), random(&qwen), (false, true), false, Target::ALL.to_vec()),
    ];
    for (name, model, weights, (embed, norm), rslora, targets) in cases {
        let plain = plan(&model, None);
        let from = out.hf(&format!("{name}, base"), &plain, &HfConfig::of(&model), &weights, Dtype::F32);
        let adapt = Adapt::Lora {
            rank: 4,
            alpha: Some(6.0),
            targets: Some(targets.clone()),
            embed,
            norm,
            quantized: false,
            rslora,
            dropout: Some(0.05),
        };
        let stage = Stage { steps: Some(1), ..Stage::default() };
        let plan = cases::planned(&model, Some(yarn()), Some(adapt), vec![stage]);
        let engine = cases::trained(&plan, &weights);
        let names = targets.iter().map(|target| target.name()).collect();
        let base = from.display().to_string();
        let adapter =
            AdapterConfig { base: &base, rank: 4, alpha: 6.0, rslora, dropout: 0.05, targets: names, tied: model.tied };
        let config = HfConfig::of(&model).with_rope(&plan.rope, plan.target);
        let files = [("config.json".to_owned(), config.to_json().into_bytes())];
        let dir = out.path().join(format!("{name} adapter"));
        write_adapter(&dir, &adapter, &engine.trained(), Dtype::F32, &files).unwrap();
        out.adapter(name, &plan, &engine.merged(), &from, &dir);
    }
    let found = answers("logits.py", out.path(), &out.cases);
    logits_agree(&found);
}

#[test]
fn gguf_py_reads_the_same_tensors() {
    let mut out = Exports::new();
    let llama = base();
    let models = [
        ("llama", llama.model.clone(), llama.weights.clone()),
        ("grouped llama", Llama { kv_heads: 2, tied: false, ..llama.model.clone() }, Default::default()),
        ("qwen2", Llama { qkv_bias: true, ..llama.model.clone() }, Default::default()),
        ("qwen3", Llama { qk_norm: true, tied: false, ..llama.model.clone() }, Default::default()),
    ];
    let mut cases = Vec::new();
    for (name, model, weights) in models {
        let weights = if weights.is_empty() { random(&model) } else { weights };
        let plan = plan(&model, Some(yarn()));
        let config = HfConfig::of(&model);
        let dir = out.hf(name, &plan, &config, &weights, Dtype::F32);
        for kind in [GgufType::F32, GgufType::F16, GgufType::Bf16, GgufType::Q8_0] {
            let file = out.path().join(format!("{name}-{}.gguf", kind.name()));
            let options = GgufOptions { kind, name: "Peers", tokenizer: Some(&llama.tokenizer) };
            let config = config.clone().with_rope(&plan.rope, plan.target);
            write_gguf(&file, &config, weights.views(), &options).unwrap();
            cases.push(json!({ "name": format!("{name} {}", kind.name()), "file": file, "model": dir }));
        }
    }
    for case in answers("gguf_file.py", out.path(), &cases) {
        assert_eq!((&case["wrong"], &case["others"]), (&json!([]), &json!([])), "{}", case["name"]);
        let (keys, architecture) = (&case["keys"], case["keys"]["general.architecture"].as_str().unwrap());
        assert_eq!(keys[format!("{architecture}.rope.scaling.type")], "yarn");
        assert_eq!(keys[format!("{architecture}.rope.scaling.original_context_length")], 256);
        assert_eq!(keys["tokenizer.ggml.model"], "gpt2");
        println!("{}: {} tensors", case["name"].as_str().unwrap(), case["tensors"]);
    }
}

/// A run from the command line: its three exports, and what TensorBoard reads from its folder.
#[test]
fn a_run_leaves_by_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let program = common_example("tiny_llama");
    let at = |name: &str| dir.path().join(name);
    let works = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let model = cases::tiny_with_tokenizer(&at("model"));
    let text = |path: &Path| path.display().to_string();
    fs::write(at("corpus.txt"), "the quick brown fox jumps over the lazy dog. ".repeat(400)).unwrap();
    works(&["train", "--model", &text(&model), "--out", &text(&at("run")), "--data", &text(&at("corpus.txt"))]);
    let export = |form: &str, out: &str| {
        works(&["export", "--run", &text(&at("run")), "--out", &text(&at(out)), "--format", form, "--dtype", "f32"])
    };
    assert!(export("hf", "hf").contains("peers: transformers and vLLM run full attention"));
    assert!(export("adapter", "adapter").contains("peers: An adapter carries no rope"));
    assert!(export("gguf", "a.gguf").contains("llama.cpp"));
    let mut out = Exports::new();
    out.written("merged", &at("hf"), None);
    out.written("adapter", &at("hf"), Some((&model, &at("adapter"))));
    logits_agree(&answers("logits.py", out.path(), &out.cases));
    let case = json!({ "name": "a.gguf", "file": at("a.gguf"), "model": at("hf") });
    let found = &answers("gguf_file.py", out.path(), &[case])[0];
    assert_eq!((&found["wrong"], &found["others"]), (&json!([]), &json!([])));
    tensorboard_reads(&at("run"));
}

/// Every step's loss, as metrics.jsonl has it.
fn tensorboard_reads(run: &Path) {
    let found = asked("events.py", &run.join("tensorboard"));
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses = found["train/loss"].as_array().unwrap_or_else(|| panic!("{found}"));
    assert_eq!(losses.len(), steps.len());
    for (event, step) in losses.iter().zip(&steps) {
        assert_eq!(event[0], step["step"]);
        let (theirs, ours) = (event[1].as_f64().unwrap(), step["loss"].as_f64().unwrap());
        assert!((theirs - ours).abs() <= 1e-6 * ours, "{event} {step}");
    }
    for tag in ["train/grad_norm", "train/learning_rate"] {
        assert_eq!(found[tag].as_array().map(Vec::len), Some(steps.len()), "{tag}");
    }
}

fn common_example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(built.exists(), "{}: `cargo build --examples` makes it", built.display());
    built
}
