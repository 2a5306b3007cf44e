//! The cases as words of a command line.

use clap::{Parser, Subcommand};

use crate::measure::Case;
use crate::{attention, model, ops};

/// Times one kernel or one model pass, after its answer has been checked.
///
/// Rates count the work that the mathematics needs: pairs of tokens that see each other, model FLOPs without what is
/// recomputed, bytes that have to be touched once.
#[derive(Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) what: What,
    /// One JSON object on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to go on.
    #[arg(long, global = true, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Threads; one for each core without it.
    #[arg(long, global = true)]
    pub(crate) threads: Option<usize>,
}

const EXAMPLES: &str = "Examples:
  bench attention --tokens 8192 --heads 9 --kv-heads 3 --head-dim 64 --pattern \"window(1024, sink = 4)\" --backward
  bench step --model smollm2_135m --tokens 2048 --recompute none --json
  bench decode --model model.gguf --weights q8_0 --threads 1
  bench ceilings";

#[derive(Subcommand)]
pub(crate) enum What {
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
    Adamw(Adamw),
    /// From f32 to NF4.
    Nf4(Nf4),
    Step(model::Step),
    /// A prompt through the key/value cache.
    Prefill(model::Reader),
    /// One token behind a text.
    Decode(model::Reader),
}

#[derive(clap::Args)]
pub(crate) struct Adamw {
    #[command(flatten)]
    weights: ops::Weights,
    /// Moments in 8 bits.
    #[arg(long = "8bit")]
    packed: bool,
}

#[derive(clap::Args)]
pub(crate) struct Nf4 {
    #[command(flatten)]
    weights: ops::Weights,
    /// From NF4 to f32.
    #[arg(long)]
    back: bool,
}

impl What {
    /// The case; none for the ceilings, which are no job.
    pub(crate) fn case(&self) -> Result<Option<Case>, String> {
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
            Self::Adamw(args) => args.weights.adamw(args.packed),
            Self::Nf4(args) => args.weights.nf4(args.back),
            Self::Step(args) => args.case(),
            Self::Prefill(args) => args.prefill(),
            Self::Decode(args) => args.decode(),
        };
        case.map(Some)
    }
}
