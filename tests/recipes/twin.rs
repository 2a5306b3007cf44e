//! Every example once more, from values: the builder gives the plan that the macro wrote.

use std::collections::BTreeSet;

use context_recipe::plan::{
    Adapt, Attention, Device, Documents, Eval, Form, FullLayers, Gates, HfConfig, Llama, Loss, Merge, Needle, Plan,
    Positions, Recipe, Rope, Schedule, Select, Source, Sparse, Stage, StageKind, Target, TokenType, Window, presets,
};

#[path = "../../examples/smollm2_16k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod smollm2_16k;
#[path = "../../examples/smollm2_8k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod smollm2_8k;
#[path = "../../examples/tiny_1k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod tiny_1k;
#[path = "../../examples/tiny_base.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod tiny_base;
#[path = "../../examples/tiny_gates.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod tiny_gates;
#[path = "../../examples/tiny_llama.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod tiny_llama;

const K: usize = 1024;
const CORPUS: &str = "corpus/*.jsonl";

fn cpu(gibibytes: u64) -> Device {
    Device::Cpu { memory: gibibytes << 30 }
}

fn file(text: &str) -> Llama {
    HfConfig::parse(text).unwrap().llama().unwrap()
}

fn passkeys(lengths: &[usize]) -> [Eval; 2] {
    [Eval::Perplexity(lengths.to_vec()), Eval::Passkey(lengths.to_vec())]
}

/// The recipes of one line each.
fn plain() -> Vec<(&'static str, Recipe)> {
    let llama = presets::llama2_7b;
    let chunks = Attention::DualChunk { chunk: Some(3 * K), local: Some(512), form: Some(Form::Code) };
    let extend = Stage { warmup: Some(20), ..Stage::extend(1000, 32 * K, 2e-5) };
    let pi = Stage { batch: Some(128), betas: Some((0.9, 0.95)), ..extend.clone() };
    let shifted = Stage { batch: Some(64), documents: Some(Documents::Joined), ..extend };
    let pose = Stage {
        batch: Some(64),
        warmup: Some(10),
        schedule: Some(Schedule::Linear),
        ..Stage::extend(1000, 2 * K, 2e-5)
    };
    let e2 = Stage { batch: Some(16), betas: Some((0.9, 0.95)), ..Stage::extend(30_000, 4 * K, 1e-5) };
    let targets = [Target::Q, Target::K, Target::V, Target::O];
    vec![
        (
            "chunkllama_llama2_100k",
            Recipe::new(llama(), 100 * K)
                .attention(chunks)
                .eval(passkeys(&[4 * K, 16 * K, 32 * K]))
                .device(Device::cuda(80_000_000_000)),
        ),
        (
            "self_extend_llama2_16k",
            Recipe::new(llama(), 16 * K)
                .attention(Attention::SelfExtend { group: 8, window: 1024 })
                .eval(passkeys(&[4 * K, 8 * K, 16 * K]))
                .device(Device::cuda(80_000_000_000)),
        ),
        (
            "pi_llama_32k",
            Recipe::new(presets::llama_7b(), 32 * K)
                .rope(Rope::interpolate(16.0))
                .adapt(Adapt::Full)
                .data([Source::jsonl(CORPUS)])
                .train([pi])
                .eval([Eval::Perplexity(vec![2 * K, 8 * K, 32 * K]), Eval::KMax(vec![32 * K])]),
        ),
        (
            "pose_llama_128k",
            Recipe::new(presets::llama_7b(), 128 * K)
                .rope(Rope::yarn(64.0))
                .positions(Positions::Pose { chunks: Some(2), form: None })
                .adapt(Adapt::Full)
                .data([Source::jsonl(CORPUS)])
                .train([pose])
                .eval(passkeys(&[2 * K, 32 * K, 128 * K])),
        ),
        (
            "e2_llm_llama2_32k",
            Recipe::new(llama(), 32 * K)
                .rope(Rope::interpolate(8.0))
                .positions(Positions::E2 { scale_max: Some(20) })
                .adapt(Adapt::Full)
                .data([Source::jsonl(CORPUS)])
                .train([e2])
                .eval([Eval::Perplexity(vec![4 * K, 16 * K, 32 * K])]),
        ),
        (
            "longlora_llama2_32k",
            Recipe::new(llama(), 32 * K)
                .rope(Rope::interpolate(8.0))
                .attention(Attention::ShiftedGroups { group: Some(0.25) })
                .adapt(Adapt::lora(8, 16.0).on(&targets).with_embed().with_norm())
                .data([Source::jsonl(CORPUS)])
                .train([shifted])
                .eval([
                    Eval::Perplexity(vec![4 * K, 8 * K, 32 * K]),
                    Eval::Passkey(vec![4 * K, 8 * K, 32 * K]),
                    Eval::Topics(vec![8 * K, 32 * K]),
                ])
                .device(Device::cuda(80_000_000_000)),
        ),
        (
            "qlora_llama3_80k",
            Recipe::new(presets::llama3_8b(), 80 * K)
                .rope(Rope::theta(2e8))
                .adapt(Adapt::qlora(32, 16.0).on(&targets).with_embed())
                .data([Source::chat("conversations/*.jsonl").share(0.75), Source::jsonl(CORPUS).share(0.25)])
                .train([Stage {
                    batch: Some(8),
                    schedule: Some(Schedule::Linear),
                    ..Stage::extend(2500, 80 * K, 5e-5)
                }])
                .eval([
                    Eval::Perplexity(vec![8 * K, 80 * K]),
                    Eval::Topics(vec![8 * K, 80 * K]),
                    Eval::Passkey(vec![8 * K, 80 * K]),
                ])
                .device(Device::cuda(80_000_000_000)),
        ),
    ]
}

/// Those that mix layers, and those on SmolLM2.
fn hybrid() -> Vec<(&'static str, Recipe)> {
    let third = |window, sink| Attention::hybrid(FullLayers::Share(1.0 / 3.0), Sparse::window(window, sink));
    let books = || [Source::text("text/*.txt").share(0.9), Source::passkey().share(0.1)];
    let yarn = Stage {
        batch: Some(64),
        warmup: Some(20),
        schedule: Some(Schedule::Linear),
        documents: Some(Documents::Joined),
        ..Stage::extend(200, 64 * K, 2e-5)
    };
    let longgen = Stage {
        tokens: Some(5_000_000_000),
        steps: None,
        batch: Some(32),
        documents: Some(Documents::Joined),
        ..Stage::extend(0, 128 * K, 2e-5)
    };
    let smollm2 = presets::smollm2_135m;
    vec![
        (
            "llama2_128k",
            Recipe::new(presets::llama2_7b(), 128 * K)
                .rope(Rope::interpolate(32.0))
                .attention(third(4096, 4))
                .adapt(Adapt::qlora(32, 16.0).with_embed().with_norm())
                .data([Source::jsonl(CORPUS).share(0.9), Source::passkey().share(0.1)])
                .train([Stage { warmup: Some(20), ..Stage::extend(1000, 128 * K, 2e-5) }])
                .eval(passkeys(&[4 * K, 32 * K, 128 * K]))
                .device(Device::cuda(80_000_000_000)),
        ),
        (
            "longgen_llama2_128k",
            Recipe::new(presets::llama2_7b(), 128 * K)
                .rope(Rope::theta(5e6))
                .attention(Attention::hybrid(FullLayers::Count(12), Sparse::window(2048, 64)))
                .adapt(Adapt::Full)
                .data([Source { upsample: Some(32 * K), ..Source::jsonl(CORPUS) }])
                .train([longgen])
                .eval(passkeys(&[4 * K, 32 * K, 128 * K])),
        ),
        (
            "yarn_llama2_128k",
            Recipe::new(presets::llama2_7b(), 128 * K)
                .rope(Rope::yarn(32.0))
                .adapt(Adapt::Full)
                .data([Source::text("books/*.txt")])
                .train([Stage { steps: Some(400), scale: Some(16.0), ..yarn.clone() }, yarn])
                .eval(passkeys(&[4 * K, 64 * K, 128 * K])),
        ),
        ("smollm2_8k", Recipe::new(smollm2(), 8 * K).eval(passkeys(&[2 * K, 8 * K])).device(cpu(8))),
        (
            "smollm2_16k",
            Recipe::new(smollm2(), 16 * K)
                .rope(Rope::yarn(2.0))
                .adapt(Adapt::lora(16, 32.0))
                .data(books())
                .train([Stage { warmup: Some(10), ..Stage::extend(100, 16 * K, 1e-4) }])
                .eval(passkeys(&[8 * K, 16 * K]))
                .device(cpu(16)),
        ),
        (
            "smollm2_32k",
            Recipe::new(smollm2(), 32 * K)
                .rope(Rope::yarn(4.0))
                .attention(third(1024, 4))
                .positions(Positions::LongRecipe { keep: Some(0.3) })
                .adapt(Adapt::lora(16, 32.0).with_embed().with_norm())
                .data(books())
                .train([Stage {
                    length: None,
                    warmup: Some(10),
                    schedule: Some(Schedule::Cosine),
                    ..Stage::extend(200, 0, 2e-4)
                }])
                .eval(passkeys(&[8 * K, 16 * K, 32 * K]))
                .device(cpu(16)),
        ),
        (
            "tiny_1k",
            Recipe::new(presets::tiny(), K)
                .rope(Rope::yarn(4.0))
                .attention(third(128, 4))
                .adapt(Adapt::lora(8, 16.0).with_embed().with_norm())
                .data([Source::passkey()])
                .train([Stage { batch: Some(2), warmup: Some(3), ..Stage::extend(30, K, 1e-3) }])
                .eval([
                    Eval::Perplexity(vec![256, K]),
                    Eval::Passkey(vec![256, K]),
                    Eval::Needle(Needle::Single, vec![256, K]),
                ])
                .device(cpu(2)),
        ),
    ]
}

/// LongRecipe on four models: what they share, and where they differ.
fn longrecipe() -> Vec<(&'static str, Recipe)> {
    let of = |model: Llama, target: usize, theta: f64, replay: Option<usize>| {
        let native = model.context;
        let stage = Stage { batch: Some(96), weight_decay: Some(0.1), ..Stage::default() };
        let extend =
            Stage { steps: Some(104), lr: Some(5e-5), warmup: Some(0), betas: Some((0.9, 0.999)), ..stage.clone() };
        let replay = Stage {
            kind: StageKind::Replay,
            tokens: Some(68_000_000),
            length: replay,
            lr: Some(5e-6),
            data: vec![Source::chat("instructions/*.jsonl")],
            merge: Some(Merge { base: Some(0.5), form: None }),
            ..stage
        };
        Recipe::new(model, target)
            .rope(Rope::theta(theta))
            .select(Select::Impactful {
                types: Some(vec![TokenType::Num, TokenType::Pron, TokenType::Aux]),
                keep: None,
                form: None,
            })
            .positions(Positions::LongRecipe { keep: Some(0.3) })
            .adapt(Adapt::Full)
            .data([Source { upsample: Some(32 * K), ..Source::jsonl(CORPUS) }])
            .train([extend, replay])
            .eval([
                Eval::Perplexity(vec![native, target]),
                Eval::Needle(Needle::MultiKey, vec![native, target]),
                Eval::Short(Some(0.05)),
            ])
    };
    vec![
        ("longrecipe_llama3_80k", of(presets::llama3_8b(), 80_000, 48.9e6, None)),
        ("longrecipe_llama3_128k", of(presets::llama3_8b(), 128_000, 131.5e6, None)),
        ("longrecipe_mistral_128k", of(presets::mistral_7b(), 128 * K, 13.54e6, Some(8 * K))),
        ("longrecipe_qwen2_128k", of(presets::qwen2_7b(), 128_000, 13.54e6, Some(8 * K))),
    ]
}

/// Those of several stages.
fn staged() -> Vec<(&'static str, Recipe)> {
    let step = |length: usize, batch, theta| Stage {
        batch: Some(batch),
        theta,
        warmup: Some(0),
        documents: Some(Documents::Joined),
        ..Stage::extend(90, length * K, 2e-5)
    };
    let ladder = [
        step(32, 32, Some(1e6)),
        step(64, 16, Some(5e6)),
        step(128, 8, Some(7e6)),
        step(256, 4, Some(1e7)),
        step(256, 4, Some(5e7)),
        step(512, 2, Some(2e8)),
        step(512, 2, None),
    ];
    let cosine = Stage { schedule: Some(Schedule::Cosine), weight_decay: Some(0.1), ..Stage::default() };
    let prolong = [
        Stage { batch: Some(64), theta: Some(8e6), warmup: Some(500), ..extended(&cosine, 5000, 64 * K, 1e-5) },
        Stage { batch: Some(16), warmup: Some(250), ..extended(&cosine, 2500, 512 * K, 1e-5) },
        Stage {
            batch: Some(64),
            warmup: Some(12),
            data: vec![Source::chat("conversations/*.jsonl")],
            ..Stage::anneal(250, 64 * K, 2e-5)
        },
    ];
    let lengths = vec![32 * K, 256 * K, K * K];
    vec![
        (
            "easycontext_llama2_1m",
            Recipe::new(presets::llama2_7b(), K * K)
                .rope(Rope::theta(1e9))
                .adapt(Adapt::Full)
                .data([Source::text("books/*.txt")])
                .train(ladder)
                .eval(passkeys(&lengths)),
        ),
        (
            "prolong_llama3_512k",
            Recipe::new(presets::llama3_8b(), 512 * K)
                .rope(Rope::theta(1.28e8))
                .adapt(Adapt::Full)
                .data([
                    Source::text("repositories/*.txt").share(0.3),
                    Source::text("books/*.txt").share(0.3),
                    Source::jsonl("textbooks/*.jsonl").share(0.03),
                    Source::jsonl("short/*.jsonl").share(0.37),
                ])
                .train(prolong)
                .eval([
                    Eval::Perplexity(vec![8 * K, 64 * K, 512 * K]),
                    Eval::Needle(Needle::MultiKey, vec![64 * K, 512 * K]),
                    Eval::Short(None),
                ]),
        ),
    ]
}

fn extended(stage: &Stage, steps: usize, length: usize, lr: f64) -> Stage {
    Stage { steps: Some(steps), length: Some(length), lr: Some(lr), ..stage.clone() }
}

/// Those with learned gates, and those of tests.
fn small() -> Vec<(&'static str, Recipe)> {
    let tiny = || file(include_str!("../fixtures/tiny_hf/config.json"));
    let duo = |sparsity, sink, recent| Attention::Duo {
        gates: Gates::Learned,
        sparsity: Some(sparsity),
        sink: Some(sink),
        recent: Some(recent),
    };
    let gates = |steps, length, lr, [sink, recent]: [usize; 2]| Stage {
        kind: StageKind::Gates,
        sink: Some(sink),
        recent: Some(recent),
        ..Stage::extend(steps, length, lr)
    };
    let keys = Source { asked: Some(10), depth: Some((0.05, 0.95)), loss: Some(Loss::Answers), ..Source::passkey() };
    let middle = Sparse::Window(Window { window: 8, sink: Some(2), block: Some(4) });
    let all = [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];
    let merged = Stage {
        batch: Some(4),
        warmup: Some(4),
        merge: Some(Merge { base: Some(0.1), form: None }),
        ..Stage::extend(30, 64, 1e-2)
    };
    vec![
        (
            "duo_llama2_32k",
            Recipe::new(file(include_str!("../../examples/duo_llama2_32k.json")), 32 * K)
                .attention(duo(0.75, 64, 256))
                .data([keys])
                .train([Stage { reg: Some(0.05), ..gates(2000, 32_000, 0.02, [128, 256]) }])
                .eval([
                    Eval::Perplexity(vec![4 * K, 32 * K]),
                    Eval::Passkey(vec![4 * K, 16 * K, 32 * K]),
                    Eval::Needle(Needle::Single, vec![32 * K]),
                ])
                .device(Device::cuda(80_000_000_000)),
        ),
        (
            "tiny_gates",
            Recipe::new(tiny(), 64)
                .attention(duo(0.5, 2, 8))
                .train([Stage { batch: Some(2), ..gates(12, 64, 0.05, [4, 8]) }])
                .eval([Eval::Perplexity(vec![64])])
                .device(cpu(1)),
        ),
        (
            "tiny_llama",
            Recipe::new(tiny(), 64)
                .attention(Attention::hybrid(FullLayers::Count(1), middle))
                .adapt(Adapt::lora(4, 8.0).on(&all))
                .train([merged, Stage { batch: Some(4), ..Stage::anneal(10, 64, 1e-2) }])
                .eval([Eval::Perplexity(vec![64])])
                .device(cpu(1)),
        ),
        ("tiny_base", tiny_base()),
    ]
}

/// The second of the two recipes there.
fn tiny_base() -> Recipe {
    let stage = Stage {
        batch: Some(8),
        warmup: Some(100),
        schedule: Some(Schedule::Cosine),
        weight_decay: Some(0.1),
        seed: Some(0),
        ..Stage::extend(200, 256, 7e-4)
    };
    Recipe::new(presets::tiny(), 256).train([stage]).device(cpu(4))
}

#[test]
fn every_example_has_its_twin() {
    let own = [
        ("smollm2_8k", smollm2_8k::Smollm2_8k::PLAN),
        ("smollm2_16k", smollm2_16k::Smollm2_16k::PLAN),
        ("tiny_1k", tiny_1k::Tiny1k::PLAN),
        ("tiny_gates", tiny_gates::TinyGates::PLAN),
        ("tiny_llama", tiny_llama::TinyLlama::PLAN),
        ("tiny_base", tiny_base::TinyBase::PLAN),
    ];
    let published = super::published().into_iter().map(|recipe| (recipe.program, recipe.plan));
    let written: Vec<(&str, Plan)> = published.chain(own).collect();
    let twins: Vec<_> = [plain(), hybrid(), longrecipe(), staged(), small()].concat();
    for (program, recipe) in &twins {
        let (_, plan) = written.iter().find(|(name, _)| name == program).unwrap();
        let twin = recipe.clone().named(&plan.name).plan().unwrap_or_else(|faults| panic!("{program}: {faults:#?}"));
        assert_eq!(twin, *plan, "{program}");
    }
    let names = |list: &mut dyn Iterator<Item = &str>| list.map(str::to_owned).collect::<BTreeSet<String>>();
    assert_eq!(names(&mut twins.iter().map(|twin| twin.0)), names(&mut written.iter().map(|one| one.0)));
}
