//! docs/evidence.md and its plots are what the files give, and each file is of an arm that would measure the same today.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::cli::example;
use context_recipe::data::chronicle::{Density, Seed, document};
use context_recipe::rehearse::Base;

mod common;
#[path = "../examples/evidence/main.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod evidence;

use evidence::claims::{self, Verdict};
use evidence::page;
use evidence::record::Record;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn records() -> Vec<Record> {
    Record::all(&docs().join("evidence")).unwrap()
}

#[test]
fn the_page_is_what_the_files_give() {
    let page = page::page(&claims::all(), &records());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        page::write(&page, &docs()).unwrap();
    }
    let read = |name: &str| fs::read_to_string(docs().join(name)).unwrap_or_default();
    let hint = "`cargo run --release --example evidence -- page` writes it";
    let (kept, expected) = (read("evidence.md"), page.text.trim_end().to_owned() + "\n");
    let differs = kept.lines().zip(expected.lines()).position(|(kept, expected)| kept != expected);
    assert!(kept == expected, "evidence.md differs from line {} on: {hint}", differs.map_or(0, |line| line + 1));
    for (name, svg) in &page.plots {
        assert_eq!(&read(&format!("evidence/{name}")), svg, "{name}: {hint}");
    }
    let [begin, end] = evidence::findings::MARKS;
    assert!(read("../README.md").contains(&format!("{begin}{}{end}", page.found)), "README.md: {hint}");
    let files = fs::read_dir(docs().join("evidence")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let plots: BTreeSet<String> = names.filter(|name| name.ends_with(".svg")).collect();
    assert_eq!(plots, page.plots.into_iter().map(|(name, _)| name).collect(), "{hint}");
}

#[test]
fn every_file_is_of_an_arm_and_current() {
    let claims = claims::all();
    let records = records();
    assert!(!records.is_empty());
    for record in &records {
        let name = format!("{}.{}.{}", record.claim, record.arm, record.seed);
        let claim = claims.iter().find(|claim| claim.name == record.claim);
        let claim = claim.unwrap_or_else(|| panic!("{name}: no such claim"));
        let arm = claim.arms.iter().find(|arm| arm.name == record.arm);
        let arm = arm.unwrap_or_else(|| panic!("{name}: no such arm"));
        assert_eq!(record.setting, arm.setting(), "{name} is stale: `-- {}` measures it again", claim.name);
        assert!(record.is_of(arm), "{name}: the digest is not the setting's");
        assert!(record.seed < arm.seeds(u64::MAX), "{name}: this arm has one seed");
        assert!(
            Record::path(&docs().join("evidence"), &record.claim, &record.arm, record.seed).exists(),
            "{name}: another name"
        );
        let numbers = record.readings.iter().flat_map(|found| [found.in_window, found.last, found.recall]);
        assert!(numbers.chain(record.values.values().copied()).all(f64::is_finite), "{name}");
        assert!(record.readings.iter().all(|found| (0.0..=1.0).contains(&found.recall)), "{name}");
        assert!(!record.commit.is_empty() && record.cost.seconds > 0.0, "{name}");
    }
}

/// Files of chronicles hold the text that was written.
#[test]
fn chronicles_come_back_from_text() {
    let encoder = Base::embedded().unwrap().encoder().unwrap();
    for index in 0..4 {
        let written = document(&encoder, Seed::train(0, index), 700, Density::Distant).unwrap().tokens;
        let text = encoder.tokenizer().decode(&written, true).unwrap();
        assert_eq!(encoder.encode(&text).unwrap(), written[1..], "{text}");
    }
}

#[test]
fn every_claim_is_whole_without_figures() {
    let claims = claims::all();
    let names: BTreeSet<&str> = claims.iter().map(|claim| claim.name).collect();
    assert_eq!(names.len(), claims.len());
    for claim in &claims {
        let arms: BTreeSet<&str> = claim.arms.iter().map(|arm| &arm.name[..]).collect();
        assert_eq!(arms.len(), claim.arms.len(), "{}", claim.name);
        let settings: BTreeSet<String> = claim.arms.iter().map(|arm| arm.digest()).collect();
        assert_eq!(settings.len(), claim.arms.len(), "{}: two arms whose settings read the same", claim.name);
        let shown = (claim.show)(&page::results(claim, &[]));
        assert_eq!(shown.verdict, Verdict::Open, "{}: a verdict on nothing", claim.name);
    }
}

/// A figure that is missing leaves a verdict open, and a changed one changes it.
#[test]
fn verdicts_follow_from_the_files() {
    let (claims, records) = (claims::all(), records());
    let claim = claims.iter().find(|claim| claim.name == "position-interpolation").unwrap();
    let verdict = |records: &[Record]| (claim.show)(&page::results(claim, records)).verdict;
    let measured = verdict(&records);
    assert_ne!(measured, Verdict::Open);
    let without: Vec<Record> = records.iter().filter(|record| record.arm != "direct").cloned().collect();
    assert_eq!(verdict(&without), Verdict::Open);
    let mut spoilt = records.clone();
    let readings =
        spoilt.iter_mut().filter(|record| record.claim == claim.name).flat_map(|record| &mut record.readings);
    readings.for_each(|found| (found.last, found.k_max) = (1.3, Some(0)));
    assert_ne!(verdict(&spoilt), measured);
    let mut stale = records;
    stale.iter_mut().for_each(|record| record.digest = "0".repeat(16));
    assert_eq!(verdict(&stale), Verdict::Open);
}

/// What is measured is not measured again, and a missing model or claim is said.
#[test]
fn the_program_says_what_it_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("evidence");
    fs::create_dir(&folder).unwrap();
    for scale in ["2x", "4x", "8x"] {
        let name = format!("training-free.{scale}.0.json");
        fs::copy(docs().join("evidence").join(&name), folder.join(&name)).unwrap();
    }
    let run = |words: &[&str]| {
        let done = example("evidence").args(words).arg("--docs").arg(dir.path()).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (fine, said) = run(&["training-free", "--seeds", "1"]);
    assert!(fine && said.matches("measured").count() == 3, "{said}");
    assert!(fs::read_to_string(dir.path().join("evidence.md")).unwrap().contains("dual_chunk"));
    let (fine, said) = run(&["position-interpolation", "--only", "smollm2-none"]);
    assert!(fine && said.contains("left out, it needs --model DIR"), "{said}");
    let (fine, said) = run(&["rope-lows"]);
    assert!(!fine && said.contains("no claim \"rope-lows\"; there are position-interpolation, rope-laws"), "{said}");
}
