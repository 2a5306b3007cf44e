//! A whole model: a training step, a prompt, a token.

use std::hint::black_box;
use std::path::Path;

use clap::{Args, ValueEnum};
use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Hyper, Mode};
use context_recipe::hub::{Checkpoint, Weights};
use context_recipe::plan::{Adapt, Llama, Plan, Recipe, Rope, presets};
use kernels::q8_0;

use crate::measure::{Bound, Case};
use crate::pattern;

/// Which model, and what its layers see.
#[derive(Args, Clone, Debug)]
pub(crate) struct Model {
    /// A preset (with random weights), a directory in Hugging Face's layout, or a GGUF file.
    #[arg(long, default_value = "smollm2_135m")]
    pub(crate) model: String,
    /// Tokens of the sequence, or of the text before the token.
    #[arg(long, value_parser = pattern::length, default_value = "2048")]
    pub(crate) tokens: usize,
    /// As `attention:` in a recipe.
    #[arg(long, default_value = "full")]
    pub(crate) pattern: String,
}

/// How matrices are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Held {
    /// f32.
    Full,
    /// Blocks of 8 bits.
    #[value(name = "q8_0")]
    Q8_0,
}

/// A model that reads and writes text.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reader {
    #[command(flatten)]
    pub(crate) model: Model,
    /// How matrices are held.
    #[arg(long, value_enum, default_value = "full")]
    pub(crate) weights: Held,
}

impl Model {
    fn load(&self) -> Result<(Llama, Weights), String> {
        if let Some(model) = presets::named(&self.model) {
            return Ok((model, Weights::new()));
        }
        let checkpoint = Checkpoint::open(Path::new(&self.model)).map_err(|error| error.to_string())?;
        Ok((checkpoint.model, checkpoint.weights))
    }

    fn engine(&self, adapt: Option<Adapt>, mode: Mode) -> Result<Engine<Cpu>, String> {
        let (model, weights) = self.load()?;
        let plan = self.plan(model, adapt)?;
        Engine::new(Cpu::new(), &plan, &weights, 0, mode).map_err(|error| error.to_string())
    }

    fn plan(&self, model: Llama, adapt: Option<Adapt>) -> Result<Plan, String> {
        let target = model.context.max(self.tokens);
        let attention = pattern::attention(&self.pattern, model.layers, model.kv_heads)?;
        let recipe = Recipe::new(model, target).rope(Rope::None).attention(attention);
        let recipe = Recipe { adapt, ..recipe };
        recipe.plan().map_err(|faults| faults[0].message.clone())
    }

    fn name(&self, what: &str) -> String {
        let pattern = if self.pattern == "full" { String::new() } else { format!(" {}", self.pattern) };
        let model = Path::new(&self.model).file_name().map_or(self.model.clone(), |name| name.to_string_lossy().into());
        format!("{what} {model} T={}{pattern}", self.tokens)
    }
}

fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    (0..count).map(|at| (at * 7919 % vocab) as u32).collect()
}

/// What `recompute` in a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recompute {
    Every,
    None,
}

/// One optimiser step on one sequence: forward, backward, gradient norm, AdamW.
#[derive(Args, Clone, Debug)]
pub(crate) struct Step {
    #[command(flatten)]
    pub(crate) model: Model,
    /// Adapters of this rank on q, k, v and o; everything learns without it.
    #[arg(long)]
    pub(crate) lora: Option<usize>,
    /// Whether a layer's activations are computed again in its backward pass.
    #[arg(long, value_enum, default_value = "every")]
    pub(crate) recompute: Recompute,
}

impl Step {
    pub(crate) fn case(&self) -> Result<Case, String> {
        let mut engine = self.model.engine(self.adapt(), Mode::Train)?;
        let (recompute, vocab) = (self.recompute == Recompute::Every, engine.plan().model.vocab);
        check_gradients(&mut engine, recompute)?;
        let count = self.model.tokens;
        let batch = Batch::sequence(tokens(count, vocab), &[0]).map_err(|error| error.to_string())?;
        let forward: f64 = engine.plan().forward_flops(count).iter().map(|work| work.flops).sum();
        let kind = self.lora.map_or(String::new(), |rank| format!(" lora {rank}"));
        let recomputed = if recompute { "" } else { " recompute none" };
        Ok(Case {
            name: self.model.name(&format!("step{kind}{recomputed}")),
            flops: 3.0 * forward,
            bytes: 0.0,
            tokens: Some(count),
            bound: Bound::Gemm,
            job: Box::new(move || {
                engine.clear_gradients();
                if let Err(error) = engine.learn(&batch, 1.0 / count as f32, recompute) {
                    panic!("{error}");
                }
                black_box(engine.gradient_norm());
                engine.update(&hyper(1e-6));
            }),
        })
    }

    fn adapt(&self) -> Option<Adapt> {
        self.lora.map(|rank| Adapt::lora(rank, 2.0 * rank as f64))
    }
}

fn hyper(lr: f64) -> Hyper {
    Hyper { lr, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, step: 1, grad_scale: 1.0 }
}

/// A small step lowers the loss by what the gradients say: Σ g Δw.
fn check_gradients(engine: &mut Engine<Cpu>, recompute: bool) -> Result<(), String> {
    const ROWS: usize = 64;
    let vocab = engine.plan().model.vocab;
    let batch = Batch::sequence(tokens(ROWS, vocab), &[0]).map_err(|error| error.to_string())?;
    let loss = |engine: &mut Engine<Cpu>| -> Result<f64, String> {
        engine.clear_gradients();
        let scores = engine.learn(&batch, 1.0 / (ROWS - 1) as f32, recompute).map_err(|error| error.to_string())?;
        Ok(scores.nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / (ROWS - 1) as f64)
    };
    let before = loss(engine)?;
    let hyper = hyper(1e-6);
    // AdamW's first step is −lr · g ÷ (|g| + eps).
    let part = |g: &f32| f64::from(*g).powi(2) / (f64::from(g.abs()) + hyper.eps);
    let sizes: f64 = engine.gradients().iter().flat_map(|(_, gradient)| gradient.data.iter().map(part)).sum();
    engine.update(&hyper);
    let (fell, expected) = (before - loss(engine)?, hyper.lr * sizes);
    match (fell - expected).abs() <= 0.1 * expected + 1e-5 * before {
        true => Ok(()),
        false => Err(format!("a step lowers the loss by {fell:.2e}, its gradients say {expected:.2e}")),
    }
}

impl Reader {
    fn engine(&self) -> Result<Engine<Cpu>, String> {
        let mode = if self.weights == Held::Full { Mode::Infer } else { Mode::InferQ8_0 };
        self.model.engine(None, mode)
    }

    fn name(&self, what: &str) -> String {
        self.model.name(&format!("{what}{}", if self.weights == Held::Full { "" } else { " q8_0" }))
    }

    /// Bytes of a weight: 34 for 32 of them in 8 bits. Norms, which stay f32, are too few to count.
    fn weight_bytes(&self) -> f64 {
        if self.weights == Held::Full { 4.0 } else { q8_0::BYTES as f64 / q8_0::BLOCK as f64 }
    }

    /// A prompt through the key/value cache, up to the next token's logits.
    pub(crate) fn prefill(&self) -> Result<Case, String> {
        let mut engine = self.engine()?;
        let model = engine.plan().model.clone();
        check_cache(&mut engine)?;
        let count = self.model.tokens;
        let prompt = tokens(count, model.vocab);
        let flops = engine.plan().forward_flops(count).iter().map(|work| work.flops).sum::<f64>();
        let head = 2.0 * (model.hidden * model.vocab) as f64;
        Ok(Case {
            name: self.name("prefill"),
            // Only the last row is projected to logits.
            flops: flops - head * (count - 1) as f64,
            bytes: 0.0,
            tokens: Some(count),
            bound: Bound::Gemm,
            job: Box::new(move || {
                let read = engine.cache(prompt.len() + 1).and_then(|mut cache| {
                    engine.prefill(&mut cache, &prompt)?;
                    engine.next_logits(&mut cache)
                });
                if let Err(error) = black_box(read) {
                    panic!("{error}");
                }
            }),
        })
    }

    /// One more token behind a text.
    pub(crate) fn decode(&self) -> Result<Case, String> {
        const RUNS: usize = 4096;
        let mut engine = self.engine()?;
        check_cache(&mut engine)?;
        let plan = engine.plan().clone();
        let mut cache = engine.cache(self.model.tokens + RUNS).map_err(|error| error.to_string())?;
        engine.prefill(&mut cache, &tokens(self.model.tokens, plan.model.vocab)).map_err(|error| error.to_string())?;
        let embedding = if plan.model.tied { 0 } else { plan.model.vocab * plan.model.hidden };
        let weights = (plan.counts().base() - embedding as u64) as f64;
        Ok(Case {
            name: self.name("decode"),
            flops: 2.0 * weights,
            bytes: self.weight_bytes() * weights + cache.bytes() as f64,
            tokens: Some(1),
            bound: Bound::Read,
            job: Box::new(move || {
                let step = engine.prefill(&mut cache, &[7]).and_then(|()| engine.next_logits(&mut cache));
                if let Err(error) = black_box(step) {
                    panic!("{error}");
                }
            }),
        })
    }
}

/// What comes out of the cache token by token equals one pass over the whole text.
fn check_cache(engine: &mut Engine<Cpu>) -> Result<(), String> {
    let text = tokens(24, engine.plan().model.vocab);
    let through_cache = |engine: &mut Engine<Cpu>| {
        let mut cache = engine.cache(text.len())?;
        engine.prefill(&mut cache, &text[..16])?;
        text[16..].iter().try_for_each(|&token| engine.prefill(&mut cache, &[token]))?;
        engine.next_logits(&mut cache)
    };
    let found = through_cache(engine).map_err(|error| error.to_string())?;
    let batch = Batch::sequence(text, &[0]).map_err(|error| error.to_string())?;
    let whole = engine.logits(&batch).map_err(|error| error.to_string())?;
    let expected = &whole[whole.len() - found.len()..];
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    if error < 1e-3 { Ok(()) } else { Err(format!("logits through the cache differ by {error}")) }
}
