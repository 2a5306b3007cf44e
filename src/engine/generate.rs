//! Text through a [`Cache`]: prefill in chunks, then one row per token.

mod sampling;

use std::time::Instant;

use kernels::device::{Device, Linear, Weight};
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;

use super::cache::{self, Cache, Turn};
use super::pass::{Pass, Turned};
use super::store::LayerIndex;
use super::workspace::{Purpose, Workspace};
use super::{Engine, Error};
pub use sampling::{Sampling, SamplingError};

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
        D::run(|| tokens.chunks(cache.chunk()).try_for_each(|tokens| self.read(cache, tokens, &inv_freq)))
    }

    /// Logits `[V]` of the token that follows all that `cache` holds.
    ///
    /// # Errors
    /// An empty cache, one of another model, or logits that are not numbers.
    pub fn next_logits(&self, cache: &mut Cache<D>) -> Result<Vec<f32>, Error> {
        self.check(cache, &[0])?;
        if cache.is_empty() {
            return Err(Error::Empty);
        }
        let (model, head) = (&self.plan.model, &self.store.values[self.index.head]);
        let dims = Dims { rows: 1, inputs: model.hidden, outputs: model.vocab };
        let job = Linear { dims, scale: 1.0, write: Write::Set };
        D::run(|| self.device.linear(job, &cache.last, head, &mut cache.logits));
        let logits = self.device.download(&cache.logits, model.vocab);
        self.check_device()?;
        if logits.iter().any(|logit| logit.is_nan()) {
            Err(Error::NotNumbers { after: cache.len() })
        } else {
            Ok(logits)
        }
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
        self.make_room(rows, Purpose::Score)?;
        let Some((_, ws, _)) = &mut self.workspace else { return Err(Error::Empty) };
        let (device, model, values) = (&self.device, &self.plan.model, &self.store.values);
        let factor = self.plan.rope.attention_factor();
        let positions: Vec<u32> = (cache.len() as u32..).take(rows).collect();
        let batch = cache::batch(device, tokens, &positions, inv_freq, factor)?;
        let pass =
            Pass { device, batch: &batch, model, rows, first: 0, turned: &Turned::none(), noise: None, gates: None };
        let follows_length = self.plan.rope.scaling.follows_length();
        let mut turn = Turn::new(inv_freq, factor);
        device.embed(&batch, &values[self.index.embed], model.hidden, &mut ws.x);
        for (index, layer) in self.index.layers.iter().enumerate() {
            let remaps = self.plan.layers[index].remaps();
            let late = (follows_length || remaps).then_some(&mut turn);
            pass.cached_layer(values, (index, layer), ws, cache, (late, remaps))?;
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
        (late, remaps): (Option<&mut Turn<'_, D>>, bool),
    ) -> Result<(), Error> {
        let (device, model, scratch) = (self.device, self.model, &mut ws.scratch);
        let Some(acts) = ws.saved.first_mut() else { return Err(Error::Empty) };
        self.project_qkv(values, layer, &ws.x, acts, scratch);
        if !remaps {
            device.rope(self.batch, model.heads, &mut acts.q, Direction::Forward);
        }
        if late.is_none() {
            device.rope(self.batch, model.kv_heads, &mut acts.k, Direction::Forward);
        }
        cache.store(self, index, &acts.k, &acts.v)?;
        cache.attend(self, index, late, &acts.q, (&mut acts.attn, &mut acts.lse))?;
        self.project(values, &layer.o, &acts.attn, &mut ws.x, &mut scratch.adapting, Write::Add);
        self.mlp(values, layer, &mut ws.x, None, scratch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use recipe_core::{Pattern, Scaling};

    use super::super::cache::tests::{engine, plan, text};
    use super::*;
    use crate::data::Batch;

    const HYBRID: [Pattern; 2] = [Pattern::Window { window: 8, sink: 2 }, Pattern::Full];

    #[test]
    fn greedy_text_is_the_argmax_of_one_pass() {
        let plan = plan(&HYBRID, Scaling::Default);
        let mut engine = engine(&plan);
        let prompt = text(30);
        let mut seen = vec![];
        let answer =
            engine.generate(&prompt, Sampling::greedy(), 25, &|_| false, &mut |token| seen.push(token)).unwrap();
        assert_eq!((seen.len(), &seen), (25, &answer.tokens));
        let tokens: Vec<u32> = prompt.iter().chain(&answer.tokens).copied().collect();
        let logits = engine.logits(&Batch::sequence(tokens, &[0]).unwrap()).unwrap();
        let argmax = |row: usize| Sampling::greedy().pick(&logits[row * plan.model.vocab..][..plan.model.vocab], 0);
        assert_eq!(answer.tokens, (29..54).map(argmax).collect::<Vec<_>>());
        assert!(answer.tokens.iter().any(|token| *token != answer.tokens[0]));
    }

    #[test]
    fn generation_stops_where_it_is_told() {
        let mut engine = engine(&plan(&HYBRID, Scaling::Default));
        let mut run = |max_new, stop: &dyn Fn(u32) -> bool| {
            engine.generate(&text(5), Sampling::greedy(), max_new, stop, &mut |_| ()).unwrap().tokens
        };
        let all = run(12, &|_| false);
        let fourth = all[3];
        let first = all.iter().position(|token| *token == fourth).unwrap();
        assert_eq!(run(12, &|token| token == fourth), all[..=first]);
        assert!(run(0, &|_| false).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let mut engine = engine(&plan(&HYBRID, Scaling::Default));
        let mut says = |prompt: &[u32]| {
            engine.generate(prompt, Sampling::greedy(), 3, &|_| false, &mut |_| ()).unwrap_err().to_string()
        };
        assert!(says(&[]).contains("no tokens"));
        assert!(says(&[3, 97]).contains("tokens[1] is 97, the vocabulary ends at 96"));
        let mut empty = engine.cache(5).unwrap();
        assert!(matches!(engine.next_logits(&mut empty), Err(Error::Empty)));
    }

    #[test]
    fn logits_that_are_no_numbers_are_refused() {
        let plan = plan(&HYBRID, Scaling::Default);
        let mut weights = engine(&plan).merged();
        let name = "model.norm.weight";
        let mut norm = weights.get(name).unwrap().clone();
        norm.data[3] = f32::NAN;
        weights.insert(name.to_owned(), norm);
        let mut broken =
            Engine::new(kernels::device::Cpu::new(), &plan, &weights, 0, crate::engine::Mode::Infer).unwrap();
        let error = broken.generate(&text(5), Sampling::greedy(), 3, &|_| false, &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("behind token 5 are not numbers"), "{error}");
    }

    #[test]
    fn the_seed_decides() {
        let mut engine = engine(&plan(&HYBRID, Scaling::Default));
        let mut run = |seed| {
            engine
                .generate(&text(5), Sampling::new(1.0, 0.9, Some(50), seed).unwrap(), 20, &|_| false, &mut |_| ())
                .unwrap()
                .tokens
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
