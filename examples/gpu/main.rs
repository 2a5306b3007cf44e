//! Checks and measures the CUDA kernels on this machine's GPU.
//!
//! ```text
//! cargo run --release --example gpu -- fill kernels/            compiles every kernel, where NVRTC is and no GPU needs to be
//! cargo run --release --example gpu -- check --kernels kernels/ every op of the GPU beside the CPU's
//! cargo run --release --example gpu -- check --emulated         the same on an emulated GPU
//! cargo run --release --example gpu -- sanitize                 the same under NVIDIA's compute-sanitizer
//! cargo run --release --example gpu -- bench --python python3   limits, kernels, layers, beside PyTorch
//! ```
//!
//! `check`, `sanitize` and `bench` need the NVIDIA driver, cuBLASLt (of a toolkit, or of a Python environment's `nvidia` packages), and NVRTC
//! or a folder that `fill` has filled. The kernels' own conformance suite runs on the GPU with
//! `KERNELS_ON_GPU=1 cargo test --release -p context-recipe-kernels --lib conformance::cuda`.

mod bench;
mod check;
mod peers;
mod sanitize;
mod stack;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use kernels::cuda::card::{self, Card};
use kernels::cuda::nvrtc::Architecture;
use kernels::cuda::runtime::Hopper;
use kernels::cuda::{emulation, shipped};

/// Checks and measures the CUDA kernels on this machine's GPU.
#[derive(Parser)]
#[command(
    name = "gpu",
    after_help = "Examples:\n  \
        gpu fill kernels/                        on any machine with NVRTC: every kernel, compiled\n  \
        gpu check --emulated                     every op on an emulated GPU, beside the CPU\n  \
        gpu check --kernels kernels/             the same on this machine's GPU\n  \
        gpu sanitize --kernels kernels/          the same under compute-sanitizer\n  \
        gpu bench --kernels kernels/ --python python3 --layers 32 --json bench.json"
)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Compile every kernel of the shipped models, and of `check`, into a folder; needs NVRTC and no GPU
    Fill {
        /// The folder
        dir: PathBuf,
        /// Compute capabilities (8.0, 9.0), separated by commas
        #[arg(long, value_delimiter = ',', default_value = "8.0,9.0", value_parser = architecture)]
        capability: Vec<Architecture>,
    },
    /// Run every op on the GPU and on the CPU, and hold one against the other
    Check {
        #[command(flatten)]
        machine: Machine,
        /// On an emulated GPU, small sizes; needs a C++ compiler and no GPU
        #[arg(long)]
        emulated: bool,
    },
    /// Measure two limits, then kernels and layers against them
    Bench {
        #[command(flatten)]
        machine: Machine,
        /// Tokens of the longest sequence
        #[arg(long, default_value_t = 128 << 10)]
        tokens: usize,
        /// A Python that has PyTorch, to measure in the same run
        #[arg(long)]
        python: Option<PathBuf>,
        /// Layers of the model whose steps are measured: 32 as they stand; one and two of them tell what a layer takes
        #[arg(long, default_value_t = 2)]
        layers: usize,
        /// A file for all figures
        #[arg(long)]
        json: Option<PathBuf>,
        /// A device that does nothing instead of a GPU, to see that the program goes through
        #[arg(long, hide = true)]
        idle: bool,
    },
    /// Run `check` under compute-sanitizer: accesses outside of memory, races, missing barriers, memory that is read unwritten
    Sanitize {
        #[command(flatten)]
        machine: Machine,
        /// compute-sanitizer of a CUDA toolkit
        #[arg(long, default_value = "compute-sanitizer")]
        tool: PathBuf,
    },
}

#[derive(Args)]
struct Machine {
    /// A folder of compiled kernels, as `fill` makes one
    #[arg(long)]
    kernels: Option<PathBuf>,
}

impl Machine {
    /// The GPU, and what it is called.
    fn open(&self) -> Result<(Card, String), String> {
        let card = self.card()?;
        let gpu = card.runtime().driver();
        let (name, memory) =
            gpu.name().and_then(|name| Ok((name, gpu.memory()?))).map_err(|error| error.to_string())?;
        let by = |hopper| if hopper { "wgmma" } else { "mma.sync" };
        let Hopper { forward, backward } = card.runtime().hopper();
        println!("{name}, {:.1} GiB, {:.1} GiB free", gib(memory.1), gib(memory.0));
        println!("attention forward by {}, backward by {}", by(forward), by(backward));
        Ok((card, name))
    }

    fn card(&self) -> Result<Card, String> {
        let folder = self.kernels.clone().or_else(context_recipe::gpu::cache_folder);
        card::open(folder.as_deref(), u64::MAX).map_err(|error| error.to_string())
    }

    /// As it is, with gradients in one order, and with the kernels that every GPU runs where it has others.
    fn ways(&self) -> Result<Vec<(String, Card)>, String> {
        let (card, name) = self.open()?;
        let mut ways =
            vec![(name.clone(), card.clone()), (format!("{name}, deterministic"), card.clone().deterministic(true))];
        if card.runtime().hopper() != Hopper::default() {
            let plain = self.card()?;
            plain.runtime().use_hopper(Hopper::default());
            ways.push((format!("{name}, mma.sync"), plain));
        }
        Ok(ways)
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

fn architecture(text: &str) -> Result<Architecture, String> {
    let capability = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let capability = capability.ok_or_else(|| format!("`{text}` is no compute capability; write 8.0 or 9.0"))?;
    Architecture::of(capability).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(&Cli::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: &What) -> Result<(), String> {
    match what {
        What::Fill { dir, capability } => fill(dir, capability),
        What::Check { emulated: true, .. } => check::run(&emulated()?, check::Sizes::EMULATION),
        What::Check { machine, .. } => check::run(&machine.ways()?, check::Sizes::GPU),
        What::Sanitize { machine, tool } => sanitize::run(tool, machine.kernels.as_deref()),
        What::Bench { machine, tokens, python, layers, json, idle } => {
            let peers =
                python.as_deref().map_or_else(|| Ok(peers::Peers::default()), |python| peers::run(python, *tokens))?;
            let table = match idle {
                true => bench::run(&|| Ok((emulation::idle(), "nothing".to_owned())), *tokens, *layers, peers)?,
                false => bench::run(&|| machine.open(), *tokens, *layers, peers)?,
            };
            println!("\n{}", table.verdict());
            json.as_deref().map_or(Ok(()), |file| write(file, &table))
        }
    }
}

fn write(file: &Path, table: &table::Table) -> Result<(), String> {
    let text = serde_json::to_string_pretty(table).map_err(|error| error.to_string())?;
    std::fs::write(file, text + "\n").map_err(|error| format!("{}: {error}", file.display()))
}

/// As of compute capability 8.0 and of 9.0, and with the gradients of queries added up in one order.
fn emulated() -> Result<[(String, emulation::Device); 3], String> {
    let device = |hopper| emulation::device_of(1, hopper).ok_or("there is no C++ compiler (g++ or clang++) here");
    let in_order = device(false)?.deterministic(true);
    let all = [("8.0, emulated", device(false)?), ("9.0, emulated", device(true)?), ("8.0, deterministic", in_order)];
    Ok(all.map(|(name, device)| (name.to_owned(), device)))
}

fn fill(dir: &Path, architectures: &[Architecture]) -> Result<(), String> {
    let mut sources = shipped::sources();
    let others: Vec<_> = check::sources()?.into_iter().filter(|source| !sources.contains(source)).collect();
    sources.extend(others);
    for architecture in architectures {
        let count = card::fill(dir, *architecture, &sources).map_err(|error| error.to_string())?;
        println!("{}: {count} files of kernels for {}", dir.display(), architecture.name());
    }
    Ok(())
}
