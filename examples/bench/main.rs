//! Times one kernel or one model pass, after its answer has been checked.
//!
//! ```text
//! cargo run --release --example bench -- attention --tokens 8192 --pattern "window(1024, sink = 4)" --backward
//! cargo run --release --example bench -- step --model smollm2_135m --tokens 2048 --json
//! cargo run --release --example bench -- ceilings
//! ```
//!
//! `cargo bench` runs a whole table of these; `benches/peers/compare.py` runs PyTorch beside them.

mod attention;
mod ceiling;
mod cli;
mod measure;
mod model;
mod ops;
mod pattern;

use clap::Parser;
use cli::Cli;
use measure::Figures;

fn main() {
    let cli = Cli::parse();
    if let Some(threads) = cli.threads
        && let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()
    {
        fail(&error.to_string());
    }
    match cli.what.case() {
        Ok(Some(case)) => print(&case.measure(cli.seconds), cli.json),
        Ok(None) => print_ceilings(cli.json),
        Err(error) => fail(&error),
    }
}

fn print(figures: &Figures, json: bool) {
    if json {
        return println!("{}", serde_json::to_string(figures).unwrap_or_default());
    }
    let Figures { name, ms, gflops, gbytes, peak_bytes, tokens_per_second, runs, threads } = figures;
    println!("{name}, {threads} threads");
    println!("  {ms:.3} ms, median of {runs} runs");
    if *gflops > 0.0 {
        println!("  {gflops:.1} GFLOP/s");
    }
    if *gbytes > 0.0 {
        println!("  {gbytes:.1} GB/s");
    }
    if let Some(tokens) = tokens_per_second {
        println!("  {tokens:.1} tokens/s");
    }
    println!("  {:.2} GB at most", *peak_bytes as f64 / 1e9);
}

fn print_ceilings(json: bool) {
    let ceilings = ceiling::Ceilings::measure();
    if json {
        return println!("{}", serde_json::to_string(&ceilings).unwrap_or_default());
    }
    println!("{} threads", rayon::current_num_threads());
    println!("  {:.1} GFLOP/s in products of one thread on each core", ceilings.gemm_gflops);
    println!("  {:.1} GB/s copied", ceilings.copy_gbytes);
    println!("  {:.1} GB/s read", ceilings.read_gbytes);
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1)
}
