//! The fixture's model, its plan, and the means to compare.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use context_recipe::model::learn::{EMBED, K, NORM, O, Q, V};
use context_recipe::model::{Hyper, Input, Llama, Lora};
use context_recipe::plan::{AdaptPlan, Device, Llama as Shape, Pattern, Plan, RopePlan, Scaling, Target};

pub(crate) type Tiny = Llama<3, 97, 64, 64, 32, 160>;

pub(crate) type TiedTiny = Llama<3, 97, 64, 64, 32, 160, 0, true>;

pub(crate) type LoraTiny = Llama<3, 97, 64, 64, 32, 160, 4, false, Lora<{ Q | K | V | O }, 0>>;

pub(crate) type LoraPlusTiny = Llama<3, 97, 64, 64, 32, 160, 4, false, Lora<{ Q | V }, { EMBED | NORM }>>;

pub(crate) type PeftTiny = Llama<3, 97, 64, 64, 32, 160, 4, false, Lora<127, 0>>;

pub(crate) const SPARSE: Pattern = Pattern::Window { window: 8, sink: 2 };

pub(crate) const HYPER: Hyper =
    Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, clip: f64::INFINITY };

/// The plan of the fixture's model.
pub(crate) fn plan(layers: [Pattern; 3]) -> Plan {
    let model = Shape {
        layers: 3,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn: 160,
        vocab: 97,
        context: 64,
        rope_theta: 10_000.0,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: false,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
    };
    Plan {
        name: Cow::Borrowed("Tiny"),
        target: 64,
        rope: RopePlan::native(&model),
        layers: layers.to_vec().into(),
        gates: context_recipe::plan::GatesPlan::Given,
        block: 4,
        tile: 4096,
        adapt: AdaptPlan::Full,
        optimizer: context_recipe::plan::Optimizer::AdamW,
        data: Cow::Borrowed(&[]),
        stages: Cow::Borrowed(&[]),
        eval: Cow::Borrowed(&[]),
        device: Device::Cpu { memory: u64::MAX },
        notes: Cow::Borrowed(&[]),
        model,
    }
}

pub(crate) fn lora(rank: usize, alpha: f64, targets: &[Target], embed: bool, norm: bool) -> AdaptPlan {
    let (rslora, scale, targets) = (false, alpha / rank as f64, targets.to_vec().into());
    AdaptPlan::Lora { rank, alpha, rslora, scale, targets, embed, norm, quantized: false, dropout: 0.0 }
}

pub(crate) type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

pub(crate) fn source<'w>(weights: &'w Weights) -> impl Fn(&str) -> Option<(&'w [usize], &'w [f32])> + 'w {
    move |name| weights.get(name).map(|(shape, values)| (shape.as_slice(), values.as_slice()))
}

/// The weights with some values in every adapter that the plan has.
pub(crate) fn with_adapters(plan: &Plan, mut weights: Weights) -> Weights {
    for parameter in plan.parameters().into_iter().filter(|p| p.name.contains(".lora_")) {
        let seed = weights.len();
        let values = (0..parameter.count()).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 505.0 - 0.1).collect();
        weights.insert(parameter.name, (parameter.shape, values));
    }
    weights
}

pub(crate) fn transpose(a: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| a[at % rows * columns + at / rows]).collect()
}

/// max |ours − theirs| ÷ max |theirs|.
pub(crate) fn relative(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let difference = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(ours.iter().all(|x| x.is_finite()));
    difference / theirs.iter().fold(0.0_f32, |most, x| most.max(x.abs()))
}

/// The rows of a pass.
pub(crate) struct Rows {
    pub(crate) tokens: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) starts: Vec<usize>,
}

impl Rows {
    pub(crate) fn plain(tokens: Vec<i64>) -> Self {
        let rows = tokens.len();
        Self {
            tokens: tokens.iter().map(|&t| t as u32).collect(),
            positions: (0..rows as u32).collect(),
            starts: vec![0; rows],
        }
    }

    pub(crate) fn input(&self) -> Input<'_> {
        Input { tokens: &self.tokens, positions: &self.positions, starts: &self.starts, stretch: None, noise: None }
    }
}

/// `tiny_llama.safetensors`.
pub(crate) struct Fixture {
    pub(crate) file: File,
}

impl Fixture {
    pub(crate) fn open() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| Self { file: File::open("tiny_llama.safetensors") })
    }

    pub(crate) fn weights(&self) -> Weights {
        let named = |(name, value): (&String, &(Vec<usize>, Vec<f32>))| {
            Some((name.strip_prefix("weight.")?.to_owned(), value.clone()))
        };
        self.file.0.iter().filter_map(named).collect()
    }

    pub(crate) fn rows(&self, tag: &str) -> Rows {
        let plain = Rows::plain(self.file.ints("input_ids"));
        let positions = |name: &str| self.file.ints(name).iter().map(|&p| p as u32).collect();
        match tag {
            "skip" => Rows { positions: positions("skip_positions"), ..plain },
            "documents" => {
                let ids = self.file.ints("documents");
                let start = |&id: &i64| ids.iter().position(|&other| other == id).unwrap();
                let starts = ids.iter().map(start).collect();
                Rows { positions: positions("document_positions"), starts, ..plain }
            }
            _ => plain,
        }
    }

    pub(crate) fn targets(&self) -> Vec<i32> {
        self.file.ints("target_ids").iter().map(|&id| id as i32).collect()
    }
}

/// A safetensors file as f32; integers stay exact up to 2²⁴.
pub(crate) struct File(pub(crate) Weights);

impl File {
    pub(crate) fn open(name: &str) -> Self {
        Self::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
    }

    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
            safetensors::Dtype::F32 => {
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
            }
            safetensors::Dtype::I64 => {
                view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect()
            }
            _ => view.data().iter().map(|&b| f32::from(b)).collect(),
        };
        Self(tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(&view)))).collect())
    }

    pub(crate) fn values(&self, name: &str) -> &[f32] {
        &self.0[name].1
    }

    pub(crate) fn ints(&self, name: &str) -> Vec<i64> {
        self.values(name).iter().map(|&x| x as i64).collect()
    }
}
