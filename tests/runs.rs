//! What a run measures of itself, and what it was told instead of its recipe: the example of the guide, as a process.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::cli::{example, text};
use context_recipe::hub::TensorFile;
use kernels::simd::Isa;
use serde_json::{Value, json};

fn base() -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny"))
}

fn run(arguments: &[&str]) -> Output {
    example("tiny_1k").args(arguments).output().unwrap()
}

fn ok(arguments: &[&str]) -> (String, String) {
    let output = run(arguments);
    let [out, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{arguments:?}: {said}");
    (out, said)
}

fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} should fail");
    String::from_utf8(output.stderr).unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Two steps, and one document for each measurement.
const QUICK: [&str; 4] = ["--steps", "2", "--eval-documents", "1"];

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `train` into the folder `run`.
    fn train(&self, more: &[&str]) -> Vec<String> {
        let (model, out) = (base(), text(&self.at("run")));
        let arguments = ["train", "--model", &model, "--out", &out];
        arguments.iter().chain(&QUICK).chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn trained(&self, more: &[&str]) -> (String, String) {
        let arguments = self.train(more);
        ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[test]
fn a_run_measures_itself_before_and_after() {
    let folder = Folder::new();
    let (out, said) = folder.trained(&[]);
    assert!(said.contains("before: perplexity at 1024") && said.contains("after: needle single at 256"), "{said}");
    assert!(out.contains("report.html"), "{out}");
    let [before, after] = ["evaluation.before.json", "evaluation.json"].map(|name| folder.at("run").join(name));
    for file in [&before, &after] {
        let found = read(file);
        assert_eq!((&found["done"], &found["all"]), (&json!(6), &json!(6)));
        assert_eq!(found["perplexity"][1]["protocol"], json!({ "kind": "generated", "documents": 1 }));
        assert_eq!(found["needle"].as_array().map(Vec::len), Some(10));
    }
    // Beyond its window the untouched model is lost; under the recipe's rope it is not.
    let far = |file: &Path| read(file)["perplexity"][1]["nll"][6].as_f64().unwrap();
    assert!(far(&before) > far(&after) + 0.3, "{} {}", far(&before), far(&after));
    let page = fs::read_to_string(folder.at("run/report.html")).unwrap();
    for picture in ["loss_by_position", "passkey_before", "passkey", "needle_single_before", "needle_single"] {
        let svg = fs::read_to_string(folder.at("run").join(picture).with_extension("svg")).unwrap();
        assert!(page.contains(&svg), "{picture}");
    }
    assert!(page.contains("instead of the recipe&#39;s") || page.contains("instead of the recipe's"), "overrides");

    // Once more: nothing is left to train or to measure.
    let kept = [&before, &after].map(|file| fs::read(file).unwrap());
    let (_, said) = folder.trained(&[]);
    assert!(!said.contains("before:") && !said.contains("after:"), "{said}");
    assert_eq!([&before, &after].map(|file| fs::read(file).unwrap()), kept);
    measured_again_on_a_text(&folder, &after);
}

/// `eval --run` on a text: both models are measured anew, and the report shows it.
fn measured_again_on_a_text(folder: &Folder, after: &Path) {
    fs::write(folder.at("novel.txt"), "the old mill stood by the river and nobody knew why. ".repeat(200)).unwrap();
    let (run, novel) = (text(&folder.at("run")), text(&folder.at("novel.txt")));
    let arguments = ["eval", "--run", &run, "--text", &novel, "--only", "perplexity,short", "--documents", "2"];
    let (out, said) = {
        let output = measured(&arguments);
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(said.contains("before: perplexity at 256") && said.contains("after: perplexity at 1024"), "{said}");
    assert!(out.contains("Abilities kept") && out.contains("report"), "{out}");
    let found = read(after);
    assert_eq!(found["perplexity"][0]["protocol"], json!({ "kind": "pieces", "documents": 2 }));
    assert!(found["short"][0]["base_nll"].is_number(), "{found}");
    let page = fs::read_to_string(folder.at("run/report.html")).unwrap();
    assert!(page.contains("Abilities kept") && page.contains("2 pieces"));
    assert!(fails(&["eval", "--run", &text(&folder.at("nowhere"))]).contains("no run is here"));
    assert!(fails(&["eval", "--run", &run, "--base", &base()]).contains("cannot be used with"));
}

/// Status 1 where `short` finds that too much was lost, which two steps may well do.
fn measured(arguments: &[&str]) -> Output {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("`short` allows"), "{said}");
    output
}

#[test]
fn a_killed_measurement_goes_on() {
    let folder = Folder::new();
    let before = folder.at("run/evaluation.before.json");
    let mut child =
        example("tiny_1k").args(folder.train(&[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !before.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "nothing was measured");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What was measured already is not measured again, whatever it says.
    let mut found = read(&before);
    assert!(found["done"].as_u64().unwrap() >= 1);
    found["perplexity"][0]["mean_nll"] = json!(1234.5);
    fs::write(&before, found.to_string()).unwrap();
    folder.trained(&[]);
    let found = read(&before);
    assert_eq!((&found["perplexity"][0]["mean_nll"], &found["done"]), (&json!(1234.5), &json!(6)));
    assert_eq!(found["needle"].as_array().map(Vec::len), Some(10));

    // Half a file, or one of other questions, is not gone on with.
    fs::write(&before, "{\"key\": \"").unwrap();
    folder.trained(&[]);
    assert_ne!(read(&before)["perplexity"][0]["mean_nll"], json!(1234.5));
}

#[test]
fn a_run_may_go_unmeasured() {
    let folder = Folder::new();
    let (_, said) = folder.trained(&["--no-eval"]);
    assert!(!said.contains("before:"), "{said}");
    assert!(!folder.at("run/evaluation.json").exists() && folder.at("run/report.html").exists());
    assert!(fails(&["train", "--model", &base(), "--out", "x", "--eval-text", "/nowhere"]).contains("/nowhere"));
}

#[test]
fn overrides_are_recorded_and_have_to_stay() {
    let folder = Folder::new();
    let (run, model) = (folder.at("run"), base());
    let out = text(&run);
    let train = |more: &[&'static str]| -> Vec<&str> {
        [&["train", "--model", &model, "--out", &out, "--no-eval"], more].concat()
    };
    ok(&train(&["--steps", "2", "--seed", "7"]));
    let recorded = read(&run.join("run.json"));
    assert_eq!(
        (&recorded["plan"]["stages"][0]["steps"], &recorded["plan"]["stages"][0]["seed"]),
        (&json!(2), &json!(7))
    );
    let checkpoint = TensorFile::open(&run.join("checkpoints/step-0000002.safetensors")).unwrap();
    let origin: Value = serde_json::from_str(&checkpoint.metadata()["origin"]).unwrap();
    assert_eq!(origin["overrides"], json!(["--steps 2", "--seed 7"]));
    assert_eq!((&origin["device"], &recorded["origin"]["device"]), (&json!(Isa::best().name()), &origin["device"]));
    assert_eq!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count(), 2);

    let said = fails(&train(&["--steps", "3"]));
    assert!(said.contains("with these overrides: --steps 2 --seed 7; now: --steps 3"), "{said}");
    let said = fails(&train(&[]));
    assert!(said.contains("now: none. Repeat them"), "{said}");
    assert_eq!(read(&run.join("run.json")), recorded, "a refused run changes nothing");
    let (_, said) = ok(&train(&["--steps", "2", "--seed", "7"]));
    assert!(said.contains("resuming after step 2") && said.contains("as before with --steps 2 --seed 7"), "{said}");
    let said = fails(&train(&["--steps", "1,2"]));
    assert!(said.contains("--steps has 2 numbers, and the recipe `Tiny1k` has 1 stages"), "{said}");
    assert!(fails(&train(&["--steps", "0"])).contains("0 is not in 1.."));
}
