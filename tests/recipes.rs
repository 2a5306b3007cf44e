//! The published recipes: each compiles, plans, has a rehearsal, and stands in docs/recipes.md.
//!
//! `UPDATE_DOCS=1 cargo test --test recipes` writes the list.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use context_recipe::Recipe;
use context_recipe::plan::{Form, GatesPlan, Learns, Llama, Pattern, Plan, PositionsPlan, RehearsalRule, presets};
use context_recipe::report::plan_list;

#[path = "recipes/twin.rs"]
mod twin;

#[path = "../examples/chunkllama_llama2_100k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod chunkllama_llama2_100k;
#[path = "../examples/duo_llama2_32k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod duo_llama2_32k;
#[path = "../examples/e2_llm_llama2_32k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod e2_llm_llama2_32k;
#[path = "../examples/easycontext_llama2_1m.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod easycontext_llama2_1m;
#[path = "../examples/llama2_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod llama2_128k;
#[path = "../examples/longgen_llama2_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longgen_llama2_128k;
#[path = "../examples/longlora_llama2_32k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longlora_llama2_32k;
#[path = "../examples/longrecipe_llama3_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longrecipe_llama3_128k;
#[path = "../examples/longrecipe_llama3_80k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longrecipe_llama3_80k;
#[path = "../examples/longrecipe_mistral_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longrecipe_mistral_128k;
#[path = "../examples/longrecipe_qwen2_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longrecipe_qwen2_128k;
#[path = "../examples/pi_llama_32k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod pi_llama_32k;
#[path = "../examples/pose_llama_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod pose_llama_128k;
#[path = "../examples/prolong_llama3_512k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod prolong_llama3_512k;
#[path = "../examples/qlora_llama3_80k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod qlora_llama3_80k;
#[path = "../examples/self_extend_llama2_16k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod self_extend_llama2_16k;
#[path = "../examples/smollm2_32k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod smollm2_32k;
#[path = "../examples/yarn_llama2_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod yarn_llama2_128k;

/// An example, its plan, and its plan at toy size.
struct Published {
    program: &'static str,
    plan: Plan,
    rehearsal: Plan,
}

macro_rules! published {
    ($($program:ident::$recipe:ident,)*) => {
        vec![$(Published {
            program: stringify!($program),
            plan: $program::$recipe::PLAN,
            rehearsal: <$program::$recipe as Recipe>::REHEARSAL,
        }),*]
    };
}

fn published() -> Vec<Published> {
    published! {
        pi_llama_32k::PiLlama32k,
        yarn_llama2_128k::YarnLlama2_128k,
        pose_llama_128k::PoseLlama128k,
        e2_llm_llama2_32k::E2LlmLlama2_32k,
        longlora_llama2_32k::LongloraLlama2_32k,
        longgen_llama2_128k::LonggenLlama2_128k,
        longrecipe_llama3_80k::LongrecipeLlama3_80k,
        longrecipe_llama3_128k::LongrecipeLlama3_128k,
        longrecipe_mistral_128k::LongrecipeMistral128k,
        longrecipe_qwen2_128k::LongrecipeQwen2_128k,
        qlora_llama3_80k::QloraLlama3_80k,
        prolong_llama3_512k::ProlongLlama3_512k,
        easycontext_llama2_1m::EasycontextLlama2_1m,
        chunkllama_llama2_100k::ChunkllamaLlama2_100k,
        self_extend_llama2_16k::SelfExtendLlama2_16k,
        duo_llama2_32k::DuoLlama2_32k,
        smollm2_32k::Smollm2_32k,
        llama2_128k::Llama2_128k,
    }
}

const HEAD: &str = "# Recipes

Written from their plans. Each is a program, `cargo run --release --example NAME`, whose head names its source, what is \
published of it and where it deviates. Memory is that of the largest optimiser step, or of reading where nothing is trained; \
the KV cache is one sequence's at the target, in bf16 where the recipe names a GPU, else in f32.

";

#[test]
fn the_list_is_written_from_the_plans() {
    let recipes = published();
    let table = plan_list(recipes.iter().map(|recipe| (recipe.program, &recipe.plan))).to_markdown();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    let text = format!("{HEAD}{table}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "UPDATE_DOCS=1 writes it");
}

/// What an example's head says it takes from its source.
#[test]
fn plans_hold_the_published_numbers() {
    let recipes = published();
    let plan = |program: &str| &recipes.iter().find(|recipe| recipe.program == program).unwrap().plan;
    let last = |program: &str| plan(program).stages.last().unwrap();
    assert_eq!((last("pi_llama_32k").length, last("pi_llama_32k").batch), (32_768, 128));
    let full = plan("longgen_llama2_128k").layers.iter().filter(|pattern| **pattern == Pattern::Full).count();
    assert_eq!(full, 12);
    // 240 M and 384 M tokens (arXiv 2409.00509, table 4).
    let programs =
        [("longrecipe_llama3_80k", 240e6), ("longrecipe_llama3_128k", 384e6), ("longrecipe_qwen2_128k", 384e6)];
    for (program, tokens) in programs {
        let stage = &plan(program).stages[0];
        assert_eq!(stage.positions, PositionsPlan::LongRecipe);
        assert!(((stage.steps * stage.batch * stage.length) as f64 / tokens - 1.0).abs() < 0.01, "{program}");
    }
    let qwen2 = plan("longrecipe_qwen2_128k");
    assert_eq!((qwen2.stages[0].length, qwen2.rope.theta.round()), (38_400, 13_540_000.0));
    let ntk = 1e6 * (4.0 * 4.0 - 3.0_f64).powf(128.0 / 126.0);
    assert!((qwen2.rope.theta / ntk - 1.0).abs() < 1e-3);
    assert_eq!(last("e2_llm_llama2_32k").positions, PositionsPlan::E2 { scale_max: 20, native: 4096 });
    assert_eq!(plan("chunkllama_llama2_100k").layers[0], Pattern::DualChunk { chunk: 2560, farthest: 3072 });
    assert_eq!(plan("longlora_llama2_32k").layers[0], Pattern::ShiftedGroups { size: 8192 });
    assert_eq!(plan("longlora_llama2_32k").merged().layers[0], Pattern::Full);
    assert_eq!(plan("easycontext_llama2_1m").stages.len(), 7);
    let duo = plan("duo_llama2_32k");
    assert_eq!(duo.gates, GatesPlan::Learned { sparsity: 0.75, sink: 64, recent: 256 });
    let Learns::Gates { sink: 128, recent: 256, reg: 0.05, form: Form::Paper } = duo.stages[0].learns else {
        panic!("{:?}", duo.stages[0])
    };
    assert_eq!((duo.stages[0].steps, duo.stages[0].warmup, duo.stages[0].lr), (2000, 400, 0.02));
}

#[test]
fn every_recipe_can_be_rehearsed() {
    for Published { program, rehearsal, .. } in published() {
        assert!(rehearsal.target <= 256 * RehearsalRule::STANDARD.most_scale, "{program}");
        assert!(rehearsal.stages.iter().all(|stage| stage.length <= stage.reach), "{program}");
        assert!(rehearsal.flops().total <= RehearsalRule::STANDARD.most_flops, "{program}");
    }
}

/// Every kernel that a recipe, its rehearsal or a preset takes is among those that NVIDIA's compiler is asked about.
#[test]
fn every_kernel_of_a_recipe_is_proven_to_compile() {
    let proven = kernels::cuda::shipped::sources();
    let recipes = published();
    let plans = recipes.iter().flat_map(|Published { plan, rehearsal, .. }| [&plan.model, &rehearsal.model]);
    let models: Vec<Llama> = presets::NAMES.iter().filter_map(|name| presets::named(name)).collect();
    for model in plans.chain(&models) {
        for kernel in context_recipe::gpu::sizes(model).kernels() {
            assert!(proven.contains(&kernel.source), "{} {:?}", kernel.source.file, kernel.source.constants);
        }
    }
}

#[test]
fn no_example_is_forgotten() {
    // Not published: two for the evaluation and training of one model, one for the guide, two for tests, the one that makes
    // Not published: two for the evaluation and training of one model, one for the guide, two for tests, the one that makes
    // the base, the one that measures kernels, the one for a GPU, and the one that tries the field's claims.
    let own =
        ["smollm2_8k", "smollm2_16k", "tiny_1k", "tiny_llama", "tiny_gates", "tiny_base", "bench", "gpu", "evidence"];
    let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap();
    let programs = folder.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    let expected: BTreeSet<String> = programs.filter(|program| !own.contains(&&**program)).collect();
    let listed: BTreeSet<String> = published().iter().map(|recipe| recipe.program.to_owned()).collect();
    assert_eq!(listed, expected);
}
