//! The command line as a person uses it: a recipe's program, started as a process.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::cli::{corpus, example, text, with_tokenizer};
use common::fixture;
use context_recipe::hub::{self, Adapter, Checkpoint, Dtype, Header, TensorFile};
use context_recipe::plan::LongRopeFactors;
use serde_json::{Value, json};

/// The example that trains the tiny Llama of the fixtures.
fn program() -> Command {
    example("tiny_llama")
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    succeeded(arguments, run(arguments))
}

fn succeeded(arguments: &[&str], output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails(arguments: &[&str]) -> String {
    failed(arguments, run(arguments))
}

fn failed(arguments: &[&str], output: Output) -> String {
    assert!(!output.status.success(), "{arguments:?} should fail");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn model() -> String {
    text(&fixture("tiny_hf"))
}

#[test]
fn help_has_examples() {
    let help = ok(&["--help"]);
    for word in ["plan", "check", "rehearse", "train", "eval", "analyse", "generate", "logits", "export", "Examples:"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn plan_json_is_one_object_with_the_promised_keys() {
    let plan: Value = serde_json::from_str(&ok(&["plan", "--json"])).unwrap();
    for key in ["layers", "parameters", "trainable", "memory", "kv_bytes", "kv_bytes_full", "flops", "rope", "notes"] {
        assert!(!plan[key].is_null(), "{key}");
    }
    assert_eq!(plan["layers"].as_array().unwrap().len(), 3);
    assert_eq!(plan["rope"]["inv_freq"].as_array().unwrap().len(), 8);
}

#[test]
fn check_finds_a_model_that_fits_and_one_that_does_not() {
    assert!(ok(&["check", "--model", &model()]).contains("fits the recipe"));
    let other = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("tiny_hf")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, other.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = other.path().join("config.json");
    let changed = fs::read_to_string(&config).unwrap().replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    fs::write(&config, changed).unwrap();
    let said = fails(&["check", "--model", &text(other.path())]);
    assert!(said.contains("num_hidden_layers is 4 instead of 3"), "{said}");
    assert!(said.contains("model.layers.3"), "{said}");
}

#[test]
fn logits_and_gradients_equal_pytorch() {
    let file = common::reference();
    let batch = common::batch(&file, "hybrid");
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in.json"), dir.path().join("out.safetensors"));
    let all = json!({
        "tokens": batch.tokens, "positions": batch.positions, "documents": batch.documents, "targets": batch.targets,
    });
    fs::write(&input, all.to_string()).unwrap();
    ok(&["logits", "--model", &model(), "--tokens", &text(&input), "--out", &text(&output), "--grad"]);
    let found = TensorFile::open(&output).unwrap();
    for (name, limit) in [("logits", 1e-4), ("loss", 1e-4), ("grad.model.layers.1.self_attn.q_proj.weight", 1e-3)] {
        let (ours, theirs) = (found.f32(name).unwrap(), file.f32(&format!("hybrid.{name}")).unwrap());
        assert_eq!(ours.shape, theirs.shape, "{name}");
        assert!(common::relative(&ours.data, &theirs.data) <= limit, "{name}");
    }
}

#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.json");
    let out = text(&dir.path().join("out.safetensors"));
    let says = |content: &str| {
        fs::write(&input, content).unwrap();
        fails(&["logits", "--model", &model(), "--tokens", &text(&input), "--out", &out])
    };
    assert!(says("{\"tokens\": [1, 2").contains("in.json"));
    assert!(says("{\"tokens\": [1, 500]}").contains("500"));
    assert!(says("{\"tokens\": []}").contains("no tokens"));
    assert!(says("{\"tokens\": [1, 2], \"positions\": [0]}").contains("1 positions"));
    assert!(says("{\"tokns\": [1]}").contains("tokns"));
    assert!(fails(&["check", "--model", "/nowhere/at/all"]).contains("/nowhere/at/all"));
    assert!(fails(&["export", "--run", &text(dir.path()), "--out", &out]).contains("no run is here"));
}

#[test]
fn a_search_writes_factors_that_a_recipe_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), dir.path().join("factors.json"));
    let search = |more: &[&str]| {
        let arguments = ["search", "--model", &model, "--text", &data, "--out", &text(&out), "--documents", "2"];
        [&arguments[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let small = search(&["--length", "128", "--population", "8", "--iterations", "3"]);
    let said = ok(&small.iter().map(String::as_str).collect::<Vec<_>>());
    let found = LongRopeFactors::parse(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!((found.short, found.long.len()), (vec![1.0; 8], 8));
    let figure = |law: &str| {
        let line = said.lines().find(|line| line.starts_with(law)).unwrap_or_else(|| panic!("{law}: {said}"));
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert!(["interpolate", "ntk", "yarn"].iter().all(|law| figure("found") <= figure(law)), "{said}");
    let native = search(&["--length", "64"]);
    assert!(fails(&native.iter().map(String::as_str).collect::<Vec<_>>()).contains("give a longer --length"));
}

fn steps(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |log| log.lines().count())
}

#[test]
fn a_killed_run_goes_on_and_its_export_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), dir.path().join("run"));
    let arguments = ["train", "--model", &model, "--out", &text(&out), "--data", &data, "--save-every", "5"];
    let mut child = program().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while steps(&out) < 12 && started.elapsed() < Duration::from_secs(60) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("resuming after step"), "{said}");

    let whole = dir.path().join("whole");
    ok(&["train", "--model", &model, "--out", &text(&whole), "--data", &data]);
    let losses = |run: &Path| -> Vec<String> {
        let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| format!("{} {}", line["step"], line["loss"])).collect()
    };
    assert_eq!(losses(&out), losses(&whole));

    let exported = dir.path().join("exported");
    ok(&["export", "--run", &text(&out), "--out", &text(&exported)]);
    let found: Value = serde_json::from_str(&ok(&[
        "eval",
        "--model",
        &text(&exported),
        "--text",
        &data,
        "--context",
        "64",
        "--documents",
        "2",
        "--json",
    ]))
    .unwrap();
    let entry = &found["perplexity"][0];
    assert_eq!((&entry["context"], &entry["tokens"], &entry["bucket"]), (&json!(64), &json!(126), &json!(8)));
    assert!(entry["mean_nll"].as_f64().unwrap() < 4.0, "{entry}");
    let said: Value =
        serde_json::from_str(&ok(&["generate", "--model", &text(&exported), "--prompt", "the quick", "--json"]))
            .unwrap();
    assert!(!said["tokens"].as_array().unwrap().is_empty());
    short_compares(&data, &model, &text(&exported));
    other_forms(dir.path(), &text(&out), &text(&exported));
}

/// The same checkpoint as an adapter and as GGUF, and a whole model without its run.
fn other_forms(dir: &Path, run: &str, exported: &str) {
    let at = |name: &str| text(&dir.join(name));
    let config = |name: &str| -> Value { serde_json::from_str(&fs::read_to_string(dir.join(name)).unwrap()).unwrap() };
    let card = fs::read_to_string(dir.join("exported/README.md")).unwrap();
    assert!(
        card.starts_with("---\nlibrary_name: transformers\n") && card.contains("## Training, as measured"),
        "{card}"
    );
    assert!(card.contains("transformers and vLLM run full attention in every layer"), "{card}");
    let export = |name: &str, more: &[&str]| ok(&[&["export", "--out", &at(name)], more].concat());

    let said = export("adapter", &["--run", run, "--format", "adapter"]);
    assert!(said.contains("peers: An adapter carries no rope") && said.contains("adapter_model.safetensors"), "{said}");
    assert_eq!(config("adapter/adapter_config.json")["r"], 4);
    let adapter = TensorFile::open(&dir.join("adapter/adapter_model.safetensors")).unwrap();
    assert_eq!(adapter.names().count(), 3 * 7 * 2);

    let said = export("whole.gguf", &["--model", exported, "--format", "gguf", "--dtype", "f32"]);
    assert!(said.contains("every tensor was read back") && said.contains("no vocabulary"), "{said}");
    assert!(ok(&["check", "--model", &at("whole.gguf")]).contains("fits the recipe"));

    let said = export("ministral", &["--model", exported, "--attention", "ministral", "--shard-size", "100KB"]);
    assert!(said.contains("see the first 2 tokens too") && said.contains("model-00001-of-"), "{said}");
    assert_eq!(config("ministral/config.json")["layer_types"][1], "full_attention");
    assert_eq!(config("ministral/config.json")["sliding_window"], 8);
    refused_forms(&at("no"), run, exported);
    assert!(!dir.join("no").exists());
}

fn refused_forms(out: &str, run: &str, exported: &str) {
    let says = |more: &[&str]| fails(&[&["export", "--out", out], more].concat());
    assert!(says(&["--model", exported, "--format", "adapter"]).contains("a whole model has no adapter"));
    assert!(says(&["--run", run, "--dtype", "q8_0"]).contains("is a format of GGUF"));
    assert!(says(&["--run", run, "--format", "gguf", "--attention", "ministral"]).contains("has no windows"));
    assert!(says(&[]).contains("--run"));
    assert!(says(&["--run", run, "--shard-size", "5TB"]).contains("is not a size"));
}

/// Gates lie beside the model that they were learned on, and what reads that model finds them there.
#[test]
fn learned_gates_travel_with_the_model() {
    let gates = |arguments: &[&str]| example("tiny_gates").args(arguments).output().unwrap();
    let works = |arguments: &[&str]| succeeded(arguments, gates(arguments));
    let breaks = |arguments: &[&str]| failed(arguments, gates(arguments));
    let dir = tempfile::tempdir().unwrap();
    let (data, model) = (corpus(dir.path()), text(&with_tokenizer(dir.path())));
    let [run, exported, tokens] = ["run", "exported", "tokens.json"].map(|name| dir.path().join(name));
    let said = breaks(&["eval", "--model", &model, "--text", &data]);
    assert!(said.contains("gates.json: not there") && said.contains("`train --model "), "{said}");

    let said = works(&["train", "--model", &model, "--out", &text(&run), "--data", &data]);
    assert!(said.contains("of 6 gates are above 0.5") && said.contains("3 heads stream"), "{said}");
    works(&["export", "--run", &text(&run), "--out", &text(&exported)]);
    let learned = fs::read_to_string(run.join("gates.json")).unwrap();
    assert_eq!(fs::read_to_string(exported.join("gates.json")).unwrap(), learned);
    let config: Value = serde_json::from_str(&fs::read_to_string(exported.join("config.json")).unwrap()).unwrap();
    assert!(config["context_recipe_attention"][0]["Duo"].is_object(), "{config}");

    let out = text(&dir.path().join("out.safetensors"));
    fs::write(&tokens, "{\"tokens\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]}").unwrap();
    works(&["logits", "--model", &text(&exported), "--tokens", &text(&tokens), "--out", &out, "--grad"]);
    works(&["generate", "--model", &text(&exported), "--prompt", "the quick", "--json"]);
    let nll = |model: &str| {
        let found: Value = serde_json::from_str(&works(&[
            "eval",
            "--model",
            model,
            "--text",
            &data,
            "--only",
            "perplexity",
            "--json",
        ]))
        .unwrap();
        found["perplexity"][0]["mean_nll"].as_f64().unwrap()
    };
    let before = nll(&text(&exported));
    // Other heads, other numbers: the file is what says which heads stream.
    fs::write(exported.join("gates.json"), "[[0, 0], [0, 0.1], [0.9, 1]]").unwrap();
    let first = nll(&text(&exported));
    fs::write(exported.join("gates.json"), "[[1, 0.9], [0.8, 0], [0, 0]]").unwrap();
    let last = nll(&text(&exported));
    assert!(before.is_finite() && first != last, "{before} {first} {last}");
    fs::write(exported.join("gates.json"), "[[1, 1]]").unwrap();
    let said = breaks(&["generate", "--model", &text(&exported), "--prompt", "the quick"]);
    assert!(said.contains("exported/gates.json") && said.contains("3 layers of 2 key/value heads"), "{said}");
}

/// A model that has learned the text has lost nothing against the untouched one; the other way round it has.
fn short_compares(data: &str, model: &str, exported: &str) {
    let short = |model, base| {
        run(&[
            "eval",
            "--model",
            model,
            "--base",
            base,
            "--text",
            data,
            "--only",
            "short",
            "--documents",
            "2",
            "--json",
        ])
    };
    let kept = short(exported, model);
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    let found: Value = serde_json::from_slice(&kept.stdout).unwrap();
    let entry = &found["short"][0];
    assert_eq!((&entry["context"], &entry["tokens"], &entry["kept"]), (&json!(64), &json!(126), &json!(true)));
    assert!(entry["loss"].as_f64().unwrap() < 0.0, "{entry}");
    let lost = short(model, exported);
    assert!(!lost.status.success());
    let found: Value = serde_json::from_slice(&lost.stdout).unwrap();
    assert_eq!(found["short"][0]["kept"], json!(false));
    let said = String::from_utf8(lost.stderr).unwrap();
    assert!(said.contains("not kept") && said.contains("`short` allows 0.02"), "{said}");
}

#[test]
fn short_needs_a_text_and_the_untouched_model() {
    let said = fails(&["eval", "--model", &model(), "--only", "short"]);
    assert!(said.contains("--text FILE"), "{said}");
    let said = fails(&["eval", "--model", &model(), "--only", "short", "--text", "novel.txt"]);
    assert!(said.contains("--base DIR"), "{said}");
}

#[test]
fn questions_are_answered_and_bad_lines_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (model, file) = (text(&with_tokenizer(dir.path())), dir.path().join("questions.jsonl"));
    let good = r#"{"question": "the lazy", "choices": ["dog", "cat", "fox", "hen"], "answer": 0}"#;
    fs::write(&file, [good, good, ""].join("\n")).unwrap();
    let arguments = ["eval", "--model", &model, "--only", "choice", "--questions", &text(&file)];
    let found: Value = serde_json::from_str(&ok(&[&arguments[..], &["--json"]].concat())).unwrap();
    let entry = &found["choice"][0];
    assert_eq!((&entry["questions"], &entry["chance"]), (&json!(2), &json!(0.25)));
    assert!(entry["protocol"].as_str().unwrap().contains("per token"), "{entry}");
    assert!(ok(&arguments).contains("Multiple choice"));
    fs::write(&file, [good, r#"{"question": "the lazy", "choices": ["dog"], "answer": 0}"#].join("\n")).unwrap();
    let said = fails(&arguments);
    assert!(said.contains("questions.jsonl:2: 1 choices"), "{said}");
    fs::write(&file, r#"{"question": "Q", "choices": ["a", "b"], "answer": 0}"#.replace('Q', &"q".repeat(64))).unwrap();
    let said = fails(&arguments);
    assert!(said.contains("questions.jsonl:1: 67 tokens with a choice; the recipe's target is 64"), "{said}");
}

#[test]
fn an_analysis_counts_types_and_tells_its_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let (model, prose) = (text(&with_tokenizer(dir.path())), text(&dir.path().join("a.txt")));
    fs::write(&prose, "In 1843 they had 12 mills and they were old. ".repeat(40)).unwrap();
    let out = text(&dir.path().join("found.json"));
    let common = ["analyse", "--base", &model, "--model", &model, "--text", &prose];
    let with = |more: &[&'static str]| [&common[..], more].concat();
    let json = ["--context", "45", "--documents", "3", "--json", "--out", &out];
    let found: Value = serde_json::from_str(&ok(&[&common[..], &json].concat())).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&out).unwrap()).unwrap(), found);
    assert_eq!((&found["tokens"], &found["top"]), (&json!(132), &json!(0.2)));
    // A token is a letter here, and the first one of each piece is not predicted.
    let counts = found["types"].as_array().unwrap().iter().map(|row| row["tokens"].as_u64().unwrap());
    let words = [3 * "184312".len(), 3 * "theythey".len(), 3 * "hadwere".len(), 3 * "and".len(), 3 * "n".len()];
    let expected = words.into_iter().chain([132 - words.iter().sum::<usize>()]).map(|count| count as u64);
    assert!(counts.eq(expected), "{found}");
    assert!(found["protocol"].as_str().unwrap().contains("ln p"));
    let table = ok(&with(&["--context", "45"]));
    assert!(table.contains("of the 20% that change most") && table.contains("pron"), "{table}");
    assert!(fails(&with(&["--context", "8K"])).contains("one piece needs 8192"));
    assert!(fails(&with(&["--top", "0%"])).contains("out of (0%, 100%]"));
}

#[test]
fn two_processes_never_train_in_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), dir.path().join("run"));
    let _held = context_recipe::train::Lock::take(&out).unwrap();
    let said = fails(&["train", "--model", &model, "--out", &text(&out), "--data", &data]);
    assert!(said.contains("another process trains here"), "{said}");
}

#[test]
fn an_adapter_is_merged_into_the_model() {
    let (dir, adapter) = (tempfile::tempdir().unwrap(), text(&fixture("tiny_peft_saved")));
    let checked = ok(&["check", "--model", &model(), "--adapter", &adapter]);
    assert!(checked.contains("30 tensors (30 F32)"), "{checked}");
    assert!(
        checked.contains("fits this model: rank 3, scale 2.309401, 6 weights changed, 8 tensors replaced"),
        "{checked}"
    );

    let saved = Adapter::open(&fixture("tiny_peft_saved")).unwrap();
    let merged = Header::open(&fixture("tiny_hf")).unwrap().adapted(saved).unwrap().read().unwrap();
    let whole = dir.path().join("whole");
    let options = hub::Options { dtype: Dtype::F32, ..hub::Options::default() };
    hub::write(&whole, &merged.config, merged.weights.views(), &options).unwrap();
    let input = dir.path().join("in.json");
    fs::write(&input, json!({ "tokens": [5, 6, 7, 8] }).to_string()).unwrap();
    let logits = |model: &[&str], name: &str| {
        let out = dir.path().join(name);
        ok(&[&["logits", "--tokens", &text(&input), "--out", &text(&out), "--model"], model].concat());
        TensorFile::open(&out).unwrap().f32("logits").unwrap()
    };
    let together = logits(&[&model(), "--adapter", &adapter], "together");
    assert_eq!(together, logits(&[&text(&whole)], "merged"));
    assert_ne!(together, logits(&[&model()], "base"));

    let said = fails(&["logits", "--model", &adapter, "--tokens", &text(&input), "--out", &text(&input)]);
    assert!(said.contains("Give its base as --model, and this directory as --adapter"), "{said}");
    let said = fails(&["check", "--model", &model(), "--adapter", &model()]);
    assert!(said.contains("no adapter_config.json, so no adapter"), "{said}");
}

#[test]
fn a_rope_beside_an_adapter_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(fixture("tiny_peft").join(file), dir.path().join(file)).unwrap();
    }
    let (config, input) = (dir.path().join("config.json"), dir.path().join("in.json"));
    fs::copy(fixture("tiny_hf").join("config.json"), &config).unwrap();
    fs::write(&input, json!({ "tokens": [5, 6] }).to_string()).unwrap();
    let (adapter, out) = (text(dir.path()), text(&dir.path().join("out")));
    let note = || {
        let output =
            run(&["logits", "--model", &model(), "--adapter", &adapter, "--tokens", &text(&input), "--out", &out]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!note().contains("note:"), "{}", note());
    let changed = fs::read_to_string(&config).unwrap().replace("\"rope_theta\": 10000.0", "\"rope_theta\": 50000.0");
    fs::write(&config, changed).unwrap();
    assert!(note().contains("note: the adapter's config.json says"), "{}", note());
    let said = fails(&["check", "--model", &model(), "--adapter", &adapter]);
    assert!(said.contains("the adapter's config.json says"), "{said}");
}

/// The norms are the adapter's, which the recipe's own LoRA leaves as they are.
#[test]
fn a_run_that_begins_with_an_adapter_keeps_it() {
    let (dir, adapter) = (tempfile::tempdir().unwrap(), fixture("tiny_peft_saved"));
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), text(&dir.path().join("run")));
    ok(&["train", "--model", &model, "--adapter", &text(&adapter), "--out", &out, "--data", &data]);
    let exported = dir.path().join("exported");
    ok(&["export", "--run", &out, "--out", &text(&exported), "--dtype", "f32"]);
    let found = Checkpoint::open(&exported).unwrap().weights;
    let file = TensorFile::open(&adapter.join("adapter_model.safetensors")).unwrap();
    let expected = file.f32("base_model.model.model.norm.weight").unwrap();
    let got = found.get("model.norm.weight").unwrap();
    assert!(common::relative(&got.data, &expected.data) < 1e-6);
}

#[test]
fn a_dry_run_reads_and_trains_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), dir.path().join("run"));
    let said = ok(&["train", "--model", &model, "--out", &text(&out), "--data", &data, "--dry-run"]);
    assert!(
        said.contains("stage 1, first sequence: 64 tokens, 63 of them learned, documents: 1, positions up to 63"),
        "{said}"
    );
    assert!(said.contains("stage 2, first sequence") && said.contains("nothing was trained"));
    assert!(!out.join("metrics.jsonl").exists() && !out.join("run.json").exists());
}

#[test]
fn shells_learn_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&["completions", shell]);
        assert!(
            script.contains("tiny_llama") && script.contains("rehearse") && script.contains("save-every"),
            "{shell}"
        );
    }
    assert!(fails(&["completions", "cmd"]).contains("possible values"));
}

/// `… | head`: the command goes on to its end and says nothing of it.
#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), dir.path().join("run"));
    let out = text(&out);
    let train = ["train", "--model", &model, "--data", &data, "--out", &out, "--no-eval"];
    let generate = ["generate", "--model", &model, "--prompt", "the"];
    let read = ["data", "--model", &model, "--data", &data, "--out", &out];
    for arguments in [&["plan"][..], &["plan", "--json"], &["completions", "bash"], &train, &generate, &read] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program().args(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    assert_eq!(steps(Path::new(&out)), 40);

    // `… 2>&1 | head`
    let both = text(&dir.path().join("both"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let arguments = ["train", "--model", &model, "--data", &data, "--out", &both];
    let ended = program().args(arguments).stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert!(ended.success());
    assert_eq!(steps(Path::new(&both)), 40);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said = failed(&["plan"], program().arg("plan").stdout(full).output().unwrap());
    assert!(said.contains("standard output could not be written"), "{said}");
}

/// Ctrl-C in the middle: status 130, a checkpoint at the step that was said, and the same command goes on.
#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_step_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model, out) = (corpus(dir.path()), text(&with_tokenizer(dir.path())), dir.path().join("run"));
    let arguments = ["train", "--model", &model, "--out", &text(&out), "--data", &data, "--save-every", "1000"];
    let started = program().args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (metrics, patience) = (out.join("metrics.jsonl"), Instant::now());
    while fs::read_to_string(&metrics).map_or(0, |lines| lines.lines().count()) < 2 {
        assert!(patience.elapsed() < Duration::from_secs(60), "no step was done");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &started.id().to_string()]).status().unwrap().success());
    let output = started.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    let step: usize = said.split("stopped after step ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(step < 40, "it was too late to stop anything");
    assert_eq!(fs::read_to_string(&metrics).unwrap().lines().count(), step);
    let said = succeeded(&arguments, program().args(arguments).output().unwrap());
    assert!(said.contains("report"), "{said}");
    assert_eq!(fs::read_to_string(&metrics).unwrap().lines().count(), 40);
}

/// Where no GPU is, a recipe for one says why and goes on; a command line that asks for one does not.
#[test]
fn a_machine_without_a_gpu() {
    let model = model();
    let generate = ["generate", "--model", &model, "--prompt", "the"];
    let hidden = |mut program: Command, more: &[&str]| {
        program.env("CUDA_VISIBLE_DEVICES", "").args(generate).args(more).output().unwrap()
    };
    let note = "note: the recipe says `device: cuda(80GB)`, and ";
    let said = failed(&generate, hidden(example("llama2_128k"), &[]));
    assert!(said.contains(note) && said.contains(". This runs on the CPU, in f32"), "{said}");
    assert!(said.contains("this is not the recipe's model"), "it went on: {said}");
    assert!(!failed(&generate, hidden(example("llama2_128k"), &["--device", "cpu"])).contains(note));
    let said = failed(&generate, hidden(program(), &["--device", "cuda"]));
    assert!(said.contains("--device cuda: "), "{said}");
    assert!(["NVIDIA driver is not on this machine", "there is no GPU"].iter().any(|why| said.contains(why)), "{said}");
}
