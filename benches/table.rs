//! A table of all kernels and model passes, each beside the machine's limit measured right before it.
//!
//! ```text
//! cargo bench                                     # everything, about ten minutes on two cores
//! cargo bench --bench table -- attention step     # cases whose words contain one of these
//! cargo bench --bench table -- --guard            # fails where a share has fallen by a quarter
//! cargo bench --bench table -- --keep             # makes today's shares those that the guard holds
//! cargo bench --bench table -- --scaling 64K      # time by length from 1K on, drawn into docs/scaling.svg
//! ```
//!
//! The figures are written to `target/bench.json`. The guard compares shares of the limit, never times: they survive another
//! machine of the same kind, and a busy one better than times do.

#[path = "../examples/bench/attention.rs"]
mod attention;
#[path = "../examples/bench/ceiling.rs"]
mod ceiling;
#[path = "../examples/bench/cli.rs"]
mod cli;
#[path = "../examples/bench/measure.rs"]
mod measure;
#[path = "../examples/bench/model.rs"]
mod model;
#[path = "../examples/bench/ops.rs"]
mod ops;
#[path = "../examples/bench/pattern.rs"]
mod pattern;
#[path = "table/scaling.rs"]
mod scaling;

use std::collections::BTreeMap;

use ceiling::Ceilings;
use clap::Parser;
use measure::{Bound, Figures};
use serde::Serialize;

/// The words of each case, as the example `bench` takes them.
const CASES: &[&str] = &[
    "attention --tokens 2048",
    "attention --tokens 2048 --backward",
    "attention --tokens 8192",
    "attention --tokens 8192 --backward",
    "attention --tokens 8192 --kv-heads 3 --backward",
    "attention --tokens 2048 --head-dim 128",
    "attention --tokens 2048 --head-dim 128 --backward",
    "attention --tokens 8192 --head-dim 128",
    "attention --tokens 8192 --pattern window(1K,sink=4)",
    "attention --tokens 8192 --pattern window(1K,sink=4) --backward",
    "attention --tokens 32768 --pattern window(1K,sink=4) --backward",
    "attention --tokens 8192 --pattern strided(4,local=4)",
    "attention --tokens 8192 --pattern strided(4,local=4) --backward",
    "attention --tokens 8192 --pattern shifted_groups(group=1/4)",
    "attention --tokens 8192 --pattern shifted_groups(group=1/4) --backward",
    "attention --tokens 8192 --kv-heads 3 --pattern duo(sparsity=50%)",
    "attention --tokens 8192 --kv-heads 3 --pattern duo(sparsity=50%) --backward",
    "attention --tokens 8192 --pattern dual_chunk",
    "attention --tokens 8192 --document 1024 --backward",
    "gemm",
    "gemm --backward",
    "loss --tokens 1024",
    "loss --tokens 1024 --backward",
    "norm",
    "norm --backward",
    "rope",
    "swiglu --hidden 1536",
    "swiglu --hidden 1536 --backward",
    "embedding",
    "embedding --backward",
    "residual",
    "adamw",
    "adamw --8bit",
    "nf4",
    "nf4 --back",
    "gemm --rows 1 --outputs 49152",
    "prefill --tokens 2048",
    "decode --tokens 256",
    "decode --tokens 256 --weights q8_0",
    "step --tokens 2048",
    "step --tokens 2048 --recompute none",
    "step --tokens 2048 --lora 16",
];

/// A case that has been measured.
#[derive(Serialize)]
struct Row {
    words: String,
    #[serde(flatten)]
    figures: Figures,
    /// The machine's limit right before, in the unit of the case's rate.
    ceiling: f64,
    /// Rate ÷ ceiling.
    share: f64,
}

/// A share may fall to this part of what is kept before the guard says so.
const SLACK: f64 = 0.75;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/shares.json");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (options, names): (Vec<String>, Vec<String>) = arguments.into_iter().partition(|a| a.starts_with("--"));
    if let [length] = &names[..]
        && options == ["--scaling"]
    {
        return scaling::run(pattern::length(length).unwrap_or_else(|error| panic!("--scaling {length}: {error}")));
    }
    let has = |option: &str| options.iter().any(|given| given == option);
    let wanted = |words: &&&str| names.is_empty() || names.iter().any(|name| words.contains(name.as_str()));
    let Ceilings { gemm_gflops, copy_gbytes, read_gbytes } = Ceilings::measure();
    let threads = rayon::current_num_threads();
    println!("{threads} threads: {gemm_gflops:.0} GFLOP/s, {copy_gbytes:.1} GB/s copied, {read_gbytes:.1} GB/s read");
    println!("{:68} {:>11} {:>9} {:>8}  {:>5}", "case", "ms", "rate", "", "share");
    let rows: Vec<Row> = CASES.iter().filter(wanted).map(|words| row(words)).collect();
    write(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.json"), &rows);
    if has("--keep") {
        write(KEPT, &rows.iter().map(|row| (&*row.words, row.share)).collect::<BTreeMap<&str, f64>>());
    }
    if has("--guard") && !guard(&rows) {
        std::process::exit(1);
    }
}

fn row(words: &str) -> Row {
    let cli = cli::Cli::parse_from(["bench"].into_iter().chain(words.split(' ')));
    let case = match cli.what.case() {
        Ok(Some(case)) => case,
        Ok(None) => panic!("{words}: not a case"),
        Err(error) => panic!("{words}: {error}"),
    };
    let bound = case.bound;
    let ceiling = ceiling::of(bound);
    let figures = case.measure(1.0);
    let rate = figures.rate(bound);
    let unit = if bound == Bound::Gemm { "GFLOP/s" } else { "GB/s" };
    println!("{:68} {:11.3} {rate:9.1} {unit:8} {:4.0} %", figures.name, figures.ms, 100.0 * rate / ceiling);
    Row { words: words.to_owned(), figures, ceiling, share: rate / ceiling }
}

fn write(path: &str, value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    if let Err(error) = std::fs::write(path, text + "\n") {
        eprintln!("{path}: {error}");
    }
}

/// Whether every share is near the kept one; says where not.
fn guard(rows: &[Row]) -> bool {
    let text = std::fs::read_to_string(KEPT).unwrap_or_else(|error| panic!("{KEPT}: {error}; `--keep` writes it"));
    let kept: BTreeMap<String, f64> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{KEPT}: {error}"));
    let fallen = rows.iter().filter(|row| kept.get(&row.words).is_some_and(|kept| row.share < SLACK * kept));
    let said = fallen.map(|row| {
        println!(
            "slower: {} has {:.0} % of the limit, had {:.0} %",
            row.words,
            100.0 * row.share,
            100.0 * kept[&row.words]
        )
    });
    said.count() == 0
}
