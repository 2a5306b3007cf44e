//! Random recipes, most of them nonsense: planning returns a verdict, never panics, and what it passes is consistent.

use recipe_core::{
    Adapt, Attention, Context, Device, Documents, Eval, Form, FullLayers, Gates, LongRopeFactors, Merge, MergeForm,
    Needle, Optimizer, Pattern, Place, Positions, Recipe, Rope, Schedule, Select, Source, SourceKind, Sparse, Stage,
    StageKind, Strided, Target, TokenType, Window, presets,
};

/// SplitMix64 (public domain, S. Vigna).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// Sizes that people write, and sizes that nobody should.
    fn size(&mut self) -> usize {
        let sane = [1, 2, 4, 8, 16, 32, 64, 100, 128, 256, 1024, 4096, 8192, 32_768, 131_072];
        let wild = [0, 3, 4097, 1 << 24, u32::MAX as usize, 1 << 40, usize::MAX - 1, usize::MAX];
        if self.below(20) == 0 { self.pick(&wild) } else { self.pick(&sane) }
    }

    fn number(&mut self) -> f64 {
        let sane = [1.0, 2.0, 8.0, 32.0, 1e-5, 0.5, 0.9, 1e4, 5e5];
        let wild = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e300];
        if self.below(20) == 0 { self.pick(&wild) } else { self.pick(&sane) }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }
}

fn rope(r: &mut Random) -> Rope {
    match r.below(8) {
        0 => Rope::None,
        1 => Rope::Interpolate { scale: r.number() },
        2 => Rope::Theta { theta: r.number() },
        3 => Rope::Ntk { scale: r.number() },
        4 => Rope::DynamicNtk { scale: r.number() },
        5 => Rope::Yarn {
            scale: r.number(),
            beta_fast: r.maybe(Random::number),
            beta_slow: r.maybe(Random::number),
            attention_factor: r.maybe(Random::number),
            truncate: r.maybe(|r| r.below(2) == 0),
        },
        6 => {
            let mut list = || (0..r.pick(&[0, 32, 64])).map(|_| r.number()).collect();
            let (short, long) = (list(), list());
            Rope::LongRope(LongRopeFactors { short, long, attention_factor: r.maybe(Random::number) })
        }
        _ => Rope::Llama3 { scale: r.number(), low: r.maybe(Random::number), high: r.maybe(Random::number) },
    }
}

fn attention(r: &mut Random) -> Attention {
    let sparse = if r.below(2) == 0 {
        Sparse::Window(Window { window: r.size(), sink: r.maybe(Random::size), block: r.maybe(Random::size) })
    } else {
        Sparse::Strided(Strided { stride: r.size(), local: r.maybe(Random::size), block: r.maybe(Random::size) })
    };
    match r.below(9) {
        0 => Attention::Full,
        1 => Attention::Sparse(sparse),
        2 => Attention::ShiftedGroups { group: r.maybe(Random::number) },
        3 => Attention::DualChunk {
            chunk: r.maybe(Random::size),
            local: r.maybe(Random::size),
            form: r.maybe(|r| r.pick(&[Form::Paper, Form::Code])),
        },
        5 => {
            let (layers, heads) = (r.below(40), r.below(40));
            let given = (0..layers).map(|_| (0..heads).map(|_| r.number()).collect()).collect();
            let gates = if r.below(2) == 0 { Gates::Learned } else { Gates::Given(given) };
            let sparsity = r.maybe(Random::number);
            Attention::Duo { gates, sparsity, sink: r.maybe(Random::size), recent: r.maybe(Random::size) }
        }
        4 => Attention::SelfExtend { group: r.size(), window: r.size() },
        _ => {
            let full = if r.below(2) == 0 { FullLayers::Share(r.number()) } else { FullLayers::Count(r.size()) };
            let place = r.maybe(|r| r.pick(&[Place::Middle, Place::Top, Place::Bottom, Place::Interleaved]));
            Attention::Hybrid { full, place, sparse }
        }
    }
}

fn positions(r: &mut Random) -> Positions {
    match r.below(6) {
        0 => Positions::Contiguous,
        1 => Positions::LongRecipe { keep: r.maybe(Random::number) },
        2 => Positions::Pose { chunks: r.maybe(Random::size), form: r.maybe(|r| r.pick(&[Form::Paper, Form::Code])) },
        3 => Positions::Cream { sigma: r.maybe(Random::number) },
        4 => Positions::E2 { scale_max: r.maybe(Random::size) },
        _ => Positions::Random,
    }
}

fn select(r: &mut Random) -> Select {
    if r.below(2) == 0 {
        return Select::All;
    }
    Select::Impactful {
        types: r.maybe(|r| (0..r.below(4)).map(|_| r.pick(&TokenType::ALL)).collect()),
        keep: r.maybe(Random::number),
        form: r.maybe(|r| r.pick(&[Form::Paper, Form::Code])),
    }
}

fn adapt(r: &mut Random) -> Adapt {
    if r.below(3) == 0 {
        return Adapt::Full;
    }
    Adapt::Lora {
        rank: r.size(),
        alpha: r.maybe(Random::number),
        targets: r.maybe(|r| (0..r.below(4)).map(|_| r.pick(&Target::ALL)).collect()),
        embed: r.below(2) == 0,
        norm: r.below(2) == 0,
        quantized: r.below(2) == 0,
        rslora: r.below(4) == 0,
        dropout: Some(r.number()).filter(|_| r.below(16) == 0),
    }
}

const FORMS: [MergeForm; 2] = [MergeForm::Linear, MergeForm::Spherical];

fn stage(r: &mut Random) -> Stage {
    // Mostly exactly one of the two.
    let (steps, tokens) = match r.below(6) {
        0 => (r.maybe(Random::size), r.maybe(Random::size)),
        1 | 2 => (None, Some(r.size())),
        _ => (Some(r.size()), None),
    };
    Stage {
        steps,
        tokens,
        length: r.maybe(Random::size),
        lr: Some(r.pick(&[1e-5, 1e-4, 1e-3, 2.0, f64::NAN])).filter(|_| r.below(2) == 0),
        warmup: Some(r.size()).filter(|_| r.below(4) == 0),
        batch: r.maybe(Random::size),
        schedule: r.maybe(|r| r.pick(&[Schedule::Constant, Schedule::Cosine, Schedule::Linear, Schedule::Trapezoid])),
        betas: Some((r.number(), r.number())).filter(|_| r.below(8) == 0),
        weight_decay: r.maybe(Random::number),
        clip: r.maybe(Random::number),
        seed: r.maybe(Random::next),
        recompute: r.maybe(|r| r.below(2) == 0),
        offload: r.maybe(|r| r.below(2) == 0),
        kind: r.pick(&[StageKind::Extend, StageKind::Replay, StageKind::Anneal, StageKind::Gates]),
        theta: Some(r.number()).filter(|_| r.below(16) == 0),
        scale: Some(r.number()).filter(|_| r.below(16) == 0),
        data: if r.below(4) == 0 { vec![Source::new(SourceKind::Passkey)] } else { vec![] },
        sink: r.maybe(Random::size),
        recent: r.maybe(Random::size),
        reg: r.maybe(Random::number),
        form: r.maybe(|r| r.pick(&[Form::Paper, Form::Code])),
        documents: r.maybe(|r| r.pick(&[Documents::Mask, Documents::Joined])),
        merge: Some(Merge { base: Some(r.pick(&[0.5, 0.0, f64::NAN])), form: r.maybe(|r| r.pick(&FORMS)) })
            .filter(|_| r.below(16) == 0),
    }
}

fn allow(r: &mut Random) -> Vec<String> {
    let guards = ["scale_below_target", "native_context", "does_not_fit", "window_not_in_blocks", "rank_too_wide"];
    match r.below(10) {
        0 => vec![r.pick(&["zero_rank", "nonsense", ""]).into()],
        1..4 => guards.map(String::from).into(),
        _ => vec![],
    }
}

fn eval(r: &mut Random) -> Eval {
    let lengths = (0..=r.below(3)).map(|_| r.size()).collect();
    match r.below(8) {
        0 => Eval::KMax(lengths),
        1 => Eval::Needle(r.pick(&[Needle::Single, Needle::MultiKey, Needle::MultiValue, Needle::MultiQuery]), lengths),
        2 => Eval::Topics(lengths),
        3 => Eval::Short(r.maybe(Random::number)),
        4 => Eval::Choice(r.pick(&["", "a.jsonl"]).into()),
        _ => Eval::Passkey(lengths),
    }
}

fn recipe(r: &mut Random) -> Recipe {
    let name = r.pick(&presets::NAMES);
    let mut model = presets::named(name).unwrap();
    if r.below(5) == 0 {
        (model.layers, model.hidden, model.heads, model.kv_heads) = (r.size(), r.size(), r.size(), r.size());
        (model.head_dim, model.ffn, model.vocab, model.context) = (r.size(), r.size(), r.size(), r.size());
        (model.rope_theta, model.norm_eps, model.tied) = (r.number(), r.number(), r.below(2) == 0);
        (model.qkv_bias, model.qk_norm, model.window) = (r.below(2) == 0, r.below(4) == 0, r.size());
    }
    let native = Some(if r.below(4) == 0 { r.size() } else { model.context }).filter(|_| r.below(4) > 0);
    let target = match r.below(4) {
        0 => r.size(),
        _ => model.context.saturating_mul(r.pick(&[1, 2, 8, 32])),
    };
    let mut kinds = vec![SourceKind::Passkey; 8];
    kinds.push(SourceKind::Qa);
    kinds.push(SourceKind::Text { glob: "".into() });
    kinds.push(SourceKind::Text { glob: "a/*.txt".into() });
    kinds.push(SourceKind::Parquet { glob: "a/*.parquet".into(), field: "text".into() });
    let [path, split, config, field] = ["wiki", "train", "", "text"].map(Into::into);
    kinds.push(SourceKind::Dataset { path, split, config, field });
    Recipe {
        name: "R".into(),
        context: Context { native, target },
        model,
        rope: r.maybe(rope),
        attention: r.maybe(attention),
        positions: r.maybe(positions),
        select: Some(select(r)).filter(|_| r.below(4) == 0),
        adapt: r.maybe(adapt),
        optimizer: r.maybe(|r| r.pick(&[Optimizer::AdamW, Optimizer::AdamW8bit])).filter(|_| r.below(4) == 0),
        data: (0..r.below(3))
            .map(|_| Source {
                share: Some(r.number()).filter(|_| r.below(4) == 0),
                upsample: Some(r.size()).filter(|_| r.below(32) == 0),
                times: Some(r.size()).filter(|_| r.below(64) == 0),
                replay: r.below(32) == 0,
                asked: Some(r.size()).filter(|_| r.below(32) == 0),
                depth: Some((r.number(), r.number())).filter(|_| r.below(32) == 0),
                ..Source::new(r.pick(&kinds))
            })
            .collect(),
        train: (0..r.below(3)).map(|_| stage(r)).collect(),
        eval: (0..r.below(2)).map(|_| eval(r)).collect(),
        allow: allow(r),
        device: r.maybe(|r| {
            let memory = r.pick(&[0, 80_000_000_000, u64::MAX, u64::MAX, u64::MAX]);
            match r.below(3) {
                0 => Device::Cpu { memory },
                way => Device::Cuda { memory, deterministic: way == 1 },
            }
        }),
    }
}

#[test]
fn planning_never_panics_and_what_passes_is_consistent() {
    let mut random = Random(7);
    let mut passed = 0;
    for _ in 0..5000 {
        let recipe = recipe(&mut random);
        let plan = match recipe.plan() {
            Ok(plan) => plan,
            Err(faults) => {
                assert!(!faults.is_empty());
                assert!(faults.iter().all(|fault| !fault.message.is_empty() && !fault.help.is_empty()));
                continue;
            }
        };
        passed += 1;
        assert_eq!(plan.layers.len(), plan.model.layers);
        assert_eq!(plan.rope.inv_freq(plan.target).len(), plan.model.head_dim / 2);
        assert!(plan.rope.inv_freq(plan.target).iter().all(|f| f.is_finite() && *f > 0.0), "{recipe:#?}");
        assert!(plan.data.is_empty() || (plan.data.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(plan.flops().total.is_finite());
        let memory = plan.memory();
        assert!(memory.total <= plan.device.memory() || recipe.allow.contains(&"does_not_fit".to_owned()));
        let toy = plan.rehearsal();
        assert!(toy.layers.len() == 6 && toy.target <= 8192);
        assert!(toy.rope.inv_freq(toy.target).iter().all(|f| f.is_finite()));
        for pattern in toy.layers.iter() {
            if let Pattern::Window { window, sink } = *pattern {
                assert!(window <= toy.target && window % toy.block == 0 && sink < window);
            }
        }
    }
    assert!(passed > 150, "{passed}");
}

#[test]
fn a_plan_survives_json() {
    let mut random = Random(11);
    let plans = (0..3000).filter_map(|_| recipe(&mut random).plan().ok());
    for plan in plans.filter(|plan| plan.layers.len() < 100) {
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<recipe_core::Plan>(&text).unwrap(), plan);
    }
}
