//! Skip positions: a short sequence carries the position ids of a long one, so that far distances are trained at a small
//! price.
//!
//! Positions are drawn for exactly the text that is used, anew for every sequence, and never tell where a document ends
//! (that is [`Batch::documents`]). A document's share of the sequence is its share of the positions.

mod cream;
mod spread;

use recipe_core::{Form, PositionsPlan, StagePlan};

use super::{Batch, Rng};

/// E2-LLM's first tokens, which no offset moves (arXiv 2401.06951).
const ANCHORED: usize = 4;

/// Gives sequence `index` of `stage` the stage's positions; `ends` says whether a token ends a sentence. A replay keeps its
/// own, under the scale of its step.
///
/// Afterwards no position reaches [`StagePlan::reach`].
pub fn apply(batch: &mut Batch, stage: &StagePlan, index: u64, ends: &dyn Fn(u32) -> bool) {
    if stage.positions == PositionsPlan::Contiguous {
        return;
    }
    let mut rng = Rng::new(&[POSITIONS, stage.seed, index]);
    let (total, starts) = (batch.len(), batch.starts());
    let mut from = if batch.replay { total } else { 0 };
    while from < total {
        let to = (from..total).find(|&row| starts[row] != from).unwrap_or(total);
        let reach = (stage.reach as u128 * (to - from) as u128 / total as u128) as usize;
        let scheme = Scheme { tokens: &batch.tokens[from..to], reach: reach.max(to - from), ends };
        let positions = scheme.draw(stage.positions, &mut rng);
        batch.positions[from..to].copy_from_slice(&positions);
        from = to;
    }
    if let PositionsPlan::E2 { scale_max, native } = stage.positions {
        stretch(batch, stage, index, [scale_max, native]);
    }
}

/// Keeps these draws apart from all others of the same seed.
const POSITIONS: u64 = 0x706f_7369_7469_6f6e;

/// One document whose positions are drawn.
struct Scheme<'a> {
    tokens: &'a [u32],
    /// Positions go up to here, exclusive; at least one per token.
    reach: usize,
    ends: &'a dyn Fn(u32) -> bool,
}

impl Scheme<'_> {
    /// A position per token, ascending from 0.
    fn draw(&self, plan: PositionsPlan, rng: &mut Rng) -> Vec<u32> {
        let (len, reach) = (self.tokens.len(), self.reach);
        match plan {
            PositionsPlan::Contiguous | PositionsPlan::E2 { .. } => (0..len as u32).collect(),
            PositionsPlan::LongRecipe => spread::segments(&self.sentences(), reach, rng),
            PositionsPlan::Random => spread::sorted(len, reach, rng),
            PositionsPlan::Pose { chunks, form: Form::Paper } => spread::chunks(len, reach, chunks, rng),
            PositionsPlan::Pose { form: Form::Code, .. } => spread::two_chunks(len, reach, rng),
            PositionsPlan::Cream { sigma } => cream::positions(len, reach, sigma, rng),
        }
    }

    /// Lengths of the sentences; a sentence ends with the token that ends it.
    fn sentences(&self) -> Vec<usize> {
        self.tokens.split_inclusive(|&token| (self.ends)(token)).map(<[u32]>::len).collect()
    }
}

/// E2-LLM: one scale per optimiser step, and one offset within the window that the scale makes; position m turns by
/// (m + offset) ÷ scale times the model's own frequency.
fn stretch(batch: &mut Batch, stage: &StagePlan, index: u64, [scale_max, native]: [usize; 2]) {
    let step = index / stage.batch.max(1) as u64;
    let scale = 1 + Rng::new(&[POSITIONS, stage.seed, step, 0]).below(scale_max);
    let room = (scale * native).saturating_sub(batch.len());
    let offset = Rng::new(&[POSITIONS, stage.seed, index, 1]).below(room + 1) as u32;
    let (starts, replay) = (batch.starts(), batch.replay);
    for (row, position) in batch.positions.iter_mut().enumerate() {
        if row - starts[row] >= ANCHORED && !replay {
            *position += offset;
        }
    }
    batch.stretch = Some(scale as u32);
}

#[cfg(test)]
mod tests;
