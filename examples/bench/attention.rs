//! Attention: one softmax over what the pattern shows, forward or forward and backward.

use std::hint::black_box;

use clap::Args;
use context_recipe::model::parts::{Part, parts};
use context_recipe::plan::{Llama, Pattern, Recipe, Rope, Stage, presets};
use kernels::attention::{Mask, Shape, backward, forward, merge};
use kernels::memory::Numbers;

use crate::measure::{Bound, Case, agree, numbers, zeros};
use crate::pattern;

/// One call of attention.
#[derive(Args, Clone, Debug)]
pub(crate) struct Attention {
    /// Queries and keys.
    #[arg(long, value_parser = pattern::length, default_value = "2048")]
    pub(crate) tokens: usize,
    /// Query heads.
    #[arg(long, default_value_t = 9)]
    pub(crate) heads: usize,
    /// Key/value heads, which the query heads share; as many as those.
    #[arg(long)]
    pub(crate) kv_heads: Option<usize>,
    /// Numbers of a head.
    #[arg(long, default_value_t = 64)]
    pub(crate) head_dim: usize,
    /// As `attention:` in a recipe: `full`, `window(1024, sink = 4)`, `duo(sparsity = 50%)` …
    #[arg(long, default_value = "full")]
    pub(crate) pattern: String,
    /// Tokens of a document, which sees nothing of the others; all in one.
    #[arg(long, value_parser = pattern::length)]
    pub(crate) document: Option<usize>,
    /// Forward and the gradients of queries, keys and values.
    #[arg(long)]
    pub(crate) backward: bool,
}

impl Attention {
    pub(crate) fn case(&self) -> Result<Case, String> {
        let shape = self.shape()?;
        let parts = parts(self.plan(&shape)?, shape.heads, shape.kv_heads);
        let document = self.document.unwrap_or(self.tokens).max(1);
        let starts: Vec<usize> = (0..self.tokens).map(|row| row / document * document).collect();
        let pairs: usize = parts.iter().map(|part| visible(&mask(part, &starts), &shape)).sum();
        let mut run = Run::new(shape, parts, starts);
        run.forward();
        run.check()?;
        let (backward, products) = (self.backward, if self.backward { 7 } else { 2 });
        // q, k, v in, out and log-sum-exp; and for gradients all of them again, and those of q, k, v and out.
        let arrays = if backward { 4.0 } else { 1.0 };
        Ok(Case {
            name: self.name(&shape),
            flops: (products * 2 * pairs * shape.head_dim) as f64,
            bytes: arrays * 8.0 * (self.tokens * (shape.heads + shape.kv_heads) * shape.head_dim) as f64,
            tokens: None,
            bound: Bound::Gemm,
            job: Box::new(move || {
                run.forward();
                if backward {
                    run.backward();
                }
                black_box(&run.out);
            }),
        })
    }

    fn shape(&self) -> Result<Shape, String> {
        let (heads, kv_heads) = (self.heads, self.kv_heads.unwrap_or(self.heads));
        if self.tokens == 0 || self.head_dim == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err("tokens and head_dim are at least 1, and kv_heads divides heads".to_owned());
        }
        Ok(Shape { queries: self.tokens, keys: self.tokens, heads, kv_heads, head_dim: self.head_dim })
    }

    /// What a layer of this pattern sees in training.
    fn plan(&self, shape: &Shape) -> Result<Pattern, String> {
        let Shape { heads, kv_heads, head_dim, .. } = *shape;
        // Patterns that bend distances do so beyond the model's own window.
        let context = self.tokens.div_ceil(4);
        let model = Llama { layers: 1, heads, kv_heads, head_dim, context, ..presets::smollm2_135m() };
        let attention = pattern::attention(&self.pattern, 1, kv_heads)?;
        let stage = Stage::extend(1, self.tokens, 1e-5);
        let mut recipe = Recipe::new(model, self.tokens).rope(Rope::None).attention(attention).train([stage]);
        recipe.context.native = Some(context);
        let plan = recipe.plan().map_err(|faults| faults[0].message.clone())?;
        Ok(plan.layers[0])
    }

    fn name(&self, shape: &Shape) -> String {
        let Shape { queries, heads, kv_heads, head_dim, .. } = shape;
        let documents = self.document.map_or(String::new(), |tokens| format!(", documents of {tokens}"));
        let direction = if self.backward { " with gradients" } else { "" };
        format!("attention {} T={queries} {heads}/{kv_heads}×{head_dim}{documents}{direction}", self.pattern)
    }
}

fn mask<'a>(part: &'a Part, starts: &'a [usize]) -> Mask<'a> {
    Mask { patterns: part.patterns(), query_row: 0, key_row: 0, starts }
}

/// Pairs of a query and a key, over all query heads.
fn visible(mask: &Mask<'_>, shape: &Shape) -> usize {
    let rows = (0..shape.heads).flat_map(|head| (0..shape.queries).map(move |row| (head, row)));
    rows.flat_map(|(head, row)| mask.ranges(head, row, shape.keys)).map(|range| range.len()).sum()
}

/// The buffers of a call.
struct Run {
    shape: Shape,
    parts: Vec<Part>,
    starts: Vec<usize>,
    scale: f32,
    q: Numbers,
    k: Numbers,
    v: Numbers,
    dout: Numbers,
    out: Numbers,
    lse: Numbers,
    /// Of the second part on.
    part_out: Numbers,
    part_lse: Numbers,
    gradients: [Numbers; 3],
}

impl Run {
    fn new(shape: Shape, parts: Vec<Part>, starts: Vec<usize>) -> Run {
        let query = shape.queries * shape.heads * shape.head_dim;
        let key = shape.keys * shape.kv_heads * shape.head_dim;
        let rows = shape.queries * shape.heads;
        let several = usize::from(parts.len() > 1);
        Run {
            scale: (shape.head_dim as f32).powf(-0.5),
            q: numbers(1, query),
            k: numbers(2, key),
            v: numbers(3, key),
            dout: numbers(4, query),
            out: zeros(query),
            lse: zeros(rows),
            part_out: zeros(query * several),
            part_lse: zeros(rows * several),
            gradients: [query, key, key].map(zeros),
            shape,
            parts,
            starts,
        }
    }

    fn forward(&mut self) {
        let Run { shape, parts, starts, scale, q, k, v, out, lse, part_out, part_lse, .. } = self;
        for (index, part) in parts.iter().enumerate() {
            let mask = mask(part, starts);
            if index == 0 {
                forward(shape, &mask, *scale, q, k, v, out, lse);
            } else {
                forward(shape, &mask, *scale, q, k, v, part_out, part_lse);
                merge(shape.head_dim, (out, lse), (part_out, part_lse));
            }
        }
    }

    fn backward(&mut self) {
        let Run { shape, parts, starts, scale, q, k, v, out, lse, dout, gradients: [dq, dk, dv], .. } = self;
        for part in parts.iter() {
            backward(shape, &mask(part, starts), *scale, q, k, v, out, lse, dout, dq, dk, dv);
        }
    }

    /// Some rows against the formula.
    fn check(&self) -> Result<(), String> {
        let Run { shape, .. } = self;
        for (row, head) in [(0, 0), (shape.queries / 2, shape.heads - 1), (shape.queries - 1, 0)] {
            let expected = self.naive(row, head);
            let got = &self.out[(row * shape.heads + head) * shape.head_dim..][..shape.head_dim];
            for (got, expected) in got.iter().zip(expected) {
                agree(&format!("out of row {row}, head {head}"), *got, expected, 1e-5)?;
            }
        }
        Ok(())
    }

    fn naive(&self, row: usize, head: usize) -> Vec<f64> {
        let Run { shape, q, k, v, scale, .. } = self;
        let dim = shape.head_dim;
        let query = &q[(row * shape.heads + head) * dim..][..dim];
        let (mut sum, mut out) = (0.0, vec![0.0; dim]);
        let keys = self.parts.iter().flat_map(|part| mask(part, &self.starts).ranges(head, row, shape.keys)).flatten();
        for key in keys {
            let at = (key * shape.kv_heads + head / (shape.heads / shape.kv_heads)) * dim;
            let score: f64 = query.iter().zip(&k[at..]).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
            let p = (score * f64::from(*scale)).exp();
            sum += p;
            out.iter_mut().zip(&v[at..]).for_each(|(out, &v)| *out += p * f64::from(v));
        }
        out.iter().map(|out| out / sum).collect()
    }
}
