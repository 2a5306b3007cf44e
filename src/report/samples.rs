//! Plans and results that tests print.

use recipe_core::{
    Adapt, Attention, Context, Device, Eval, FullLayers, Plan, Recipe, Rope, Source, SourceKind, Sparse, Stage, Window,
    presets,
};

use super::{RehearsalRow, Series};
use crate::eval::{
    Choice, Distance, Evaluation, ExamProtocol, KMax, KMaxTest, Marks, NeedleScore, PasskeyScore, Protocol, Short,
    TopicsScore,
};
use crate::train::StepMetrics;

const LENGTHS: [usize; 3] = [4096, 32_768, 131_072];

/// Llama-2 7B, 4K to 128K, on one 80 GB GPU.
pub(super) fn llama2_128k() -> Plan {
    recipe().plan().expect("the sample is a legal recipe")
}

pub(super) fn recipe() -> Recipe {
    let jsonl = SourceKind::Jsonl { glob: "corpus/*.jsonl".into(), field: "text".into() };
    Recipe {
        name: "Llama2_128k".into(),
        model: presets::llama2_7b(),
        context: Context { native: Some(4096), target: 131_072 },
        rope: Some(Rope::Interpolate { scale: 32.0 }),
        attention: Some(Attention::Hybrid {
            full: FullLayers::Share(1.0 / 3.0),
            place: None,
            sparse: Sparse::Window(Window { window: 4096, sink: Some(4), block: None }),
        }),
        positions: None,
        select: None,
        adapt: Some(Adapt::Lora {
            rank: 32,
            alpha: Some(16.0),
            targets: None,
            embed: true,
            norm: true,
            quantized: true,
            rslora: false,
            dropout: None,
        }),
        optimizer: None,
        data: vec![
            Source { share: Some(0.9), ..Source::new(jsonl) },
            Source { share: Some(0.1), ..Source::new(SourceKind::Passkey) },
        ],
        train: vec![Stage {
            steps: Some(1000),
            length: Some(131_072),
            lr: Some(2e-5),
            warmup: Some(20),
            ..Stage::default()
        }],
        eval: vec![Eval::Perplexity(LENGTHS.to_vec()), Eval::Passkey(LENGTHS.to_vec())],
        allow: vec![],
        device: Some(Device::cuda(80_000_000_000)),
    }
}

/// A model at its own window, nothing else said.
pub(super) fn bare() -> Plan {
    let recipe = Recipe {
        name: "Bare".into(),
        model: presets::tiny(),
        context: Context { native: None, target: presets::tiny().context },
        rope: None,
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: vec![],
        train: vec![],
        eval: vec![],
        device: None,
        ..recipe()
    };
    recipe.plan().expect("the sample is a legal recipe")
}

/// Results of the kind that a rehearsal gives.
pub(super) fn rehearsal_rows() -> Vec<RehearsalRow> {
    let lengths = [256, 1024, 2048, 4096, 8192];
    let states: [(&str, [f64; 5], [f64; 5]); 3] = [
        ("base", [1.63, 4.41, 5.02, 5.38, 5.67], [0.98, 0.16, 0.08, 0.05, 0.02]),
        ("rope", [1.91, 1.99, 2.10, 2.24, 2.51], [0.71, 0.62, 0.55, 0.41, 0.30]),
        ("recipe", [1.66, 1.63, 1.62, 1.63, 1.67], [1.0, 0.99, 0.97, 0.96, 0.93]),
    ];
    let rows = states.into_iter().flat_map(|(state, nll, passkey)| {
        lengths.into_iter().zip(nll).zip(passkey).map(move |((context, last), passkey)| RehearsalRow {
            state,
            context,
            in_window_nll: nll[0],
            last_quarter_nll: last,
            passkey,
        })
    });
    rows.collect()
}

/// Loss by position of the three states.
pub(super) fn curves() -> Vec<Series> {
    let wave = |x: f64| 0.06 * (x / 170.0).sin() + 0.04 * (x / 41.0).cos();
    let positions = || (0..128).map(|index| (f64::from(index) + 0.5) * 64.0);
    let early = |x: f64| 1.2 * (-x / 90.0).exp();
    let base =
        positions().map(|x| (x, 1.6 + early(x) + wave(x) + if x > 256.0 { 1.3 * (x / 256.0).ln() } else { 0.0 }));
    let rope = positions().map(|x| (x, 1.9 + early(x) + wave(x) + 0.12 * (1.0 + x / 256.0).ln()));
    let recipe = positions().map(|x| (x, 1.64 + early(x) + wave(x)));
    vec![Series::new("base", base), Series::new("rope only", rope), Series::new("recipe", recipe)]
}

/// Keys at five depths of five lengths.
pub(super) fn passkeys() -> Vec<PasskeyScore> {
    let depths = [0.0, 0.25, 0.5, 0.75, 1.0];
    let rows = [256, 1024, 2048, 4096, 8192].into_iter().enumerate().flat_map(|(index, context)| {
        depths.into_iter().enumerate().map(move |(place, depth)| {
            let missed = (index * (5 - place)) / 2;
            PasskeyScore { context, depth, correct: 20 - missed, trials: 20 }
        })
    });
    rows.collect()
}

/// Exams of all kinds, abilities lost and a file of questions.
pub(super) fn exams() -> Evaluation {
    let protocol = |hidden, asked| ExamProtocol { documents: 20, hidden, asked, counted: "counted so".into() };
    let marks = |correct, tokens_correct| Marks { correct, trials: 10, tokens_correct, tokens: 40 };
    let distance =
        |k, correct| Distance { k, measured: k as f64 + 0.5, passed: correct > 1, marks: marks(correct, 20) };
    let distances = vec![distance(256, 10), distance(512, 2), distance(768, 1)];
    let tested = KMaxTest { distances: 4, trials: 10, success: 0.2 };
    let needle = |needle: &'static str, depth, tokens_correct| NeedleScore {
        needle: needle.into(),
        context: 1024,
        depth,
        marks: marks(5, tokens_correct),
        protocol: protocol(5, 1),
    };
    Evaluation {
        k_max: vec![KMax { context: 1024, k_max: 512, distances, tested, protocol: protocol(1, 1) }],
        needle: vec![needle("multikey", 0.0, 10), needle("multikey", 1.0, 30), needle("single", 0.5, 40)],
        topics: vec![TopicsScore { context: 1024, topics: 5, marks: marks(7, 30), protocol: protocol(5, 1) }],
        short: vec![Short {
            context: 256,
            tokens: 1020,
            nll: 2.55,
            base_nll: 2.5,
            loss: 0.05,
            max_loss: 0.02,
            kept: false,
            protocol: Protocol::Pieces { documents: 4 },
        }],
        choice: vec![Choice {
            path: "q.jsonl".into(),
            correct: 3,
            questions: 4,
            accuracy: 0.75,
            chance: 0.25,
            protocol: "scored so".into(),
        }],
        ..Evaluation::default()
    }
}

/// The steps of a run over all stages of `plan`.
pub(super) fn metrics(plan: &Plan) -> Vec<StepMetrics> {
    let stages =
        plan.stages.iter().enumerate().flat_map(|(stage, planned)| (0..planned.steps).map(move |_| (stage, planned)));
    let step = |(index, (stage, planned)): (usize, (usize, &recipe_core::StagePlan))| {
        let noise = (index as f64 * 12.9898).sin() * 43_758.547;
        StepMetrics {
            step: index + 1,
            stage,
            loss: 1.6 + 1.4 * (-(index as f64) / 60.0).exp() + 0.2 * noise.fract(),
            grad_norm: 1.0 + noise.fract().abs(),
            learning_rate: planned.lr,
            tokens: (index as u64 + 1) * 4096,
            tokens_per_second: 12_345.0,
            peak_memory_bytes: 734_003_200,
            gates: None,
        }
    };
    stages.enumerate().map(step).collect()
}
