//! Recipes from values: a key is a method, a word is a function, as in `recipe!`.

use crate::list::Text;
use crate::model::Llama;
use crate::recipe::{
    Adapt, Attention, Context, Eval, FullLayers, Positions, Recipe, Rope, Select, Source, Sparse, Stage, Window,
};
use crate::terms::{Device, Optimizer, SourceKind, StageKind, Target};

impl Recipe {
    /// `model` from its own window to `target` tokens, and nothing else said: `model: …, context: own -> target`, or
    /// `context: target` where the window stays or shrinks.
    ///
    /// ```
    /// use recipe_core::{Recipe, Rope, presets};
    ///
    /// for (target, gigabytes) in [(8192, 4), (32_768, 16), (131_072, 64)] {
    ///     let scale = target as f64 / 4096.0;
    ///     let plan = Recipe::new(presets::llama2_7b(), target).rope(Rope::yarn(scale)).plan();
    ///     // bf16; a CPU keeps twice as many bytes.
    ///     assert_eq!(plan.expect("a yarn that fits").kv_cache_bytes_full(target), gigabytes << 31);
    /// }
    /// ```
    pub fn new(model: Llama, target: usize) -> Self {
        let native = (target > model.context).then_some(model.context);
        Self {
            name: "Recipe".to_owned(),
            model,
            context: Context { native, target },
            rope: None,
            attention: None,
            positions: None,
            select: None,
            adapt: None,
            optimizer: None,
            data: vec![],
            train: vec![],
            eval: vec![],
            allow: vec![],
            device: None,
        }
    }

    /// What reports call it.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// `rope:`.
    #[must_use]
    pub fn rope(self, rope: Rope) -> Self {
        Self { rope: Some(rope), ..self }
    }

    /// `attention:`.
    #[must_use]
    pub fn attention(self, attention: Attention) -> Self {
        Self { attention: Some(attention), ..self }
    }

    /// `positions:`.
    #[must_use]
    pub fn positions(self, positions: Positions) -> Self {
        Self { positions: Some(positions), ..self }
    }

    /// `select:`.
    #[must_use]
    pub fn select(self, select: Select) -> Self {
        Self { select: Some(select), ..self }
    }

    /// `adapt:`.
    #[must_use]
    pub fn adapt(self, adapt: Adapt) -> Self {
        Self { adapt: Some(adapt), ..self }
    }

    /// `optimizer:`.
    #[must_use]
    pub fn optimizer(self, optimizer: Optimizer) -> Self {
        Self { optimizer: Some(optimizer), ..self }
    }

    /// `data: […]`.
    #[must_use]
    pub fn data(self, data: impl Into<Vec<Source>>) -> Self {
        Self { data: data.into(), ..self }
    }

    /// `train: […]`.
    #[must_use]
    pub fn train(self, train: impl Into<Vec<Stage>>) -> Self {
        Self { train: train.into(), ..self }
    }

    /// `eval: […]`.
    #[must_use]
    pub fn eval(self, eval: impl Into<Vec<Eval>>) -> Self {
        Self { eval: eval.into(), ..self }
    }

    /// `allow: [rule]`, once more each time.
    #[must_use]
    pub fn allow(mut self, rule: &str) -> Self {
        self.allow.push(rule.to_owned());
        self
    }

    /// `device:`.
    #[must_use]
    pub fn device(self, device: Device) -> Self {
        Self { device: Some(device), ..self }
    }
}

impl Rope {
    /// `interpolate(scale)`.
    pub fn interpolate(scale: f64) -> Self {
        Self::Interpolate { scale }
    }

    /// `theta(base)`.
    pub fn theta(theta: f64) -> Self {
        Self::Theta { theta }
    }

    /// `ntk(scale)`.
    pub fn ntk(scale: f64) -> Self {
        Self::Ntk { scale }
    }

    /// `dynamic_ntk(scale)`.
    pub fn dynamic_ntk(scale: f64) -> Self {
        Self::DynamicNtk { scale }
    }

    /// `yarn(scale)`.
    pub fn yarn(scale: f64) -> Self {
        Self::Yarn { scale, beta_fast: None, beta_slow: None, attention_factor: None, truncate: None }
    }

    /// `llama3(scale)`.
    pub fn llama3(scale: f64) -> Self {
        Self::Llama3 { scale, low: None, high: None }
    }
}

impl Attention {
    /// `hybrid(full, window, sink)`, the full layers in the middle.
    pub fn hybrid(full: FullLayers, sparse: Sparse) -> Self {
        Self::Hybrid { full, place: None, sparse }
    }
}

impl Sparse {
    /// `window(window, sink)`.
    pub fn window(window: usize, sink: usize) -> Self {
        Self::Window(Window { window, sink: Some(sink), block: None })
    }
}

impl Adapt {
    /// `lora(rank, alpha)`.
    pub fn lora(rank: usize, alpha: f64) -> Self {
        Self::Lora {
            rank,
            alpha: Some(alpha),
            targets: None,
            embed: false,
            norm: false,
            quantized: false,
            rslora: false,
            dropout: None,
        }
    }

    /// `qlora(rank, alpha)`.
    pub fn qlora(rank: usize, alpha: f64) -> Self {
        let mut adapt = Self::lora(rank, alpha);
        if let Self::Lora { quantized, .. } = &mut adapt {
            *quantized = true;
        }
        adapt
    }

    /// `targets = […]`; all weights need none.
    #[must_use]
    pub fn on(mut self, wanted: &[Target]) -> Self {
        if let Self::Lora { targets, .. } = &mut self {
            *targets = Some(wanted.to_vec());
        }
        self
    }

    /// `train = [embed]`.
    #[must_use]
    pub fn with_embed(mut self) -> Self {
        if let Self::Lora { embed, .. } = &mut self {
            *embed = true;
        }
        self
    }

    /// `train = [norm]`.
    #[must_use]
    pub fn with_norm(mut self) -> Self {
        if let Self::Lora { norm, .. } = &mut self {
            *norm = true;
        }
        self
    }
}

impl Source {
    /// `text("glob")`.
    pub fn text(glob: impl Into<Text>) -> Self {
        Self::new(SourceKind::Text { glob: glob.into() })
    }

    /// `jsonl("glob")`, the field `text`.
    pub fn jsonl(glob: impl Into<Text>) -> Self {
        Self::new(SourceKind::Jsonl { glob: glob.into(), field: "text".into() })
    }

    /// `parquet("glob")`, the column `text`.
    pub fn parquet(glob: impl Into<Text>) -> Self {
        Self::new(SourceKind::Parquet { glob: glob.into(), field: "text".into() })
    }

    /// `dataset("path")`: the split `train` of its usual configuration, whose text is in the field `text`.
    pub fn dataset(path: impl Into<Text>) -> Self {
        let [split, field] = ["train", "text"].map(Into::into);
        Self::new(SourceKind::Dataset { path: path.into(), split, config: "".into(), field })
    }

    /// `chat("glob")`, the field `messages`.
    pub fn chat(glob: impl Into<Text>) -> Self {
        Self::new(SourceKind::Chat { glob: glob.into(), field: "messages".into() })
    }

    /// `passkey`.
    pub fn passkey() -> Self {
        Self::new(SourceKind::Passkey)
    }

    /// `* share`: 0.9 for `* 90%`.
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        Self { share: Some(share), ..self }
    }
}

impl Stage {
    /// `extend(steps, length, lr)`.
    pub fn extend(steps: usize, length: usize, lr: f64) -> Self {
        Self { steps: Some(steps), length: Some(length), lr: Some(lr), ..Self::default() }
    }

    /// `anneal(steps, length, lr)`.
    pub fn anneal(steps: usize, length: usize, lr: f64) -> Self {
        Self { kind: StageKind::Anneal, ..Self::extend(steps, length, lr) }
    }
}
