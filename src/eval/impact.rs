//! Impactful tokens (LongRecipe, arXiv 2409.00509 §3.1): which types of tokens a longer window helps to predict.
//!
//! Both models read the same pieces, teacher-forced. A token's change is the logarithm of its probability under the
//! extended model less that under the base; the paper takes logits, whose zero is each model's own.

use kernels::device::Device;
use recipe_core::TokenType;
use serde::{Serialize, Serializer};

use super::Error;
use crate::data::select::english::{Types, bit};
use crate::data::{Batch, Encoder};
use crate::engine::Engine;

/// What the analysis found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Impact {
    /// Tokens per piece.
    pub context: usize,
    /// Tokens that both models predicted.
    pub tokens: usize,
    /// Share of them that counts as impactful: those that change most.
    pub top: f64,
    /// Mean change of all tokens, in nats.
    pub mean_change: f64,
    /// By type, in the order of [`TokenType::ALL`], and `other`.
    pub types: Vec<TypeImpact>,
    /// Types that are more frequent among the impactful tokens than among all, and that change more than the mean; the most
    /// overrepresented first. What `select` takes.
    #[serde(serialize_with = "words")]
    pub select: Vec<TokenType>,
    /// How it was measured.
    pub protocol: String,
}

/// As a recipe writes them.
fn words<S: Serializer>(types: &[TokenType], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(types.iter().map(TokenType::word))
}

/// One type. A token counts once, for the first of its types.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeImpact {
    /// Its word, or `other`.
    pub name: &'static str,
    /// Tokens of it.
    pub tokens: usize,
    /// Its share of all tokens.
    pub share: f64,
    /// Its share of the impactful tokens.
    pub top_share: f64,
    /// Mean change, in nats; nothing where there is no such token.
    pub mean_change: Option<f64>,
}

impl TypeImpact {
    /// How much more frequent it is among the impactful tokens than among all; nothing where there is no such token.
    pub fn ratio(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.top_share / self.share)
    }
}

/// ln p of each token but the first of non-overlapping pieces of `context` tokens, `pieces` at most.
///
/// # Errors
/// A text shorter than one piece, or a failure of the engine.
pub fn log_probabilities<D: Device>(
    engine: &mut Engine<D>,
    tokens: &[u32],
    context: usize,
    pieces: usize,
    on_piece: &mut dyn FnMut(usize),
) -> Result<Vec<f32>, Error> {
    if tokens.len() < context || context < 2 {
        return Err(Error::TooShort { tokens: tokens.len(), context: context.max(2) });
    }
    let mut found = Vec::new();
    for (done, piece) in tokens.chunks_exact(context).take(pieces.max(1)).enumerate() {
        let scores = engine.score(&Batch::sequence(piece.to_vec(), &[0])?)?;
        found.extend(scores.nll[..context - 1].iter().map(|nll| -nll));
        on_piece(done + 1);
    }
    Ok(found)
}

/// Compares what [`log_probabilities`] found for a base and an extended model; `top` is in (0, 1].
pub fn impact(encoder: &Encoder, tokens: &[u32], context: usize, top: f64, [base, extended]: [&[f32]; 2]) -> Impact {
    let tags = encoder.vocabulary().tags(tokens);
    let predicted = tags.chunks_exact(context.max(1)).flat_map(|piece| piece.iter().skip(1).copied());
    let changes = extended.iter().zip(base).map(|(extended, base)| f64::from(extended - base));
    let scored: Vec<(Types, f64)> = predicted.zip(changes).collect();
    let impactful = most_changed(&scored, top);
    let total = scored.len().max(1) as f64;
    let mean_change = scored.iter().map(|(_, change)| change).sum::<f64>() / total;
    let kinds = TokenType::ALL.map(Some).into_iter().chain([None]);
    let types: Vec<TypeImpact> = kinds.map(|kind| of_type(kind, &scored, &impactful)).collect();
    Impact {
        context,
        tokens: scored.len(),
        top,
        mean_change,
        select: stands_out(&types, mean_change),
        types,
        protocol: protocol(context, top),
    }
}

/// The share `top` of the tokens that change most, by type; the first ones where changes are equal.
fn most_changed(scored: &[(Types, f64)], top: f64) -> Vec<Types> {
    let mut order: Vec<&(Types, f64)> = scored.iter().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let count = (top * scored.len() as f64).ceil() as usize;
    order.into_iter().take(count).map(|(types, _)| *types).collect()
}

fn type_of(types: Types) -> Option<TokenType> {
    TokenType::ALL.into_iter().find(|kind| types & bit(*kind) != 0)
}

fn of_type(kind: Option<TokenType>, scored: &[(Types, f64)], impactful: &[Types]) -> TypeImpact {
    let changes: Vec<f64> =
        scored.iter().filter(|(types, _)| type_of(*types) == kind).map(|(_, change)| *change).collect();
    let top = impactful.iter().filter(|types| type_of(**types) == kind).count();
    let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
    TypeImpact {
        name: kind.as_ref().map_or("other", TokenType::word),
        tokens: changes.len(),
        share: share(changes.len(), scored.len()),
        top_share: share(top, impactful.len()),
        mean_change: (!changes.is_empty()).then(|| changes.iter().sum::<f64>() / changes.len() as f64),
    }
}

fn stands_out(types: &[TypeImpact], mean: f64) -> Vec<TokenType> {
    let ratio = |found: &TypeImpact| found.ratio().unwrap_or(0.0);
    let stands =
        |found: &&(TokenType, &TypeImpact)| ratio(found.1) > 1.0 && found.1.mean_change.is_some_and(|c| c > mean);
    let pairs: Vec<(TokenType, &TypeImpact)> = TokenType::ALL.into_iter().zip(types).collect();
    let mut found: Vec<&(TokenType, &TypeImpact)> = pairs.iter().filter(stands).collect();
    found.sort_by(|a, b| ratio(b.1).total_cmp(&ratio(a.1)));
    found.into_iter().map(|(kind, _)| *kind).collect()
}

fn protocol(context: usize, top: f64) -> String {
    format!(
        "non-overlapping pieces of {context} tokens, each read whole by both models, teacher-forced: the base under the rope \
         and the attention that it was released with, the extended model under the recipe's. The change of a token is ln p \
         under the extended model less ln p under the base (the paper takes the difference of logits); the impactful tokens \
         are the {}% of all that change most. Numbers are words with a digit and numerals; the other types are closed lists \
         of English words, not tags of a parser; each token counts for the word that it is part of.",
        (1e6 * top).round() / 1e4
    )
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use tokenizers::Tokenizer;

    use super::*;
    use crate::data::chronicle;

    /// Two pieces of five tokens; the first of each is not predicted.
    #[test]
    fn changes_are_counted_by_type() {
        let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
        let encoder = Encoder::new(tokenizer, None, None).unwrap();
        let tokens = encoder.encode(" 47 the 11 of the and is 12 mill of").unwrap();
        assert_eq!(tokens.len(), 10);
        // the 11 of the | is 12 mill of
        let base = [-1.0; 8];
        let extended = [-1.0, 2.0, -0.5, -2.0, 0.0, 2.5, -1.0, -1.5];
        let found = impact(&encoder, &tokens, 5, 0.375, [&base, &extended]);
        let row = |name| found.types.iter().find(|row| row.name == name).unwrap();
        assert_eq!((found.tokens, row("num").tokens, row("num").share), (8, 2, 0.25));
        assert_eq!(row("num").mean_change, Some(3.25));
        // 12 (3.5), 11 (3.0), is (1.0).
        assert!((row("num").top_share - 2.0 / 3.0).abs() < 1e-12);
        assert!((row("aux").top_share - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((row("adp").tokens, row("adp").mean_change), (2, Some(0.0)));
        assert_eq!((row("pron").tokens, row("pron").mean_change, row("pron").ratio()), (0, None, None));
        assert_eq!((row("cconj").tokens, row("other").tokens), (0, 3));
        assert!((found.mean_change - 6.5 / 8.0).abs() < 1e-12);
        // num 2/3 ÷ 1/4, aux 1/3 ÷ 1/8: both 8/3, numbers first.
        assert_eq!(found.select, [TokenType::Num, TokenType::Aux]);
    }

    #[test]
    fn nothing_stands_out_where_nothing_changes() {
        let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
        let encoder = Encoder::new(tokenizer, None, None).unwrap();
        let tokens = encoder.encode(" 47 the 11 of the").unwrap();
        let found = impact(&encoder, &tokens, 5, 1.0, [&[-1.0; 4], &[-1.0; 4]]);
        assert_eq!((found.mean_change, found.select.len()), (0.0, 0));
    }
}
