//! One case per rule at least: a recipe that breaks it, where the caret goes, and what is said. The last test holds that
//! no rule is without a case.

use std::collections::BTreeSet;

use super::{Level, NATIVE_CONTEXT, rules};
use crate::recipe::{
    Adapt, Attention, Context, Eval, FullLayers, Gates, LongRopeFactors, Merge, MergeForm, Positions, Recipe, Rope,
    Select, Source, Sparse, Stage, Strided, Window,
};
use crate::samples::{bare, llama2_128k};
use crate::scaling::Scaling;
use crate::terms::{Device, Form, Needle, Optimizer, SourceKind, StageKind, Target, TokenType};

/// A change to the sample that breaks a rule.
type Break = fn(&mut Recipe);
/// The rule, the field, words of the message, words of the help, the change.
type Row = (&'static str, &'static str, &'static str, &'static str, Break);

fn sparse(recipe: &mut Recipe) -> &mut Window {
    match &mut recipe.attention {
        Some(Attention::Hybrid { sparse: Sparse::Window(window), .. }) => window,
        _ => panic!("the sample is a hybrid of windows"),
    }
}

fn strided(recipe: &mut Recipe, stride: usize, local: Option<usize>) {
    recipe.attention = Some(Attention::Sparse(Sparse::Strided(Strided { stride, local, block: None })));
}

fn longrope(recipe: &mut Recipe, short: Vec<f64>, long: Vec<f64>) {
    recipe.rope = Some(Rope::LongRope(LongRopeFactors { short, long, attention_factor: None }));
}

fn duo(recipe: &mut Recipe, gates: Vec<Vec<f64>>, sparsity: Option<f64>, recent: Option<usize>) {
    recipe.attention = Some(Attention::Duo { gates: Gates::Given(gates), sparsity, sink: None, recent });
}

/// `duo(gates = learned)` with the stages before the sample's gates, and what is changed about these.
fn learned(recipe: &mut Recipe, before: Vec<Stage>, gates: Stage) {
    recipe.attention = Some(Attention::Duo { gates: Gates::Learned, sparsity: None, sink: None, recent: None });
    recipe.train = before;
    recipe.train.push(Stage { kind: StageKind::Gates, length: Some(32_768), ..gates });
}

fn full(recipe: &mut Recipe, layers: FullLayers) {
    match &mut recipe.attention {
        Some(Attention::Hybrid { full, .. }) => *full = layers,
        _ => panic!("the sample is a hybrid"),
    }
}

fn lora(recipe: &mut Recipe, change: impl FnOnce(&mut usize, &mut Option<f64>, &mut Option<Vec<Target>>)) {
    match &mut recipe.adapt {
        Some(Adapt::Lora { rank, alpha, targets, .. }) => change(rank, alpha, targets),
        _ => panic!("the sample has adapters"),
    }
}

fn yarn(beta_fast: f64, attention_factor: f64) -> Option<Rope> {
    let (beta_fast, attention_factor) = (Some(beta_fast), Some(attention_factor));
    Some(Rope::Yarn { scale: 32.0, beta_fast, beta_slow: None, attention_factor, truncate: None })
}

/// Positions for a stage that leaves its length to them.
fn skip(recipe: &mut Recipe, positions: Positions) {
    recipe.positions = Some(positions);
    recipe.train[0].length = None;
}

fn impactful() -> Option<Select> {
    Some(Select::Impactful { types: None, keep: None, form: None })
}

fn merged(recipe: &mut Recipe, merge: Merge) {
    recipe.train[0].merge = Some(merge);
}

fn full_training(recipe: &mut Recipe) {
    recipe.adapt = None;
}

const FAULTS: &[Row] = &[
    ("bias_beside_qk_norm", "model.qkv_bias", "no architecture", "keep qkv_bias", |r| {
        (r.model.qkv_bias, r.model.qk_norm) = (true, true);
    }),
    ("number_too_large", "model.layers", "70000 is larger", "write 65536", |r| r.model.layers = 70_000),
    ("number_too_large", "train[0].steps", "18446744073709551615", "write", |r| r.train[0].steps = Some(usize::MAX)),
    ("number_too_large", "train[0].tokens", "is larger", "write", |r| {
        r.train[0] = Stage { tokens: Some(usize::MAX), length: Some(2), ..Stage::default() };
    }),
    ("number_too_large", "adapt.rank", "is larger", "write", |r| lora(r, |rank, _, _| *rank = usize::MAX)),
    ("number_too_large", "attention.sink", "is larger", "write", |r| sparse(r).sink = Some(usize::MAX)),
    ("number_too_large", "attention.full", "is larger", "write", |r| full(r, FullLayers::Count(usize::MAX))),
    ("zero_dimension", "model.vocab", "vocab is 0", "above 0", |r| r.model.vocab = 0),
    ("zero_dimension", "model.kv_heads", "kv_heads is 0", "above 0", |r| r.model.kv_heads = 0),
    ("odd_head_dim", "model.head_dim", "head_dim 127 is odd", "126 or 128", |r| r.model.head_dim = 127),
    ("heads_not_divisible", "model.heads", "32 heads cannot be shared evenly by 12", "kv_heads = 8", |r| {
        r.model.kv_heads = 12;
    }),
    ("norm_eps_range", "model.norm_eps", "norm_eps 0.0", "1e-5", |r| r.model.norm_eps = 0.0),
    ("model_theta_range", "model.rope_theta", "rope_theta 1.0", "10000", |r| r.model.rope_theta = 1.0),
    ("zero_context", "context.target", "0 tokens", "write 4K", |r| r.context.target = 0),
    ("native_context", "context.native", "native context is 4K, the recipe starts at 8K", "4K -> 128K", |r| {
        r.context.native = Some(8192);
    }),
    ("context_without_arrow", "context.target", "128K alone is longer", "write `context: 4K -> 128K`", |r| {
        r.context.native = None;
    }),
    ("rope_scale_range", "rope.scale", "scale 0.5", "interpolate(32)", |r| {
        r.rope = Some(Rope::Interpolate { scale: 0.5 });
    }),
    ("rope_scale_range", "rope.scale", "scale NaN", "ntk(32)", |r| r.rope = Some(Rope::Ntk { scale: f64::NAN })),
    ("rope_theta_range", "rope.theta", "theta 1 is not above 1", "above the model's 10000", |r| {
        r.rope = Some(Rope::Theta { theta: 1.0 });
    }),
    ("rope_theta_range", "rope.scale", "gives a base of inf", "smaller scale", |r| {
        r.rope = Some(Rope::Ntk { scale: f64::MAX });
    }),
    ("rope_frequencies", "rope", "a frequency of 0", "smaller numbers", |r| {
        r.rope = Some(Rope::DynamicNtk { scale: 1e300 });
    }),
    ("scale_below_target", "rope.scale", "scale 16 does not take 4K to 128K, which is a factor of 32", "(32)", |r| {
        r.rope = Some(Rope::Interpolate { scale: 16.0 });
    }),
    ("yarn_betas", "rope.beta_fast", "beta_fast 1 is not above beta_slow 1", "beta_fast = 32", |r| {
        r.rope = yarn(1.0, 1.0)
    }),
    ("attention_factor_range", "rope.attention_factor", "attention_factor -1", "leave it out", |r| {
        r.rope = yarn(32.0, -1.0);
    }),
    ("llama3_factors", "rope.high", "high 1 is not above low 1", "high = 4", |r| {
        r.rope = Some(Rope::Llama3 { scale: 32.0, low: Some(1.0), high: Some(1.0) });
    }),
    ("zero_block", "attention.block", "block of 0", "block = 64", |r| sparse(r).block = Some(0)),
    ("zero_window", "attention.window", "window of 0", "window = 64", |r| sparse(r).window = 0),
    (
        "window_not_in_blocks",
        "attention.window",
        "window 4100 is not a multiple of the block of 64",
        "window = 4096",
        |r| {
            sparse(r).window = 4100;
        },
    ),
    ("window_longer_than_target", "attention.window", "window 262144 is longer than target 128K", "= 131072", |r| {
        sparse(r).window = 262_144;
    }),
    ("sink_not_below_window", "attention.sink", "window 64 is not longer than sink 64", "sink = 4", |r| {
        *sparse(r) = Window { window: 64, sink: Some(64), block: None };
    }),
    ("full_share_range", "attention.full", "full share 1.5 is out of (0, 1]", "1/3", |r| {
        full(r, FullLayers::Share(1.5))
    }),
    ("full_share_range", "attention.full", "full share 0", "1/3", |r| full(r, FullLayers::Share(0.0))),
    ("too_many_full_layers", "attention.full", "33 full layers, the model has 32", "full = 32", |r| {
        full(r, FullLayers::Count(33));
    }),
    ("no_full_layers", "attention.full", "without a full layer", "window(", |r| full(r, FullLayers::Count(0))),
    ("longrope_factors", "rope.long", "3 factors, heads of 128 have 64 pairs", "64 numbers", |r| {
        longrope(r, vec![1.0; 64], vec![1.0; 3]);
    }),
    ("longrope_factors", "rope.short", "factor -1 is not a positive", "1 or more", |r| {
        longrope(r, vec![-1.0; 64], vec![1.0; 64]);
    }),
    ("zero_stride", "attention.stride", "stride of 0", "stride = 64", |r| strided(r, 0, None)),
    ("zero_local", "attention.local", "hide a query's own", "local = 1", |r| strided(r, 64, Some(0))),
    ("group_range", "attention.group", "group 1.5 is out of", "1/4", |r| {
        r.attention = Some(Attention::ShiftedGroups { group: Some(1.5) });
    }),
    ("group_odd", "attention.group", "a group of 131071 tokens has no half", "even", |r| {
        r.attention = Some(Attention::ShiftedGroups { group: Some(131_071.0 / 131_072.0) });
    }),
    (
        "group_does_not_divide",
        "attention.group",
        "groups of 32K tokens do not divide stage 1",
        "multiple of 32K",
        |r| {
            r.attention = Some(Attention::ShiftedGroups { group: None });
            r.train[0].length = Some(40_000);
        },
    ),
    ("groups_without_training", "attention.group", "nothing is trained", "attention: full", |r| {
        r.attention = Some(Attention::ShiftedGroups { group: None });
        r.train.clear();
    }),
    ("gates_shape", "attention.gates", "a layer of 8 gates, the model has 32 layers of 32", "own gates", |r| {
        duo(r, vec![vec![0.5; 8]; 32], None, None);
    }),
    ("gates_shape", "attention.gates", "3 layers of gates", "own gates", |r| {
        duo(r, vec![vec![0.5; 32]; 3], None, None)
    }),
    ("gate_range", "attention.gates", "gate 1.5 is out of", "0 to 1", |r| duo(r, vec![vec![1.5; 32]; 32], None, None)),
    ("sparsity_range", "attention.sparsity", "sparsity 2 is out of", "50%", |r| {
        duo(r, vec![vec![0.5; 32]; 32], Some(2.0), None);
    }),
    ("streaming_range", "attention.recent", "sees no token", "recent = 256", |r| {
        duo(r, vec![vec![0.5; 32]; 32], None, Some(0));
    }),
    ("chunk_range", "attention.chunk", "a chunk of 0", "3/4", |r| {
        r.attention = Some(Attention::DualChunk { chunk: Some(0), local: None, form: None });
    }),
    ("chunk_range", "attention.local", "0 local tokens", "leave it out", |r| {
        r.attention = Some(Attention::DualChunk { chunk: None, local: Some(0), form: None });
    }),
    ("chunk_range", "attention.local", "local 4000 is not below chunk 3072", "local = 512", |r| {
        r.attention = Some(Attention::DualChunk { chunk: None, local: Some(4000), form: Some(Form::Code) });
    }),
    ("chunk_beyond_native", "attention.chunk", "distances up to 8191", "chunk = 3072", |r| {
        r.attention = Some(Attention::DualChunk { chunk: Some(4096), local: Some(4096), form: None });
    }),
    ("self_extend_range", "attention.group", "a group of 0", "group = 8", |r| {
        r.attention = Some(Attention::SelfExtend { group: 0, window: 1024 });
    }),
    ("self_extend_range", "attention.window", "window 4096 is not between 1 and", "window = 1024", |r| {
        r.attention = Some(Attention::SelfExtend { group: 8, window: 4096 });
    }),
    ("self_extend_below_target", "attention.group", "group 8 reaches 25K", "group = 43", |r| {
        r.attention = Some(Attention::SelfExtend { group: 8, window: 1024 });
    }),
    ("two_position_schemes", "positions", "its own position", "contiguous", |r| {
        r.attention = Some(Attention::DualChunk { chunk: None, local: None, form: None });
        r.positions = Some(Positions::Random);
    }),
    ("zero_rank", "adapt.rank", "rank 0", "rank = 32", |r| lora(r, |rank, _, _| *rank = 0)),
    ("keep_range", "positions.keep", "keep 1.5 is out of (0, 1]", "keep = 30%", |r| {
        skip(r, Positions::LongRecipe { keep: Some(1.5) });
    }),
    ("chunks_range", "positions.chunks", "chunks 1 is out of", "chunks = 2", |r| {
        skip(r, Positions::Pose { chunks: Some(1), form: None });
    }),
    ("pose_code_chunks", "positions.chunks", "two chunks, not 3", "form = paper", |r| {
        skip(r, Positions::Pose { chunks: Some(3), form: Some(Form::Code) });
    }),
    ("sigma_range", "positions.sigma", "sigma 0 is not", "sigma = 3", |r| {
        skip(r, Positions::Cream { sigma: Some(0.0) });
    }),
    ("scale_max_range", "positions.scale_max", "scale_max 0", "scale_max = 20", |r| {
        skip(r, Positions::E2 { scale_max: Some(0) });
    }),
    ("positions_without_training", "positions", "nothing is trained", "stage", |r| {
        (r.train, r.positions) = (vec![], Some(Positions::Random));
    }),
    ("skip_with_dynamic_ntk", "positions", "follows the largest position", "ntk(32)", |r| {
        skip(r, Positions::Random);
        r.rope = Some(Rope::DynamicNtk { scale: 32.0 });
    }),
    ("e2_needs_interpolation", "positions", "only interpolate uses", "interpolate(32)", |r| {
        skip(r, Positions::E2 { scale_max: Some(40) });
        r.rope = Some(Rope::Ntk { scale: 64.0 });
    }),
    ("e2_below_target", "positions.scale_max", "scale_max 20 does not take 4K to 128K", "scale_max = 32", |r| {
        skip(r, Positions::E2 { scale_max: None });
    }),
    ("select_keep_range", "select.keep", "keep 100% is out of", "keep = 50%", |r| {
        r.select = Some(Select::Impactful { types: None, keep: Some(1.0), form: None });
    }),
    ("no_types", "select.types", "no types", "[num, pron, aux]", |r| {
        r.select = Some(Select::Impactful { types: Some(vec![]), keep: None, form: None });
    }),
    ("select_code_types", "select.types", "not for `aux`", "form = paper", |r| {
        let types = Some(vec![TokenType::Num, TokenType::Aux]);
        r.select = Some(Select::Impactful { types, keep: None, form: Some(Form::Code) });
    }),
    ("select_without_training", "select", "nothing is trained", "extend", |r| {
        (r.train, r.select) = (vec![], impactful());
    }),
    ("select_without_training", "select", "replays and gates read all", "extend", |r| {
        (r.train[0].kind, r.select) = (StageKind::Replay, impactful());
    }),
    ("select_without_files", "select", "are read whole", "text(…)", |r| {
        r.select = impactful();
        r.data.remove(0);
        r.data[0].share = None;
    }),
    ("rank_too_wide", "adapt.rank", "rank 2048 is wider than k_proj, which is 1024 × 4096", "rank = 1024", |r| {
        r.model.kv_heads = 8;
        lora(r, |rank, _, _| *rank = 2048);
    }),
    ("alpha_range", "adapt.alpha", "alpha 0", "alpha = 64", |r| lora(r, |_, alpha, _| *alpha = Some(0.0))),
    ("no_targets", "adapt.targets", "no projection", "[q, k, v, o]", |r| {
        lora(r, |_, _, targets| *targets = Some(vec![]))
    }),
    ("duplicate_target", "adapt.targets[2]", "q_proj is already adapted", "remove", |r| {
        lora(r, |_, _, targets| *targets = Some(vec![Target::Q, Target::V, Target::Q]));
    }),
    ("optimizer_packs_nothing", "optimizer", "nothing is trained, so adamw_8bit moves nothing", "add a stage", |r| {
        (r.optimizer, r.train) = (Some(Optimizer::AdamW8bit), vec![]);
    }),
    ("optimizer_packs_nothing", "optimizer", "gates alone learn", "leave optimizer out", |r| {
        r.optimizer = Some(Optimizer::AdamW8bit);
        learned(r, vec![], Stage::default());
    }),
    ("optimizer_packs_nothing", "optimizer", "the largest that learns has 2048", "leave optimizer out", |r| {
        r.optimizer = Some(Optimizer::AdamW8bit);
        (r.model.hidden, r.model.head_dim, r.model.ffn) = (2048, 64, 2048);
        r.adapt = Some(Adapt::lora(1, 2.0));
    }),
    ("share_range", "data[1].share", "a share of -10%", "positive share", |r| r.data[1].share = Some(-0.1)),
    ("share_sum", "data", "shares sum to 130%", "100%", |r| r.data[1].share = Some(0.4)),
    ("share_sum", "data", "nothing is left", "100%", |r| {
        r.data[0].share = Some(1.0);
        r.data[1].share = None;
    }),
    ("empty_source", "data[0]", "empty glob", "corpus", |r| r.data[0].kind = SourceKind::Text { glob: " ".into() }),
    ("empty_source", "data[0]", "empty split", "split = \"train\"", |r| {
        let [path, field] = ["wiki", "text"].map(Into::into);
        r.data[0].kind = SourceKind::Dataset { path, split: " ".into(), config: "".into(), field };
    }),
    ("word_of_format", "data[0]", "text does not read \"a/*.parquet\"", "parquet(\"a/*.parquet\")", |r| {
        r.data[0].kind = SourceKind::Text { glob: "a/*.parquet".into() };
    }),
    ("word_of_format", "data[0]", "parquet does not read", "jsonl(\"a/*.jsonl.gz\", field = \"text\")", |r| {
        r.data[0].kind = SourceKind::Parquet { glob: "a/*.jsonl.gz".into(), field: "text".into() };
    }),
    ("upsample_range", "data[0].times", "1001 times in an epoch", "times = 5", |r| {
        (r.data[0].upsample, r.data[0].times) = (Some(32_768), Some(1001));
    }),
    ("upsample_range", "data[0].times", "which documents come 3 times", "upsample = 32K", |r| {
        r.data[0].times = Some(3)
    }),
    ("upsample_range", "data[1].upsample", "as long as the sequence", "leave it out", |r| {
        r.data[1].upsample = Some(1024)
    }),
    ("steps_or_tokens", "train[0].tokens", "both steps = 1000 and tokens = 5", "remove", |r| {
        r.train[0].tokens = Some(5)
    }),
    ("steps_or_tokens", "train[0].steps", "nothing says how long", "steps = 1000", |r| r.train[0].steps = None),
    ("zero_steps", "train[0].steps", "0 steps", "steps = 1000", |r| r.train[0].steps = Some(0)),
    ("zero_steps", "train[0].tokens", "0 tokens", "tokens", |r| {
        r.train[0] = Stage { tokens: Some(0), ..Stage::default() };
    }),
    ("zero_batch", "train[0].batch", "batch of 0", "batch = 1", |r| r.train[0].batch = Some(0)),
    ("length_too_short", "train[0].length", "length 1 has no next token", "length = 128K", |r| {
        r.train[0].length = Some(1)
    }),
    ("length_too_short", "train[0].length", "length 0", "length = 128K", |r| r.train[0].length = Some(0)),
    ("stage_beyond_target", "train[0].length", "length 256K is longer than target 128K", "length = 128K", |r| {
        r.train[0].length = Some(262_144);
    }),
    ("lr_range", "train[0].lr", "lr 2.0 is out of (0, 1]", "2e-5", |r| r.train[0].lr = Some(2.0)),
    ("lr_range", "train[0].lr", "lr 0.0", "2e-5", |r| r.train[0].lr = Some(0.0)),
    ("warmup_beyond_stage", "train[0].warmup", "warmup 2000 is longer than the stage, 1000", "warmup = 20", |r| {
        r.train[0].warmup = Some(2000);
    }),
    ("betas_range", "train[0].betas", "betas (0.9, 1)", "(0.9, 0.95)", |r| r.train[0].betas = Some((0.9, 1.0))),
    ("weight_decay_range", "train[0].weight_decay", "weight_decay -0.1", "= 0", |r| {
        r.train[0].weight_decay = Some(-0.1)
    }),
    ("clip_range", "train[0].clip", "clip 0", "clip = 1", |r| r.train[0].clip = Some(0.0)),
    ("offload_saves_nothing", "train[0].offload", "the device is cpu", "remove it", |r| {
        (r.device, r.train[0].offload) = (None, Some(true));
    }),
    ("offload_saves_nothing", "train[0].offload", "recompute = none keeps", "recompute = every", |r| {
        (r.train[0].recompute, r.train[0].offload) = (Some(false), Some(true));
        r.train[0].length = Some(4096);
    }),
    ("stage_theta_range", "train[0].theta", "theta 0.5 is not above 1", "above the model's 10000", |r| {
        r.train[0].theta = Some(0.5);
    }),
    ("stage_scale_range", "train[0].scale", "scale 0.5 is below 1", "scale = 32", |r| r.train[0].scale = Some(0.5)),
    ("stage_scale_unused", "train[0].scale", "`rope: theta(…)` has no scale to change to 8", "theta = …", |r| {
        r.rope = Some(Rope::Theta { theta: 1e6 });
        r.train[0].scale = Some(8.0);
    }),
    ("stage_scale_unused", "train[0].scale", "both say ntk's base", "leave scale out", |r| {
        r.rope = Some(Rope::Ntk { scale: 64.0 });
        (r.train[0].scale, r.train[0].theta) = (Some(64.0), Some(1e6));
    }),
    (
        "stage_scale_unused",
        "train[0].scale",
        "`rope: longrope(…)` has a factor for each pair",
        "leave scale out",
        |r| {
            let factors = || (0..64).map(|pair| 1.0 + f64::from(pair)).collect();
            r.rope =
                Some(Rope::LongRope(LongRopeFactors { short: factors(), long: factors(), attention_factor: None }));
            r.train[0].scale = Some(8.0);
        },
    ),
    ("stage_scale_unused", "train[0].scale", "e2 draws its own scale", "leave scale out", |r| {
        skip(r, Positions::E2 { scale_max: Some(40) });
        r.train[0].scale = Some(8.0);
    }),
    ("stage_frequencies", "train[0].scale", "a frequency of 0", "smaller", |r| {
        (r.train[0].theta, r.train[0].scale) = (Some(1e300), Some(1e300));
    }),
    (
        "stage_scale_below_length",
        "train[0].scale",
        "scale 8 does not take 4K to this stage's 128K",
        "scale = 32",
        |r| {
            r.train[0].scale = Some(8.0);
            r.train.push(Stage { scale: None, ..r.train[0].clone() });
        },
    ),
    (
        "last_stage_rope",
        "train[0].theta",
        "trains at theta 5000000, the finished model runs at 1000000",
        "theta(5000000)",
        |r| {
            r.rope = Some(Rope::Theta { theta: 1e6 });
            r.train[0].theta = Some(5e6);
        },
    ),
    (
        "last_stage_rope",
        "train[0].scale",
        "trains at scale 64, the finished model runs at 32",
        "interpolate(64)",
        |r| {
            r.train[0].scale = Some(64.0);
        },
    ),
    ("last_stage_rope", "train[0].theta", "trains at theta 5000000", "leave theta out of the last stage", |r| {
        r.train[0].theta = Some(5e6);
    }),
    ("share_sum", "train[0].data", "shares sum to 50%", "100%", |r| {
        r.train[0].data = vec![Source { share: Some(0.5), ..Source::new(SourceKind::Passkey) }];
    }),
    ("dropout_range", "adapt.dropout", "dropout of 100% is out of", "dropout = 5%", |r| {
        if let Some(Adapt::Lora { dropout, .. }) = &mut r.adapt {
            *dropout = Some(1.0);
        }
    }),
    ("exam_range", "data[1].keys", "asks 21 questions; 1 to 20", "write 5 or 10", |r| r.data[1].asked = Some(21)),
    ("exam_range", "data[1].depth", "between 95% and 5% of a document", "(5%, 95%)", |r| {
        r.data[1].depth = Some((0.95, 0.05));
    }),
    ("replay_generated", "data[1]", "no short text to replay", "replay(text(", |r| r.data[1].replay = true),
    ("merge_base_range", "train[0].merge.base", "100% of the original weights", "base = 50%", |r| {
        merged(r, Merge { base: Some(1.0), form: None });
    }),
    ("merge_spherical_adapters", "train[0].merge.form", "adapters cannot hold", "form = linear", |r| {
        merged(r, Merge { base: None, form: Some(MergeForm::Spherical) });
    }),
    ("gates_without_duo", "train[1]", "no head of `attention` has one", "duo(gates = learned)", |r| {
        r.train.push(Stage { kind: StageKind::Gates, ..Stage::default() });
    }),
    ("gates_without_duo", "train[0]", "reads its own from a file", "duo(gates = learned)", |r| {
        learned(r, vec![], Stage::default());
        duo(r, vec![vec![0.0; 32]; 32], None, None);
    }),
    ("gates_never_learned", "attention.gates", "no stage learns", "gates(…) as the last stage", |r| {
        learned(r, vec![], Stage::default());
        r.train.clear();
    }),
    ("gates_not_last", "train[1]", "a stage `extend` behind the gates", "gates(…) last", |r| {
        let extend = r.train.clone();
        learned(r, vec![], Stage::default());
        r.train.extend(extend);
    }),
    ("gates_not_last", "train[1]", "a second stage of gates", "remove one", |r| {
        learned(r, vec![], Stage::default());
        learned(r, r.train.clone(), Stage::default());
    }),
    ("gates_not_last", "train[0].merge", "a merge behind the gates", "merge(…) before gates(…)", |r| {
        learned(r, vec![], Stage { merge: Some(Merge::default()), ..Stage::default() });
    }),
    ("gates_window", "train[0].recent", "sees no token", "recent = 256", |r| {
        learned(r, vec![], Stage { recent: Some(0), ..Stage::default() });
    }),
    ("gates_window", "train[0].sink", "32K seen tokens hide nothing of a sequence of 32K", "length above 32K", |r| {
        learned(r, vec![], Stage { sink: Some(32_512), ..Stage::default() });
    }),
    (
        "gates_window",
        "train[0].recent",
        "384 seen tokens hide nothing of a sequence of 256",
        "sink = 8 and recent = 16",
        |r| {
            (r.context, r.rope, r.eval) = (Context { native: None, target: 256 }, None, vec![]);
            r.model.context = 256;
            learned(r, vec![], Stage::default());
            r.train[0].length = None;
        },
    ),
    ("reg_range", "train[0].reg", "reg -0.1 is negative", "reg = 0.05", |r| {
        learned(r, vec![], Stage { reg: Some(-0.1), ..Stage::default() });
    }),
    ("gates_shape", "attention.gates", "128 key/value heads, 64 are the most", "another attention", |r| {
        (r.model.heads, r.model.kv_heads) = (128, 128);
        learned(r, vec![], Stage::default());
    }),
    ("no_eval_lengths", "eval[1]", "passkey at no length", "passkey(128K)", |r| r.eval[1] = Eval::Passkey(vec![])),
    ("eval_too_short", "eval[0][0]", "length 1", "write 128K", |r| r.eval[0] = Eval::Perplexity(vec![1])),
    ("eval_beyond_target", "eval[0][1]", "length 256K is beyond target 128K", "write 128K", |r| {
        r.eval[0] = Eval::Perplexity(vec![4096, 262_144]);
    }),
    ("no_eval_lengths", "eval[0]", "needle at no length", "needle(multikey, 128K)", |r| {
        r.eval[0] = Eval::Needle(Needle::MultiKey, vec![]);
    }),
    ("k_max_steps", "eval[0][1]", "k_max at 512 asks for a key every 16 tokens", "write 1K", |r| {
        r.eval[0] = Eval::KMax(vec![1024, 512]);
    }),
    ("max_loss_range", "eval[0].max_loss", "max_loss -0.5 is not", "max_loss = 0.02", |r| {
        r.eval[0] = Eval::Short(Some(-0.5));
    }),
    ("max_loss_range", "eval[0].max_loss", "max_loss NaN is not", "0.02", |r| r.eval[0] = Eval::Short(Some(f64::NAN))),
    ("empty_choice", "eval[0].path", "an empty path", "questions.jsonl", |r| r.eval[0] = Eval::Choice(" ".into())),
    ("does_not_fit", "device", "cuda(24GB) has 22.4 GiB: weights 3.", "which needs", |r| {
        r.device = Some(Device::cuda(24_000_000_000));
    }),
    ("unknown_rule", "allow[0]", "no rule `native_contxt`", "did you mean `native_context`?", |r| {
        r.allow.push("native_contxt".into());
    }),
    ("unknown_rule", "allow[0]", "no rule `everything`", "what can be allowed: native_context, ", |r| {
        r.allow.push("everything".into());
    }),
    ("rule_not_allowable", "allow[0]", "`zero_rank` cannot be allowed", "remove it", |r| {
        r.allow.push("zero_rank".into())
    }),
];

/// The rule, words of its note, the change.
const NOTES: &[(&str, &str, Break)] = &[
    ("target_below_native", "target 2K is shorter than the native context 4K", |r| {
        *r = bare();
        r.context.target = 2048;
    }),
    ("scale_above_target", "scale 64 is larger than target ÷ native, 32", |r| {
        r.rope = Some(Rope::Interpolate { scale: 64.0 });
    }),
    ("ntk_scale_short", "ntk(32) reaches less", |r| r.rope = Some(Rope::Ntk { scale: 32.0 })),
    ("llama3_scale_short", "llama3(8) is below target ÷ native, 32", |r| {
        r.rope = Some(Rope::Llama3 { scale: 8.0, low: None, high: None });
    }),
    ("theta_lowered", "theta 5000 is below", |r| r.rope = Some(Rope::Theta { theta: 5000.0 })),
    ("longrope_falls", "long factors fall from 8 to 1 at pair 32", |r| {
        longrope(r, vec![1.0; 64], [vec![8.0; 32], vec![1.0; 32]].concat());
    }),
    ("rope_unchanged", "positions from 4K to 128K were never trained", |r| r.rope = None),
    ("native_scaling_replaced", "replaces the linear scaling", |r| {
        r.model.rope_scaling = Scaling::Linear { factor: 2.0 };
    }),
    ("dynamic_ntk_training", "changes the frequencies", |r| r.rope = Some(Rope::DynamicNtk { scale: 32.0 })),
    ("window_covers_target", "window 131072 is the whole target", |r| sparse(r).window = 131_072),
    ("released_window", "every layer sees 4096 tokens, as the model was released; target is 128K", |r| {
        (r.model.window, r.attention) = (4096, None);
    }),
    ("window_reach", "32 layers of window 64 see 2017 tokens", |r| {
        r.attention = Some(Attention::Sparse(Sparse::Window(Window { window: 64, sink: None, block: None })));
    }),
    ("stride_hides_nothing", "a stride of 1 block", |r| strided(r, 1, None)),
    ("needed_heads_stream", "512 heads with a gate above 0.5 stream", |r| duo(r, vec![vec![0.9; 32]; 32], None, None)),
    ("few_full_layers", "2 of 32 layers are full", |r| full(r, FullLayers::Count(2))),
    ("adapter_needs_merge", "the embedding and the norms learn in full", |_| ()),
    ("adapter_without_training", "nothing trains them", |r| r.train.clear()),
    ("adapter_without_training", "nothing trains them", |r| learned(r, vec![], Stage::default())),
    ("positions_without_gaps", "stage 1 is as long as the target, 128K", |r| r.positions = Some(Positions::Random)),
    ("select_leaves_chat", "stage 1 reads conversations", |r| {
        r.select = impactful();
        r.data[1].kind = SourceKind::Chat { glob: "a.jsonl".into(), field: "messages".into() };
    }),
    ("replay_same_data", "reads the text of the extension again", |r| {
        r.train.push(Stage { kind: StageKind::Replay, steps: Some(10), ..Stage::default() });
    }),
    ("short_of_itself", "compares the model with itself", |r| {
        *r = bare();
        r.eval = vec![Eval::Short(None)];
    }),
    ("target_not_trained", "the longest training sequence is 4K", |r| r.train[0].length = Some(4096)),
];

#[test]
fn the_sample_has_no_fault_and_one_note() {
    let plan = llama2_128k().plan().unwrap();
    let rules: Vec<&str> = plan.notes.iter().map(|note| &*note.rule).collect();
    assert_eq!(rules, ["adapter_needs_merge"]);
    assert!(bare().plan().unwrap().notes.is_empty());
}

#[test]
fn each_fault_is_found_where_it_is() {
    for (rule, field, message, help, break_it) in FAULTS {
        let mut recipe = llama2_128k();
        break_it(&mut recipe);
        let faults = recipe.plan().expect_err(rule);
        let found = faults.iter().find(|fault| fault.rule == *rule && fault.field.path() == *field);
        let found = found.unwrap_or_else(|| panic!("{rule} at {field}: {faults:#?}"));
        assert!(found.message.contains(message), "{rule}: {}", found.message);
        assert!(found.help.contains(help), "{rule}: {}", found.help);
    }
}

#[test]
fn each_note_is_kept_in_the_plan() {
    for (rule, words, change) in NOTES {
        let mut recipe = llama2_128k();
        change(&mut recipe);
        let plan = recipe.plan().unwrap_or_else(|faults| panic!("{rule}: {faults:#?}"));
        let note = plan.notes.iter().find(|note| note.rule == *rule).expect(rule);
        assert!(note.message.contains(words), "{}", note.message);
        let silent = llama2_128k().plan().unwrap();
        assert!(*rule == "adapter_needs_merge" || silent.notes.iter().all(|note| note.rule != *rule));
    }
}

#[test]
fn no_rule_is_without_a_case_and_no_name_is_used_twice() {
    let tested: BTreeSet<&str> = FAULTS.iter().map(|row| row.0).chain(NOTES.iter().map(|row| row.0)).collect();
    let named: BTreeSet<&str> = rules().map(|rule| rule.name).collect();
    assert_eq!(tested, named);
    assert_eq!(named.len(), rules().count());
    let advice: BTreeSet<&str> = rules().filter(|rule| rule.level == Level::Advice).map(|rule| rule.name).collect();
    assert_eq!(advice, NOTES.iter().map(|row| row.0).collect());
}

#[test]
fn a_guard_that_is_allowed_becomes_a_note() {
    for rule in rules().filter(|rule| rule.level == Level::Guard) {
        let row = FAULTS.iter().find(|row| row.0 == rule.name).unwrap();
        let mut recipe = llama2_128k();
        row.4(&mut recipe);
        recipe.allow.push(rule.name.into());
        // With another native window the same scale is another fault.
        recipe.allow.push("scale_below_target".into());
        // Too wide a rank also needs too much memory.
        recipe.allow.push("does_not_fit".into());
        let plan = recipe.plan().unwrap_or_else(|faults| panic!("{}: {faults:#?}", rule.name));
        assert!(plan.notes.iter().any(|note| note.rule == rule.name), "{}", rule.name);
    }
}

#[test]
fn an_allowed_native_window_counts() {
    let mut recipe = llama2_128k();
    recipe.context.native = Some(8192);
    recipe.rope = Some(Rope::Interpolate { scale: 16.0 });
    recipe.allow.push(NATIVE_CONTEXT.into());
    assert_eq!(recipe.plan().unwrap().model.context, 8192);
}

#[test]
fn six_mistakes_are_six_faults() {
    let mut recipe = llama2_128k();
    recipe.context.native = Some(2048);
    recipe.rope = Some(Rope::Interpolate { scale: 8.0 });
    sparse(&mut recipe).window = 5000;
    lora(&mut recipe, |rank, _, _| *rank = 8192);
    recipe.data[0].share = Some(0.5);
    recipe.train[0].lr = Some(20.0);
    let faults = recipe.plan().unwrap_err();
    let found: Vec<&str> = faults.iter().map(|fault| fault.rule).collect();
    let six =
        ["native_context", "scale_below_target", "window_not_in_blocks", "rank_too_wide", "share_sum", "lr_range"];
    assert!(six.iter().all(|rule| found.contains(rule)), "{found:?}");
}

#[test]
fn a_wrong_size_is_not_also_too_much_memory() {
    let mut recipe = llama2_128k();
    lora(&mut recipe, |rank, _, _| *rank = 8192);
    let faults = recipe.plan().unwrap_err();
    assert_eq!(faults.iter().map(|fault| fault.rule).collect::<Vec<_>>(), ["rank_too_wide"]);
    recipe.allow.push("rank_too_wide".into());
    assert_eq!(recipe.plan().unwrap_err()[0].rule, "does_not_fit");
}

#[test]
fn every_help_about_a_window_is_legal() {
    for window in [1, 63, 65, 100, 4095, 4097, 131_071, 200_000] {
        let mut recipe = llama2_128k();
        sparse(&mut recipe).window = window;
        sparse(&mut recipe).sink = None;
        let faults = recipe.plan().unwrap_err();
        let number = faults[0].help.trim_start_matches("write window = ").split(',').next().unwrap().parse().unwrap();
        sparse(&mut recipe).window = number;
        assert!(recipe.plan().is_ok(), "{window} → {number}");
    }
}

#[test]
fn the_cheapest_change_that_fits_is_named_and_fits() {
    let mut recipe = llama2_128k();
    recipe.device = Some(Device::cuda(80_000_000_000));
    full_training(&mut recipe);
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write `adapt: lora(rank = 32)`, which needs "), "{help}");
    recipe.device = Some(Device::cuda(60_000_000_000));
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write `adapt: qlora(rank = 32)`, which needs "), "{help}");
    recipe.adapt = Some(Adapt::Lora {
        rank: 32,
        alpha: None,
        targets: None,
        embed: false,
        norm: false,
        quantized: true,
        rslora: false,
        dropout: None,
    });
    assert!(recipe.plan().is_ok());
    recipe.device = Some(Device::cuda(24_000_000_000));
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write `offload = true`, "), "{help}");
    recipe.device = Some(Device::Cuda { memory: 16_000_000_000, deterministic: false });
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write `length = 16K`, "), "{help}");
    recipe.train[0].length = Some(16_384);
    assert!(recipe.plan().is_ok());
    recipe.train[0].recompute = Some(false);
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write `recompute = every`, "), "{help}");
    recipe.device = Some(Device::Cpu { memory: 1 << 30 });
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.contains("no small change fits; write `device: cpu("), "{help}");
}

#[test]
fn a_reader_that_does_not_fit_is_told_what_would() {
    let mut recipe = bare();
    recipe.context = Context { native: Some(4096), target: 131_072 };
    recipe.rope = Some(Rope::Interpolate { scale: 32.0 });
    recipe.device = Some(Device::cuda(48_000_000_000));
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write `attention: hybrid(full = 1/3"), "{help}");
    recipe.device = Some(Device::cuda(24_000_000_000));
    let help = recipe.plan().unwrap_err()[0].help.clone();
    assert!(help.starts_with("write a target of "), "{help}");
}

#[test]
fn shares_left_out_divide_the_rest_and_nearly_is_enough() {
    let mut recipe = llama2_128k();
    recipe.data = vec![Source { share: Some(1.0 / 3.0 - 0.0003), ..Source::new(SourceKind::Passkey) }; 3];
    let plan = recipe.plan().unwrap();
    assert!((plan.data.iter().map(|source| source.share).sum::<f64>() - 1.0).abs() < 1e-12);
    recipe.data[0].share = Some(0.5);
    recipe.data[1].share = None;
    recipe.data[2].share = None;
    assert_eq!(recipe.plan().unwrap().data[2].share, 0.25);
}

/// What is said to one who is short of memory fits, to the byte that is missing.
#[test]
fn remedies_fit() {
    let plan = llama2_128k().plan().unwrap();
    let total = plan.memory().total;
    let words = |missing, available| plan.remedies(missing, available);
    let some = words(1 << 30, u64::MAX);
    assert!(some[0].starts_with("write `offload = true` ("), "{some:?}");
    assert!(some[1].starts_with("remove `embed` from `train` ("), "{some:?}");
    assert!(some[2].starts_with("write `length = 12"), "{some:?}");
    let more = words(20 << 30, u64::MAX);
    assert!(more.len() == 2 && more[1].starts_with("write `length = 65K`"), "{more:?}");
    assert_eq!(words(0, total - (20 << 30)), more);
    assert!(words(total, u64::MAX).is_empty());
}
