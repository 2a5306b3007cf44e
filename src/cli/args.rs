//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::engine::Mode;

/// A recipe's program.
#[derive(Debug, Parser)]
#[command(
    about = "Plans, rehearses, trains, evaluates and exports the recipe that this program was compiled from.",
    long_about = None,
    after_help = "Without a command: `plan`, then `rehearse`.\n\n\
        Examples:\n  \
        … -- plan --json\n  \
        … -- rehearse --seed 1\n  \
        … -- check --model ./llama\n  \
        … -- data --model ./llama --data 'corpus/*.jsonl.gz'\n  \
        … -- train --model ./llama --out runs/first\n  \
        … -- eval --model runs/first-model --text novel.txt --context 4K,16K --documents 4\n  \
        … -- export --run runs/first --out runs/first-model",
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the recipe comes to: layers, rope, parameters, memory, KV cache, FLOPs, notes
    Plan(PlanArgs),
    /// Holds the recipe against a real model's config.json, tensors and tokenizer
    Check(CheckArgs),
    /// What training would read: counts, lengths, what is cut, and five sequences as they are trained on
    Data(DataArgs),
    /// The same recipe at toy scale on the embedded model, before and after
    Rehearse(RehearseArgs),
    /// Trains; goes on by itself when --out holds a checkpoint
    Train(TrainArgs),
    /// What the recipe's `eval` lists: loss, recall of keys, needles and topics, multiple choice
    Eval(EvalArgs),
    /// Which types of tokens the extended model predicts better than its base: what `select` can keep
    Analyse(AnalyseArgs),
    /// Continues a text
    Generate(GenerateArgs),
    /// Writes logits, and with --grad the loss and all gradients, as safetensors
    Logits(LogitsArgs),
    /// Writes a model for other programs: a Hugging Face directory, a PEFT adapter, a GGUF file
    Export(ExportArgs),
    /// Finds LongRoPE's factors for `rope: longrope("factors.json")`
    Search(SearchArgs),
    /// Prints what a shell needs to complete this program's commands
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Default, Args)]
pub(crate) struct PlanArgs {
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Rope frequencies at this length instead of the target (8192, 8K)
    #[arg(long, value_name = "N", value_parser = length)]
    pub(crate) length: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        … -- check --model ./llama\n  \
        … -- check --model llama.Q4_K_M.gguf --adapter ./adapter")]
pub(crate) struct CheckArgs {
    /// Hugging Face directory or .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        … -- data --model ./llama\n  \
        … -- data --model ./llama --data 'corpus/*.jsonl.gz' --data ./wiki\n  \
        zcat dump.gz | … -- data --model ./llama --data -\n  \
        … -- data --model ./llama --out runs/first     (`train --out runs/first` then finds the tokens)")]
pub(crate) struct DataArgs {
    /// Hugging Face directory or .gguf file whose tokenizer counts [default: the embedded one]
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Text instead of the recipe's `data`: .txt, .jsonl, .parquet (field `text`), also .gz and .zst, globs allowed; a dataset's
    /// directory (split `train`); - for standard input; may be repeated
    #[arg(long, value_name = "GLOB|DIR|-")]
    pub(crate) data: Vec<String>,
    /// The run's folder, whose cache the tokens go into [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// Seed of text, adapters and evaluation documents
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Where report and model go [default: runs/<recipe>-rehearsal-<seed>]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Train on this text instead of generated chronicles
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// What trains: the engine, or the typed dfdx model itself
    #[arg(long, value_enum, default_value_t = Trainer::Fast)]
    pub(crate) engine: Trainer,
}

impl Default for RehearseArgs {
    fn default() -> Self {
        Self { seed: 0, json: false, out: None, text: None, engine: Trainer::Fast }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trainer {
    /// The engine
    Fast,
    /// The typed dfdx model
    Dfdx,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        … -- train --model ./llama --out runs/first --dry-run\n  \
        … -- train --model ./llama --out runs/first --data 'corpus/*.txt' --eval-text novel.txt\n  \
        … -- train --model ./llama --out runs/short --steps 20 --seed 1 --no-eval\n\n\
        Steps, seed, text and device are recorded in every checkpoint; the same command goes on where a run stopped.")]
pub(crate) struct TrainArgs {
    /// Hugging Face directory or .gguf file to start from
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// The run's folder: checkpoints, metrics.jsonl, TensorBoard's events, report.html
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Text to train on instead of the recipe's `data`: .txt, .jsonl, .parquet (field `text`), also .gz and .zst, globs allowed;
    /// a dataset's directory (split `train`); - for standard input; may be repeated
    #[arg(long, value_name = "GLOB|DIR|-")]
    pub(crate) data: Vec<String>,
    /// Optimiser steps instead of the recipe's: one number for all stages, or one for each
    #[arg(long, value_name = "N[,N…]", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Vec<u64>,
    /// Seed of the first stage's data and of new adapters instead of the recipe's; later stages count on from it
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Open model and text, print the plan and what the run would read, and stop before the first step
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) save_every: u64,
    /// Checkpoints that stay
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keep: u64,
    /// Measure nothing before the first step and after the last
    #[arg(long)]
    pub(crate) no_eval: bool,
    /// Text that losses are measured on, none that is trained on [default: generated chronicles]
    #[arg(long, value_name = "FILE")]
    pub(crate) eval_text: Option<PathBuf>,
    /// Pieces of that text, and exams, to read at each length that the recipe's `eval` lists
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) eval_documents: u64,
    /// Train here, whatever the recipe's `device` says
    #[arg(long, value_enum)]
    pub(crate) device: Option<DeviceArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceArg {
    /// All cores, f32
    Cpu,
    /// The first NVIDIA GPU, bf16
    Cuda,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        … -- eval --model ./llama --text novel.txt --context 4K,16K\n  \
        … -- eval --run runs/first --text novel.txt\n  \
        … -- eval --model first --base ./llama --text novel.txt --only short")]
pub(crate) struct EvalArgs {
    /// Hugging Face directory or .gguf file; with --run: the run's base, when it has moved since
    #[arg(long, value_name = "DIR|FILE", required_unless_present = "run")]
    pub(crate) model: Option<PathBuf>,
    /// A run's folder: its newest checkpoint and the model that it began with are measured, its report is redrawn
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    pub(crate) adapter: Option<PathBuf>,
    /// Text to score; without it only generated text and files of questions are
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Only these; what the recipe does not list is measured at its target [default: what the recipe lists]
    #[arg(long, value_name = "WORD[,WORD…]", value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Measure>,
    /// Questions for `choice`, instead of the recipe's: JSON lines {"question", "choices", "answer"}
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: Option<String>,
    /// The untouched model that `short` compares with; needed when the recipe trains
    #[arg(long, value_name = "DIR|FILE", conflicts_with = "run")]
    pub(crate) base: Option<PathBuf>,
    /// How matrices are held: in 8 bits a loss changes in its third decimal
    #[arg(long, value_enum, default_value_t = Held::Full, conflicts_with = "run")]
    pub(crate) weights: Held,
    /// Lengths instead of the recipe's (4096, 4K), separated by commas
    #[arg(long, value_name = "N[,N…]", value_delimiter = ',', value_parser = length)]
    pub(crate) context: Vec<usize>,
    /// Non-overlapping pieces of the text to score, and exams to read, at each length
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) documents: u64,
    /// Sliding-window perplexity with this stride instead of pieces
    #[arg(long, value_name = "S", value_parser = length)]
    pub(crate) stride: Option<usize>,
    /// Seed of the exams
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Measure here, whatever the recipe's `device` says
    #[arg(long, value_enum)]
    pub(crate) device: Option<DeviceArg>,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a model's matrices are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Held {
    /// f32
    Full,
    /// GGUF's blocks of 32 in 8 bits
    #[value(name = "q8_0")]
    Q8_0,
}

impl Held {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Full => Mode::Infer,
            Self::Q8_0 => Mode::InferQ8_0,
        }
    }
}

/// A word of `eval`, as recipes write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Loss by position
    Perplexity,
    /// Recall of keys by depth
    Passkey,
    /// The effective window by passkey
    KMax,
    /// RULER's needles
    Needle,
    /// The first of many topics
    Topics,
    /// Loss inside the native window against --base
    Short,
    /// Multiple choice
    Choice,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyseArgs {
    /// The model before the extension: Hugging Face directory or .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) base: PathBuf,
    /// The extended model: Hugging Face directory or .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Text that both read
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Tokens that are read at once (4096, 4K) [default: the recipe's target]
    #[arg(long, value_name = "N", value_parser = length)]
    pub(crate) context: Option<usize>,
    /// Non-overlapping pieces of the text to read
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) documents: u64,
    /// Share of the tokens that counts as impactful (20%, 0.2)
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = share)]
    pub(crate) top: f64,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// The same JSON object in a file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Hugging Face directory or .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// The text to continue
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// How matrices are held: 8 bits take a quarter of the memory, and about two fifths of the time for a token
    #[arg(long, value_enum, default_value_t = Held::Full)]
    pub(crate) weights: Held,
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) max_tokens: usize,
    /// 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Sample from the most likely tokens that make up this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Sample from the K most likely tokens
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Run here, whatever the recipe's `device` says
    #[arg(long, value_enum)]
    pub(crate) device: Option<DeviceArg>,
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  … -- search --model ./llama --text books.txt --length 16K --iterations 10 --out factors.json"
)]
pub(crate) struct SearchArgs {
    /// Hugging Face directory or .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Text whose loss is minimised
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Where the best factors go after every round
    #[arg(long, value_name = "FILE", default_value = "factors.json")]
    pub(crate) out: PathBuf,
    /// Length to search at instead of the target (16384, 16K)
    #[arg(long, value_name = "N", value_parser = length)]
    pub(crate) length: Option<usize>,
    /// Pieces of that length to read for every list of factors
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) documents: u64,
    /// Lists of factors that live at a time; half of them have offspring
    #[arg(long, value_name = "P", default_value_t = 64, value_parser = clap::value_parser!(u64).range(4..))]
    pub(crate) population: u64,
    /// Rounds
    #[arg(long, value_name = "T", default_value_t = 40)]
    pub(crate) iterations: u64,
    /// Seed of all draws
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

impl SearchArgs {
    pub(crate) fn options(&self) -> crate::search::Options {
        let population = self.population as usize;
        let (iterations, parents) = (self.iterations as usize, population / 2);
        crate::search::Options { population, iterations, parents, seed: self.seed, ..Default::default() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LogitsArgs {
    /// Hugging Face directory or .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: PathBuf,
    /// PEFT LoRA adapter of that model, merged into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// JSON: {"tokens":[…],"positions":[…],"documents":[…],"targets":[…]}, all but tokens optional
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: PathBuf,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Also `loss` and `grad.<name>`
    #[arg(long)]
    pub(crate) grad: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        … -- export --run runs/first --out model\n  \
        … -- export --run runs/first --out adapter --format adapter\n  \
        … -- export --model model --out model.gguf --format gguf --dtype q8_0\n\n\
        Every tensor is read back and compared before the command says that it is done. The model card (README.md) shows the \
        figures of RUN/evaluation.json, which `train` and `eval --run RUN` write.")]
pub(crate) struct ExportArgs {
    /// The run's folder, as given to `train --out`
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    pub(crate) run: Option<PathBuf>,
    /// Without --run: a whole model, which gets the recipe's rope. With --run: its base, when it has moved since
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) model: Option<PathBuf>,
    /// With --run: the adapter that the run began with, when it has moved since. Without: one that is merged into the model
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// The directory to write; for GGUF also a file that ends in .gguf
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) out: PathBuf,
    /// What is written
    #[arg(long, value_enum, default_value_t = ExportFormat::Hf)]
    pub(crate) format: ExportFormat,
    /// How numbers are stored [default: bf16, adapters f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Storage>,
    /// Most bytes in one weight file of a directory (5GB, 500MB, 2GiB)
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = bytes)]
    pub(crate) shard_size: u64,
    /// What config.json says of attention
    #[arg(long, value_enum, default_value_t = Served::Family)]
    pub(crate) attention: Served,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A Hugging Face directory, adapters merged
    Hf,
    /// A PEFT directory: adapters, and what learned in full
    Adapter,
    /// A file for llama.cpp, Ollama, LM Studio, adapters merged
    Gguf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Served {
    /// What the model's family can say: full, or Mistral's one window
    Family,
    /// The same weights as MinistralForCausalLM, whose layers may have a window or none
    Ministral,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    /// 4 bytes
    F32,
    /// 2 bytes, as most models are published
    Bf16,
    /// 2 bytes, for older GPUs
    F16,
    /// A byte and a sixteenth, for GGUF
    #[value(name = "q8_0")]
    Q8_0,
}

#[cfg(test)]
impl EvalArgs {
    /// As `eval --model M` with these arguments.
    pub(crate) fn of(arguments: &[&str]) -> Self {
        let all = ["recipe", "eval", "--model", "M"].iter().chain(arguments);
        match Cli::parse_from(all).command {
            Some(Command::Eval(args)) => args,
            other => panic!("{other:?}"),
        }
    }
}

/// A length in tokens: `4096`, `4K`, `1M`, as in recipes.
fn length(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'k', 'm']) {
        Some(digits) if text.ends_with(['K', 'k']) => (digits, 1024),
        Some(digits) => (digits, 1024 * 1024),
        None => (text, 1),
    };
    let count: usize = digits.parse().map_err(|_| format!("`{text}` is not a length; write 4096 or 4K"))?;
    match count.checked_mul(unit) {
        Some(tokens) if tokens > 0 => Ok(tokens),
        _ => Err(format!("`{text}` is not a length that a text can have")),
    }
}

/// Bytes: `5GB`, `500MB`, `2GiB`, `100000`.
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 6] =
        [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000)];
    let unit = UNITS.iter().find_map(|(word, size)| text.strip_suffix(word).map(|digits| (digits, *size)));
    let (digits, unit) = unit.unwrap_or((text, 1));
    let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).filter(|bytes| *bytes > 0);
    count.ok_or_else(|| format!("`{text}` is not a size; write 5GB, 500MB or 2GiB"))
}

/// A share above 0: `20%`, `0.2`.
fn share(text: &str) -> Result<f64, String> {
    let (digits, unit) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
    match digits.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= unit => Ok(share / unit),
        Ok(_) => Err(format!("`{text}` is out of (0%, 100%]")),
        Err(_) => Err(format!("`{text}` is not a share; write 20% or 0.2")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shares_are_written_as_in_recipes() {
        assert_eq!((share("20%"), share("0.2"), share("100%")), (Ok(0.2), Ok(0.2), Ok(1.0)));
        for wrong in ["0", "0%", "101%", "1.1", "-5%", "NaN", "a", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        assert_eq!((bytes("5GB"), bytes("2GiB"), bytes("70000")), (Ok(5_000_000_000), Ok(2 << 30), Ok(70_000)));
        for wrong in ["", "0", "GB", "5 GB", "-1MB", "99999999999GB", "5TB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lengths_are_written_as_in_recipes() {
        assert_eq!(length("4096"), Ok(4096));
        assert_eq!(length("4K"), Ok(4096));
        assert_eq!(length("1M"), Ok(1 << 20));
        for wrong in ["", "0", "K", "4G", "-1", "99999999999999999K"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
