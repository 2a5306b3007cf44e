//! How time grows with the sequence, beside the roofline: the time that the machine's limits leave for the case's own count
//! of operations and bytes.

use std::time::Instant;

use clap::Parser;
use context_recipe::report::{Axis, LinePlot, Series};
use serde::Serialize;

use super::ceiling::Ceilings;
use super::cli::Cli;
use super::measure::Case;

/// A line's name, and its words but for the length.
const LINES: [(&str, &str); 4] = [
    ("attention, full", "attention --backward"),
    ("attention, window 1K", "attention --backward --pattern window(1K,sink=4)"),
    ("step, full", "step --model tiny"),
    ("step, window 1K", "step --model tiny --pattern window(1K,sink=4)"),
];

const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scaling.svg");
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/scaling.json");

/// One length of a line.
#[derive(Serialize)]
struct Point {
    line: &'static str,
    tokens: usize,
    seconds: f64,
    /// What the roofline allows.
    least_seconds: f64,
}

/// Measures every line at 1K, 2K, … `most` tokens, and draws them.
pub(super) fn run(most: usize) {
    let lengths = || std::iter::successors(Some(1024), |tokens| Some(2 * tokens)).take_while(|&tokens| tokens <= most);
    let all = LINES.iter().flat_map(|&(line, words)| lengths().map(move |tokens| point(line, words, tokens)));
    let points: Vec<Point> = all.collect();
    super::write(FIGURES, &points);
    if let Err(error) = std::fs::write(PLOT, plot(&points).to_svg()) {
        eprintln!("{PLOT}: {error}");
    }
}

fn point(line: &'static str, words: &str, tokens: usize) -> Point {
    let length = tokens.to_string();
    let words = ["bench"].into_iter().chain(words.split(' ')).chain(["--tokens", &length]);
    let case = match Cli::parse_from(words).what.case() {
        Ok(Some(case)) => case,
        Ok(None) => panic!("{line}: not a case"),
        Err(error) => panic!("{line}: {error}"),
    };
    let limits = Ceilings::measure();
    let (flops, bytes) = (case.flops, case.bytes);
    let least_seconds = (flops / limits.gemm_gflops).max(bytes / limits.copy_gbytes) / 1e9;
    let seconds = if least_seconds < 1.0 { case.measure(1.0).ms / 1e3 } else { once(case) };
    println!(
        "{line:24} {tokens:6} {seconds:10.3} s, roofline {least_seconds:10.3} s, {:3.0} %",
        100.0 * least_seconds / seconds
    );
    Point { line, tokens, seconds, least_seconds }
}

/// A run long enough to need no warming up.
fn once(mut case: Case) -> f64 {
    let start = Instant::now();
    (case.job)();
    start.elapsed().as_secs_f64()
}

fn plot(points: &[Point]) -> LinePlot {
    let (x, y) = (Axis::log("tokens of the sequence").tokens(), Axis::log("seconds, forward and backward"));
    let series = |what: fn(&Point) -> f64| {
        let of = |line| points.iter().filter(move |point| point.line == line);
        let lines = LINES.map(|(line, _)| Series::new(line, of(line).map(|point| (point.tokens as f64, what(point)))));
        lines.to_vec()
    };
    LinePlot {
        series: series(|point| point.seconds),
        raw: series(|point| point.least_seconds),
        ..LinePlot::new("Time by length, and pale beneath it the machine's roofline", x, y)
    }
}
