//! The program that checks and measures GPU kernels, on a machine where no GPU is to be seen.

mod common;

use std::path::Path;
use std::{env, fs};

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

/// Every op on an emulated GPU beside the CPU's, as docs/conformance.md shows it; `UPDATE_DOCS=1` writes it.
#[test]
fn every_op_is_right_in_the_emulation() {
    let (good, said) = run(&["check", "--emulated"]);
    if said.contains("there is no C++ compiler") {
        return eprintln!("!! NOT RUN: no C++ compiler is here, so no GPU was emulated");
    }
    assert!(good, "{said}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, table) = page.split_once("| op |").unwrap();
    let said = &said[said.find("| op |").unwrap()..];
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{said}")).unwrap();
    } else {
        let ops = |table: &str| -> Vec<String> {
            table.lines().skip(1).map(|line| line.split('|').nth(1).unwrap_or("").to_owned()).collect()
        };
        assert_eq!(
            ops(table),
            ops(&said["| op |".len()..]),
            "`UPDATE_DOCS=1 cargo test --test gpu` writes docs/conformance.md"
        );
    }
}

/// On a device that does nothing every case goes through.
#[test]
fn every_case_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("gpu.json");
    let (good, said) =
        run(&["bench", "--idle", "--tokens", "300", "--layers", "0", "--json", &json.display().to_string()]);
    let cases = ["attention causal T=300", "window(4096, sink = 4) T=300 32x128, gradients", "norm", "loss", "adamw"];
    assert!(good && cases.iter().all(|case| said.contains(case)), "{said}");
    let table: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(table["cases"].as_array().unwrap().len() > 12 && table["limits"]["copy"].as_f64() > Some(0.0), "{table}");
}
