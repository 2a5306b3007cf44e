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
mod measure;
mod model;
mod ops;
mod pattern;

use clap::{Parser, Subcommand};
use measure::{Case, Figures};

/// Times one kernel or one model pass, after its answer has been checked.
///
/// Rates count the work that the mathematics needs: pairs of tokens that see each other, model FLOPs without what is
/// recomputed, bytes that have to be touched once.
#[derive(Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// One JSON object on stdout.
    #[arg(long, global = true)]
    json: bool,
    /// How long to go on.
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
    /// Threads; one for each core without it.
    #[arg(long, global = true)]
    threads: Option<usize>,
}

const EXAMPLES: &str = "Examples:
  bench attention --tokens 8192 --heads 9 --kv-heads 3 --head-dim 64 --pattern \"window(1024, sink = 4)\" --backward
  bench step --model smollm2_135m --tokens 2048 --recompute none --json
  bench decode --model model.gguf --threads 1
  bench ceilings";

#[derive(Subcommand)]
enum What {
    /// What the machine can do: products on all cores, a copy, a sum.
    Ceilings,
    Attention(attention::Attention),
    Gemm(ops::Gemm),
    /// RMSNorm.
    Norm(ops::Rows),
    Rope(ops::Rope),
    /// silu(gate) · up.
    Swiglu(ops::Rows),
    /// Rows of a table, or their gradients added to it.
    Embedding(ops::Rows),
    /// x += y.
    Residual(ops::Rows),
    Loss(ops::Loss),
    /// One optimiser step.
    Adamw(ops::Weights),
    /// From f32 to NF4.
    Nf4(Nf4),
    Step(model::Step),
    /// A prompt through the key/value cache.
    Prefill(model::Model),
    /// One token behind a text.
    Decode(model::Model),
}

#[derive(clap::Args)]
struct Nf4 {
    #[command(flatten)]
    weights: ops::Weights,
    /// From NF4 to f32.
    #[arg(long)]
    back: bool,
}

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

impl What {
    /// The case; none for the ceilings, which are no job.
    fn case(&self) -> Result<Option<Case>, String> {
        let case = match self {
            Self::Ceilings => return Ok(None),
            Self::Attention(args) => args.case(),
            Self::Gemm(args) => args.case(),
            Self::Norm(args) => args.norm(),
            Self::Rope(args) => args.case(),
            Self::Swiglu(args) => args.swiglu(),
            Self::Embedding(args) => args.embedding(),
            Self::Residual(args) => args.residual(),
            Self::Loss(args) => args.case(),
            Self::Adamw(args) => args.adamw(),
            Self::Nf4(args) => args.weights.nf4(args.back),
            Self::Step(args) => args.case(),
            Self::Prefill(args) => args.prefill(),
            Self::Decode(args) => args.decode(),
        };
        case.map(Some)
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
