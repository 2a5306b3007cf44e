//! The example `bench`: every subcommand at toy size checks its answer and prints its figures.

mod common;

use common::cli::example;
use serde_json::Value;

fn figures(words: &str) -> Value {
    let arguments = words.split(' ').chain(["--seconds", "0", "--json"]);
    let output = example("bench").args(arguments).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words}: {error}"))
}

#[test]
fn every_case_prints_its_figures() {
    for words in [
        "attention --tokens 65 --heads 4 --kv-heads 2 --head-dim 32 --backward",
        "attention --tokens 256 --pattern window(64,sink=4)",
        "attention --tokens 256 --pattern strided(4,local=2) --backward",
        "attention --tokens 256 --pattern shifted_groups(group=1/4) --backward",
        "attention --tokens 256 --kv-heads 3 --pattern duo(sparsity=50%,recent=64,sink=8)",
        "attention --tokens 256 --pattern dual_chunk",
        "attention --tokens 256 --pattern self_extend(8,32)",
        "attention --tokens 256 --document 100 --backward",
        "gemm --rows 5 --inputs 33 --outputs 17 --backward",
        "norm --tokens 7",
        "rope --tokens 7",
        "swiglu --tokens 7 --backward",
        "embedding --tokens 7 --backward",
        "residual --tokens 7",
        "loss --tokens 7 --vocab 97 --backward",
        "adamw --params 1000",
        "adamw --params 1000 --8bit",
        "nf4 --params 1000",
        "nf4 --params 1000 --back",
        "step --model tiny --tokens 64 --recompute none",
        "step --model tiny --tokens 64 --lora 4",
        "prefill --model tiny --tokens 64",
        "decode --model tiny --tokens 64",
        "decode --model tiny --tokens 64 --weights q8_0",
    ] {
        let figures = figures(words);
        let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("{words}: no {key} in {figures}"));
        assert!(number("ms") > 0.0 && number("gflops") + number("gbytes") > 0.0, "{words}: {figures}");
        assert!(number("peak_bytes") >= 0.0);
        let model = ["step", "prefill", "decode"].iter().any(|word| words.starts_with(word));
        assert_eq!(figures["tokens_per_second"].is_number(), model, "{words}");
    }
}

/// Pairs of a query and a key: 1 + 2 + … + 64 and then 64 a row, of 1 + 2 + … + 1024.
#[test]
fn work_counts_what_is_visible() {
    let flops = |pattern: &str| {
        let figures = figures(&format!("attention --tokens 1024 --heads 2 --pattern {pattern}"));
        figures["gflops"].as_f64().unwrap() * figures["ms"].as_f64().unwrap()
    };
    let full = flops("full");
    assert!((flops("window(64)") / full - 63_520.0 / 524_800.0).abs() < 1e-6);
    assert!((flops("dual_chunk") / full - 1.0).abs() < 1e-6);
}

#[test]
fn what_cannot_be_read_is_said() {
    for (pattern, expected) in [
        ("windov(64)", "\"windov\" is no attention pattern"),
        ("window(64", "the bracket is not closed"),
        ("window(sixty)", "\"sixty\" is no length"),
        ("window()", "window(…) needs `window`"),
        ("window(64, skin = 4)", "nothing takes skin = 4"),
        ("shifted_groups(group = 3/7)", "group"),
    ] {
        let output = example("bench").args(["attention", "--tokens", "128", "--pattern", pattern]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{pattern}: {said}");
    }
}
