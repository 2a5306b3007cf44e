//! The program that checks and measures GPU kernels, on a machine where no GPU is to be seen.

mod common;

use common::cli::example;

fn run(arguments: &[&str]) -> (bool, String) {
    let done = example("gpu").env("CUDA_VISIBLE_DEVICES", "").args(arguments).output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn it_says_what_is_missing() {
    for command in ["check", "bench"] {
        let (good, said) = run(&[command]);
        let why = ["error: the NVIDIA driver is not on this machine", "error: there is no GPU on this machine"];
        assert!(!good && why.iter().any(|why| said.contains(why)), "{said}");
    }
    let (good, said) = run(&["sanitize", "--tool", "no-such-sanitizer"]);
    assert!(!good && said.contains("no-such-sanitizer") && said.contains("--tool"), "{said}");
    let (good, said) = run(&["fill", "nowhere", "--capability", "7.5"]);
    assert!(!good && said.contains("7.5") && !said.contains("panicked"), "{said}");
    assert!(run(&["--help"]).0);
}

/// On a device that does nothing every case goes through, and every result is there and wrong.
#[test]
fn every_case_goes_through() {
    let (good, said) = run(&["check", "--idle"]);
    assert!(good && said.lines().count() > 80, "{said}");
    assert!(said.lines().all(|line| line.ends_with("WRONG") || line.starts_with("AdamW")), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("gpu.json");
    let (good, said) =
        run(&["bench", "--idle", "--tokens", "300", "--layers", "0", "--json", &json.display().to_string()]);
    let cases = ["attention causal T=300", "window(4096, sink = 4) T=300 32x128, gradients", "norm", "loss", "adamw"];
    assert!(good && cases.iter().all(|case| said.contains(case)), "{said}");
    let table: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(table["cases"].as_array().unwrap().len() > 12 && table["limits"]["copy"].as_f64() > Some(0.0), "{table}");
}
