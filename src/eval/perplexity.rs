//! Loss by position, and sliding-window perplexity.

use kernels::device::Device;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::data::chronicle::{Density, Seed, document};
use crate::data::{Batch, Encoder, IGNORE};
use crate::engine::Engine;

/// Widest bucket of the loss by position, in tokens.
const BUCKET: usize = 1024;

/// How a figure was measured; figures of different protocols cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Protocol {
    /// Non-overlapping pieces of `context` tokens from the beginning of the text, each read in one pass, token-weighted.
    Pieces {
        /// Pieces read.
        documents: usize,
    },
    /// Generated chronicles of `context` tokens, each read in one pass, token-weighted: nobody's training text, and nobody's
    /// language either.
    Generated {
        /// Chronicles read.
        documents: usize,
    },
    /// Press et al.'s sliding window: the first window scores all its tokens, later ones their last `stride`,
    /// token-weighted.
    Sliding {
        /// Tokens between windows.
        stride: usize,
    },
}

/// Loss at one context length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// Tokens per piece or window.
    pub context: usize,
    /// Tokens scored.
    pub tokens: usize,
    /// Mean −ln p per token, in nats.
    pub mean_nll: f64,
    /// exp(mean_nll).
    pub perplexity: f64,
    /// Positions per bucket.
    pub bucket: usize,
    /// Mean −ln p of each bucket of positions; empty for the sliding window. A bucket without tokens is null.
    pub nll: Vec<Option<f64>>,
    /// How it was measured.
    pub protocol: Protocol,
}

impl Perplexity {
    /// The last bucket may be short; a short context has eight buckets.
    fn bucket(context: usize) -> usize {
        BUCKET.min((context / 8).max(1))
    }
}

/// Scores the first `documents` non-overlapping pieces of `context` tokens, each as a document of its own.
///
/// # Errors
/// A text shorter than one piece, or a failure of the engine.
pub fn by_position<D: Device>(
    engine: &mut Engine<D>,
    tokens: &[u32],
    context: usize,
    documents: usize,
    on_piece: &mut dyn FnMut(usize),
) -> Result<Perplexity, Error> {
    let pieces: Vec<&[u32]> = tokens.chunks_exact(context.max(1)).take(documents.max(1)).collect();
    if pieces.is_empty() || context < 2 {
        return Err(Error::TooShort { tokens: tokens.len(), context: context.max(2) });
    }
    let bucket = Perplexity::bucket(context);
    let mut sums = vec![(0.0_f64, 0_usize); context.div_ceil(bucket)];
    for (done, piece) in pieces.iter().enumerate() {
        let batch = Batch::sequence(piece.to_vec(), &[0])?;
        let scores = engine.score(&batch)?;
        for (row, &nll) in scores.nll.iter().enumerate().filter(|(row, _)| batch.targets[*row] != IGNORE) {
            // A row's loss belongs to the position of the token that it predicts.
            let sum = &mut sums[(row + 1) / bucket];
            *sum = (sum.0 + f64::from(nll), sum.1 + 1);
        }
        on_piece(done + 1);
    }
    let (total, count) = sums.iter().fold((0.0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    let nll = sums.iter().map(|&(sum, count)| (count > 0).then(|| sum / count as f64)).collect();
    let protocol = Protocol::Pieces { documents: pieces.len() };
    let mean_nll = total / count.max(1) as f64;
    Ok(Perplexity { context, tokens: count, mean_nll, perplexity: mean_nll.exp(), bucket, nll, protocol })
}

/// Scores `documents` generated chronicles of `context` tokens: for a model without a text to try it on.
///
/// # Errors
/// What the tokenizer refuses, or a failure of the engine.
pub fn of_chronicles<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    context: usize,
    documents: usize,
    seed: u64,
    on_document: &mut dyn FnMut(usize),
) -> Result<Perplexity, Error> {
    let written = |index| document(encoder, Seed::eval(seed, index as u64), context, Density::Standard);
    let pieces = (0..documents.max(1)).map(written).collect::<Result<Vec<_>, _>>()?;
    let tokens: Vec<u32> = pieces.into_iter().flat_map(|piece| piece.tokens).collect();
    let found = by_position(engine, &tokens, context, documents, on_document)?;
    Ok(Perplexity { protocol: Protocol::Generated { documents: documents.max(1) }, ..found })
}

/// Sliding-window perplexity over all of `tokens` (methods: Press et al. 2021).
///
/// # Errors
/// A stride of 0 or beyond the window, a text shorter than a window, or a failure of the engine.
pub fn sliding<D: Device>(
    engine: &mut Engine<D>,
    tokens: &[u32],
    context: usize,
    stride: usize,
    on_window: &mut dyn FnMut(usize),
) -> Result<Perplexity, Error> {
    if stride == 0 || stride > context {
        return Err(Error::Stride { stride, context });
    }
    if tokens.len() < context || context < 2 {
        return Err(Error::TooShort { tokens: tokens.len(), context: context.max(2) });
    }
    let (mut sum, mut count) = (0.0_f64, 0_usize);
    for (done, start) in (0..=tokens.len() - context).step_by(stride).enumerate() {
        let batch = Batch::sequence(tokens[start..start + context].to_vec(), &[0])?;
        let scores = engine.score(&batch)?;
        // The last row predicts nothing; the rows before it that predict the last `stride` tokens are new.
        let first = if start == 0 { 0 } else { context - 1 - stride.min(context - 1) };
        sum += scores.nll[first..context - 1].iter().map(|&nll| f64::from(nll)).sum::<f64>();
        count += context - 1 - first;
        on_window(done + 1);
    }
    let mean_nll = sum / count.max(1) as f64;
    let protocol = Protocol::Sliding { stride };
    let perplexity = mean_nll.exp();
    Ok(Perplexity { context, tokens: count, mean_nll, perplexity, bucket: context, nll: vec![], protocol })
}
