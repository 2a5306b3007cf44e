//! What a GPU holds besides numbers of the model: lists of rows and tiles, and sums on their way.

use super::{BF16, F32, product, sum, times};
use crate::pattern::Pattern;
use crate::plan::{Learns, Plan, StagePlan};
use crate::terms::{Device, Target};

/// What a query's row in a list of visible keys takes, and its share of the runs of tiles.
const ROW: usize = 33;
/// Fewest rows of a norm whose gradients are added up together, and most such sums.
const NORM_ROWS: usize = 16;
const NORM_SUMS: usize = 2048;
/// Attention's gradients have room for a multiple of as many queries.
const QUERY_ROWS: usize = 128;
/// What these sums may take, where one key/value head's take no more.
const QUERY_SUMS: u64 = 512 << 20;

impl Plan {
    pub(super) fn on_cuda(&self) -> bool {
        matches!(self.device, Device::Cuda { .. })
    }

    /// Tokens and targets of every table of places; loss and prediction of every row; which rows hold which token, where the
    /// embedding learns; which tiles of queries and keys see each other, for each pass and each pattern.
    pub(super) fn row_lists(&self, tokens: usize, stage: Option<&StagePlan>) -> u64 {
        if !self.on_cuda() {
            return 0;
        }
        let passes = if stage.is_some() { 2 } else { 1 };
        let tables = if self.remaps() { 4 } else { 1 };
        let occurrences = if stage.is_some() && self.adapt.trains_embedding() { 12 } else { 0 };
        let lists = times(passes, times(self.patterns(stage), ROW));
        product(&[tokens, sum(&[times(8, tables), 8, occurrences, lists])])
    }

    /// Lists of what heads see: of each pattern of the layers one, of those whose heads or parts differ one for each.
    fn patterns(&self, stage: Option<&StagePlan>) -> usize {
        let mut found: Vec<Pattern> = vec![];
        for pattern in self.layers.iter() {
            if !found.contains(pattern) {
                found.push(*pattern);
            }
        }
        let lists = |pattern: &Pattern| match pattern {
            Pattern::Full | Pattern::Window { .. } | Pattern::Strided { .. } => 1,
            Pattern::ShiftedGroups { .. } | Pattern::Duo { .. } | Pattern::SelfExtend { .. } => 2,
            Pattern::DualChunk { .. } => 3,
        };
        let streaming = stage.is_some_and(|stage| stage.learns != Learns::Weights);
        found.iter().map(lists).sum::<usize>() + usize::from(streaming)
    }

    /// The largest of what ops add up piece by piece: two numbers of each row and head of attention, with the gradients of the
    /// queries of some heads, and of every few rows a norm's gradient.
    pub(super) fn partial_sums(&self, tokens: usize, stage: &StagePlan) -> u64 {
        if !self.on_cuda() {
            return 0;
        }
        let model = &self.model;
        let norm =
            |rows: usize, width: usize| product(&[rows.div_ceil(rows.div_ceil(NORM_SUMS).max(NORM_ROWS)), width]);
        let norms = match stage.learns == Learns::Weights && self.adapt.trains_norms() {
            true if model.qk_norm => norm(tokens, model.hidden).max(norm(times(tokens, model.heads), model.head_dim)),
            true => norm(tokens, model.hidden),
            false => 0,
        };
        let rows = tokens.div_ceil(QUERY_ROWS).saturating_mul(QUERY_ROWS);
        let attention = product(&[2, rows, model.heads]).saturating_mul(F32).saturating_add(self.query_sums(rows));
        norms.saturating_mul(F32).max(attention)
    }

    /// dQ in f32, of as many key/value heads as are worked on together; none where it is added up in one order.
    fn query_sums(&self, rows: usize) -> u64 {
        let model = &self.model;
        if self.device.repeats() || model.kv_heads == 0 {
            return 0;
        }
        let head = product(&[rows, model.heads / model.kv_heads, model.head_dim]).saturating_mul(F32);
        head.saturating_mul((QUERY_SUMS / head.max(1)).clamp(1, model.kv_heads as u64))
    }

    /// A projection, unpacked while it is used.
    pub(super) fn unpacked(&self) -> u64 {
        let largest = Target::ALL.iter().map(|target| product(&target.shape(&self.model))).max();
        largest.unwrap_or(0).saturating_mul(BF16)
    }
}
