//! Text through a [`Cache`]: prefill in chunks, then one row per token.

use std::time::Instant;

use kernels::device::{Device, Linear, Weight};
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;
use recipe_core::Scaling;
use thiserror::Error as ThisError;

use super::cache::{self, Cache, Turn};
use super::layer::Pass;
use super::store::LayerIndex;
use super::workspace::{Purpose, Workspace};
use super::{Engine, Error};
use crate::data::Rng;

/// Most rows of one pass: activations and the slack of window layers stay this small however long the text is.
const CHUNK: usize = 512;

/// What a generation gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens; the one that stopped it is the last.
    pub tokens: Vec<u32>,
    /// Bytes of keys and values at the end.
    pub cache_bytes: u64,
    /// Time for the prompt.
    pub prefill_seconds: f64,
    /// Time for all new tokens.
    pub decode_seconds: f64,
}

impl<D: Device> Engine<D> {
    /// An empty cache for a text of at most `limit` tokens, prompt and answer together.
    ///
    /// Memory is taken as the text grows; a text that outgrows `limit` only costs another copy.
    ///
    /// # Errors
    /// Too little memory.
    pub fn cache(&self, limit: usize) -> Result<Cache<D>, Error> {
        Cache::new(&self.device, &self.plan, limit, CHUNK.min(limit))
    }

    /// Reads `tokens` behind what `cache` already holds.
    ///
    /// Memory beyond the cache is that of one chunk. Under `dynamic` the rotary base is that of the length when this
    /// call ends. On an error the cache holds what the chunks before it brought.
    ///
    /// # Errors
    /// No tokens, a token outside the vocabulary, a cache of another model, or too little memory.
    pub fn prefill(&mut self, cache: &mut Cache<D>, tokens: &[u32]) -> Result<(), Error> {
        self.check(cache, tokens)?;
        cache.announce(tokens.len());
        let inv_freq = self.plan.rope.inv_freq(cache.len() + tokens.len());
        tokens.chunks(cache.chunk()).try_for_each(|tokens| self.read(cache, tokens, &inv_freq))
    }

    /// Logits `[V]` of the token that follows all that `cache` holds.
    ///
    /// # Errors
    /// An empty cache, or one of another model.
    pub fn next_logits(&self, cache: &mut Cache<D>) -> Result<Vec<f32>, Error> {
        self.check(cache, &[0])?;
        if cache.is_empty() {
            return Err(Error::Empty);
        }
        let (model, head) = (&self.plan.model, &self.store.values[self.index.head]);
        let dims = Dims { rows: 1, inputs: model.hidden, outputs: model.vocab };
        self.device.linear(Linear { dims, scale: 1.0, write: Write::Set }, &cache.last, head, &mut cache.logits);
        Ok(self.device.download(&cache.logits, model.vocab))
    }

    /// Continues `prompt` by at most `max_new` tokens, ending early after a token for which `stop` holds. `on_token` sees
    /// each token as soon as it is there.
    ///
    /// # Errors
    /// An empty prompt, a token outside the vocabulary, or too little memory.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampling: Sampling,
        max_new: usize,
        stop: &dyn Fn(u32) -> bool,
        on_token: &mut dyn FnMut(u32),
    ) -> Result<Generated, Error> {
        let started = Instant::now();
        let mut cache = self.cache(prompt.len().saturating_add(max_new))?;
        self.prefill(&mut cache, prompt)?;
        let prefill_seconds = started.elapsed().as_secs_f64();
        let mut tokens = Vec::new();
        while tokens.len() < max_new {
            if let Some(&last) = tokens.last() {
                self.prefill(&mut cache, &[last])?;
            }
            let token = sampling.pick(&self.next_logits(&mut cache)?, tokens.len() as u64);
            tokens.push(token);
            on_token(token);
            if stop(token) {
                break;
            }
        }
        let decode_seconds = started.elapsed().as_secs_f64() - prefill_seconds;
        Ok(Generated { tokens, cache_bytes: cache.bytes(), prefill_seconds, decode_seconds })
    }

    fn check(&self, cache: &Cache<D>, tokens: &[u32]) -> Result<(), Error> {
        let (expected, got) = (Cache::<D>::fit(&self.plan), cache.fit);
        if expected != got {
            return Err(Error::Shape { name: "cache".to_owned(), expected: expected.into(), got: got.into() });
        }
        let vocab = self.plan.model.vocab;
        if let Some(row) = tokens.iter().position(|&token| token as usize >= vocab) {
            let what = format!("tokens[{row}] is {}, the vocabulary ends at {}", tokens[row], vocab - 1);
            return Err(crate::data::Error::Batch { what }.into());
        }
        if tokens.is_empty() { Err(Error::Empty) } else { Ok(()) }
    }

    /// One pass over one chunk: embedding, all layers, final norm of the last row.
    fn read(&mut self, cache: &mut Cache<D>, tokens: &[u32], inv_freq: &[f64]) -> Result<(), Error> {
        let rows = tokens.len();
        if !matches!(&self.workspace, Some((Purpose::Score, ws)) if ws.rows >= rows) {
            self.workspace = None;
            let workspace = Workspace::new(&self.device, &self.plan, rows, Purpose::Score)?;
            self.workspace = Some((Purpose::Score, workspace));
        }
        let Some((_, ws)) = &mut self.workspace else { return Err(Error::Empty) };
        let (device, model, values) = (&self.device, &self.plan.model, &self.store.values);
        let factor = self.plan.rope.attention_factor();
        let batch = cache::batch(device, tokens, cache.len(), inv_freq, factor)?;
        let pass = Pass { device, batch: &batch, model, rows };
        let follows_length = matches!(self.plan.rope.scaling, Scaling::Dynamic { .. });
        let mut turn = follows_length.then(|| Turn::new(inv_freq, factor));
        device.embed(&batch, &values[self.index.embed], model.hidden, &mut ws.x);
        for (index, layer) in self.index.layers.iter().enumerate() {
            pass.cached_layer(values, (index, layer), ws, cache, turn.as_mut())?;
        }
        cache.commit(rows);
        device.copy_range(&ws.x, (rows - 1) * model.hidden, &mut ws.normed, 0, model.hidden);
        device.rms_norm(1, &ws.normed, &values[self.index.norm], model.norm_eps as f32, &mut cache.last);
        Ok(())
    }
}

impl<D: Device> Pass<'_, D> {
    /// A layer on `ws.x` in place, its queries over all that the cache keeps of layer `index`.
    fn cached_layer(
        &self,
        values: &[Weight<D>],
        (index, layer): (usize, &LayerIndex),
        ws: &mut Workspace<D>,
        cache: &mut Cache<D>,
        turn: Option<&mut Turn<'_, D>>,
    ) -> Result<(), Error> {
        let (device, model, scratch) = (self.device, self.model, &mut ws.scratch);
        let Some(acts) = ws.saved.first_mut() else { return Err(Error::Empty) };
        self.norm(values, layer.input_norm, &ws.x, &mut acts.attn_in);
        self.project(values, &layer.q, &acts.attn_in, &mut acts.q, &mut scratch.low, Write::Set);
        self.project(values, &layer.k, &acts.attn_in, &mut acts.k, &mut scratch.low, Write::Set);
        self.project(values, &layer.v, &acts.attn_in, &mut acts.v, &mut scratch.low, Write::Set);
        device.rope(self.batch, model.heads, &mut acts.q, Direction::Forward);
        if turn.is_none() {
            device.rope(self.batch, model.kv_heads, &mut acts.k, Direction::Forward);
        }
        cache.store(self, index, &acts.k, &acts.v)?;
        cache.attend(self, index, turn, &acts.q, (&mut acts.attn_out, &mut acts.lse))?;
        device.copy(&ws.x, &mut acts.middle, self.rows * model.hidden);
        self.project(values, &layer.o, &acts.attn_out, &mut acts.middle, &mut scratch.low, Write::Add);
        self.mlp(values, layer, acts, scratch, Some(&mut ws.x));
        Ok(())
    }
}

/// How the next token is drawn from the logits: temperature, then `top_k`, then `top_p`.
///
/// The same seed, logits and place in the answer give the same token on every machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    temperature: f64,
    top_p: f64,
    top_k: Option<usize>,
    seed: u64,
}

/// A sampling parameter out of its range.
#[derive(Clone, Copy, Debug, PartialEq, ThisError)]
pub enum SamplingError {
    /// Negative or not a number.
    #[error("temperature is {0}; give a number from 0 (always the most likely token) up, usually at most 1")]
    Temperature(f64),
    /// Out of (0, 1].
    #[error("top_p is {0}; give a share of the probability above 0 and at most 1 (1 keeps every token)")]
    TopP(f64),
    /// No token to choose from.
    #[error("top_k is 0, which leaves no token to choose from; give at least 1, or leave it out to keep every token")]
    TopK,
}

impl Sampling {
    /// Always the most likely token; of equals, the lowest id.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: None, seed: 0 }
    }

    /// Softmax of logits ÷ `temperature` over the `top_k` most likely tokens, cut to the fewest that together reach
    /// `top_p`. A temperature of 0 is [`Sampling::greedy`].
    ///
    /// # Errors
    /// A parameter out of its range.
    pub fn new(temperature: f64, top_p: f64, top_k: Option<usize>, seed: u64) -> Result<Self, SamplingError> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(SamplingError::Temperature(temperature));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplingError::TopP(top_p));
        }
        if top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        Ok(Self { temperature, top_p, top_k, seed })
    }

    /// The token number `step` of the answer.
    fn pick(&self, logits: &[f32], step: u64) -> u32 {
        if self.temperature == 0.0 {
            return most_likely(logits);
        }
        let kept = self.kept(logits);
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        // 53 bits make an even number in [0, 1).
        let draw = (Rng::new(&[self.seed, step]).bits() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = draw * total;
        let hit = kept.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little behind the last one.
        hit.or(kept.last()).map_or(0, |&(token, _)| token)
    }

    /// The tokens to choose from, most likely first where an order matters, with weights relative to the first.
    fn kept(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if let Some(k) = self.top_k.filter(|&k| k < order.len()) {
            order.select_nth_unstable_by(k, by_logit);
            order.truncate(k);
        }
        if self.top_p < 1.0 {
            order.sort_unstable_by(by_logit);
        }
        let highest = f64::from(logits[most_likely(logits) as usize]);
        let weight = |&token: &u32| ((f64::from(logits[token as usize]) - highest) / self.temperature).exp();
        let mut kept: Vec<(u32, f64)> = order.iter().map(|token| (*token, weight(token))).collect();
        if self.top_p < 1.0 {
            kept.truncate(nucleus(&kept, self.top_p));
        }
        kept
    }
}

/// How many of the most likely tokens it takes to reach `share` of the whole weight.
fn nucleus(sorted: &[(u32, f64)], share: f64) -> usize {
    let mut missing = share * sorted.iter().map(|(_, weight)| weight).sum::<f64>();
    let reached = sorted.iter().position(|(_, weight)| {
        missing -= weight;
        missing <= 0.0
    });
    reached.map_or(sorted.len(), |index| index + 1)
}

/// The first of the highest.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}
