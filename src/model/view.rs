//! What the layers see of a batch: its tokens, where they stand, and what a query may look at.

use std::sync::Arc;

use dfdx::shapes::HasShape;
use kernels::attention::{Mask, Shape};
use kernels::dropout;
use kernels::rope::Tables;
use recipe_core::{AdaptPlan, Pattern, Plan, RopePlan, Target};

use super::error::Error;
use super::noise::{self, Noise};
use super::parts::{Part, Places, parts, places};
use super::tape::Hidden;

/// The rows of one forward pass; three slices of equal length T.
///
/// Positions and documents are two inputs: a jump in the positions is no border.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Rotary positions.
    pub positions: &'a [u32],
    /// First row of each row's document.
    pub starts: &'a [usize],
    /// Divides the model's own frequencies, in place of the recipe's law ([`Batch::stretch`](crate::data::Batch::stretch)).
    pub stretch: Option<u32>,
    /// Names the dropout of adapters' inputs; nothing is left out without a name.
    pub noise: Option<u64>,
}

/// What the plan says about a forward pass besides the weights.
#[derive(Clone, Debug)]
pub(super) struct Laws {
    pub(super) layers: Vec<Pattern>,
    pub(super) rope: RopePlan,
    pub(super) head_dim: usize,
    pub(super) norm_eps: f32,
    /// What the adapters' product is multiplied by.
    pub(super) adapter_scale: f32,
    /// Share of their inputs that adapters do not see in training.
    dropout: f64,
    pub(super) vocab: usize,
}

impl Laws {
    pub(super) fn of(plan: &Plan) -> Self {
        let adapter_scale = match plan.adapt {
            AdaptPlan::Lora { scale, .. } => scale,
            AdaptPlan::Full => 1.0,
        };
        Self {
            layers: plan.layers.to_vec(),
            rope: plan.rope.clone(),
            head_dim: plan.model.head_dim,
            norm_eps: plan.model.norm_eps as f32,
            adapter_scale: adapter_scale as f32,
            dropout: plan.adapt.dropout(),
            vocab: plan.model.vocab,
        }
    }
}

/// An [`Input`] made ready for the layers: rotary tables, document starts and the pattern of the layer at hand.
/// Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) laws: Arc<Laws>,
    pub(super) tokens: Arc<[u32]>,
    pub(super) tables: Arc<Tables>,
    /// Tables of the places that patterns give to rows.
    turned: Arc<[(Places, Tables)]>,
    starts: Arc<[usize]>,
    pattern: Pattern,
    layer: usize,
    adapter: u64,
    noise: Option<Noise>,
}

impl View {
    pub(super) fn new(laws: &Arc<Laws>, input: &Input<'_>) -> Result<Self, Error> {
        check(input, laws.vocab)?;
        // `dynamic` follows the length at hand, which Hugging Face takes to be the largest position + 1.
        let length = input.positions.iter().max().map_or(0, |&last| last as usize + 1);
        let inv_freq = laws.rope.stretched(input.stretch).inv_freq(length);
        let tables = |positions: &[u32]| Tables::new(&inv_freq, laws.rope.attention_factor(), positions);
        let turned = places(&laws.layers).into_iter().map(|places| {
            let rows = input.starts.iter().enumerate();
            (places, tables(&rows.map(|(row, start)| places.of(row - start)).collect::<Vec<_>>()))
        });
        Ok(Self {
            tokens: input.tokens.into(),
            tables: Arc::new(tables(input.positions)),
            turned: turned.collect(),
            starts: input.starts.into(),
            pattern: Pattern::Full,
            layer: 0,
            adapter: 0,
            noise: Noise::of(laws.dropout, input.noise),
            laws: Arc::clone(laws),
        })
    }

    /// The same rows under what `pattern` lets a query see.
    #[must_use]
    pub fn with_pattern(&self, pattern: Pattern) -> Self {
        Self { pattern, ..self.clone() }
    }

    /// The same rows as layer `layer` of the plan sees them; a layer that the plan does not have sees everything.
    #[must_use]
    pub fn of_layer(&self, layer: usize) -> Self {
        Self { layer, ..self.with_pattern(self.laws.layers.get(layer).copied().unwrap_or(Pattern::Full)) }
    }

    /// The same rows as the adapter on `target` of this layer sees them.
    pub(super) fn of_adapter(&self, target: Target) -> Self {
        Self { adapter: noise::adapter(self.layer, target), ..self.clone() }
    }

    /// What the adapter at hand does not see.
    pub(super) fn left_out(&self) -> Option<dropout::Mask> {
        self.noise.map(|noise| noise.mask(self.adapter))
    }

    /// Number of rows, T.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn check_rows<const C: usize, T>(&self, x: &Hidden<C, T>) -> Result<(), Error> {
        let (expected, got) = (self.rows(), x.shape().0);
        if expected == got { Ok(()) } else { Err(Error::Rows { expected, got }) }
    }

    /// What the layer sees, part by part.
    pub(super) fn parts(&self, shape: &Shape) -> Vec<Part> {
        parts(self.pattern, shape.heads, shape.kv_heads)
    }

    /// Whether parts turn queries and keys, each to its own places.
    pub(super) fn remaps(&self) -> bool {
        self.pattern.remaps()
    }

    pub(super) fn mask<'a>(&'a self, part: &'a Part) -> Mask<'a> {
        Mask { patterns: part.patterns(), query_row: 0, key_row: 0, starts: &self.starts }
    }

    /// The tables of a part's queries and keys; nothing where they are turned already.
    pub(super) fn turned(&self, part: &Part) -> [Option<&Tables>; 2] {
        let table = |places| self.turned.iter().find(|(made_for, _)| *made_for == places).map(|(_, table)| table);
        part.places.map_or([None; 2], |[query, key]| [table(query), table(key)])
    }

    /// Shape and scale of attention between `query` and `kv` features per row.
    pub(super) fn attention(&self, query: usize, kv: usize) -> (Shape, f32) {
        let (rows, head_dim) = (self.rows(), self.laws.head_dim);
        let shape = Shape { queries: rows, keys: rows, heads: query / head_dim, kv_heads: kv / head_dim, head_dim };
        (shape, (1.0 / (head_dim as f64).sqrt()) as f32)
    }
}

fn check(input: &Input<'_>, vocab: usize) -> Result<(), Error> {
    let tokens = input.tokens.len();
    for (what, got) in [("positions", input.positions.len()), ("starts", input.starts.len())] {
        if tokens == 0 || got != tokens {
            return Err(Error::Length { what, tokens, got });
        }
    }
    for (row, &token) in input.tokens.iter().enumerate() {
        if token as usize >= vocab {
            return Err(Error::Vocabulary { what: "token", row, id: token.into(), vocab });
        }
    }
    // Either the row opens its document, or it goes on with the one before.
    let sound = |row: usize, start: usize| start == row || (row > 0 && start == input.starts[row - 1]);
    match input.starts.iter().enumerate().find(|&(row, &start)| !sound(row, start)) {
        Some((row, &start)) => Err(Error::Start { row, start }),
        None => Ok(()),
    }
}

/// One target per row, each in the vocabulary or −100, and not all ignored.
pub(super) fn check_targets(view: &View, targets: &[i32]) -> Result<(), Error> {
    let (rows, vocab) = (view.rows(), view.laws.vocab);
    if targets.len() != rows {
        return Err(Error::Length { what: "targets", tokens: rows, got: targets.len() });
    }
    let ignored = kernels::cross_entropy::IGNORED;
    let known = |target: i32| target == ignored || usize::try_from(target).is_ok_and(|id| id < vocab);
    if let Some((row, &id)) = targets.iter().enumerate().find(|&(_, &target)| !known(target)) {
        return Err(Error::Vocabulary { what: "target", row, id: id.into(), vocab });
    }
    if targets.iter().all(|&target| target == ignored) {
        return Err(Error::NoTargets { rows });
    }
    Ok(())
}
