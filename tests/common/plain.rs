//! A Llama in f64 whose heads mix full and streaming attention, written from the equations and for nothing but being right.

use context_recipe::data::{Batch, IGNORE};
use context_recipe::hub::Weights;
use context_recipe::plan::{Form, Llama};

/// Rows of f64.
type Matrix = Vec<Vec<f64>>;

/// A model whose gates learn.
pub(crate) struct Gated<'a> {
    pub(crate) model: &'a Llama,
    pub(crate) weights: &'a Weights,
    pub(crate) form: Form,
    pub(crate) sink: usize,
    pub(crate) recent: usize,
}

/// Mean over rows that count of the mean squared difference of the last hidden states; `gates` `[layers × G]`.
pub(crate) fn distance(at: &Gated<'_>, batch: &Batch, gates: &[f64]) -> f64 {
    let (full, attended) = hidden(at, batch, None, &[]);
    let (gated, _) = hidden(at, batch, Some(gates), &attended);
    let rows = batch.targets.iter().zip(full.iter().zip(&gated)).filter(|(target, _)| **target != IGNORE);
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64;
    rows.map(|(_, (a, b))| apart(a, b)).sum::<f64>() / batch.counted() as f64
}

/// The last hidden states, normed, and what each layer attended to. Without gates every head is full.
fn hidden(at: &Gated<'_>, batch: &Batch, gates: Option<&[f64]>, taught: &[Matrix]) -> (Matrix, Vec<Matrix>) {
    let embed = at.matrix("model.embed_tokens.weight");
    let mut x: Matrix = batch.tokens.iter().map(|token| embed[*token as usize].clone()).collect();
    let mut attended = vec![];
    for layer in 0..at.model.layers {
        let name = |tensor: &str| format!("model.layers.{layer}.{tensor}.weight");
        let normed = at.norm(&x, &name("input_layernorm"));
        let project = |tensor: &str| linear(&normed, &at.matrix(&name(&format!("self_attn.{tensor}_proj"))));
        let (q, k, v) = (at.turn(project("q"), batch), at.turn(project("k"), batch), project("v"));
        let full = at.attend(batch, [&q, &k, &v], usize::MAX);
        let mixed = match gates {
            None => full.clone(),
            Some(gates) => {
                let stream = at.attend(batch, [&q, &k, &v], at.recent);
                let through = if at.form == Form::Code { &taught[layer] } else { &full };
                at.mix(&gates[layer * at.model.kv_heads..], through, &stream)
            }
        };
        attended.push(full);
        add(&mut x, &linear(&mixed, &at.matrix(&name("self_attn.o_proj"))));
        let normed = at.norm(&x, &name("post_attention_layernorm"));
        let project = |tensor: &str| linear(&normed, &at.matrix(&name(&format!("mlp.{tensor}_proj"))));
        let mut act = project("gate");
        for (gate, up) in act.iter_mut().flatten().zip(project("up").into_iter().flatten()) {
            *gate *= up / (1.0 + (-*gate).exp());
        }
        add(&mut x, &linear(&act, &at.matrix(&name("mlp.down_proj"))));
    }
    (at.norm(&x, "model.norm.weight"), attended)
}

impl Gated<'_> {
    fn matrix(&self, name: &str) -> Matrix {
        let tensor = self.weights.get(name).expect("a weight of the fixture");
        let row = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect();
        tensor.data.chunks(*tensor.shape.last().expect("a shape")).map(row).collect()
    }

    fn norm(&self, x: &Matrix, name: &str) -> Matrix {
        let weight = &self.matrix(name)[0];
        let row = |x: &Vec<f64>| {
            let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            x.iter().zip(weight).map(|(x, w)| x / (square + self.model.norm_eps).sqrt() * w).collect()
        };
        x.iter().map(row).collect()
    }

    /// Rotary positions, the halves of a head rotated against each other.
    fn turn(&self, mut x: Matrix, batch: &Batch) -> Matrix {
        let (dim, half) = (self.model.head_dim, self.model.head_dim / 2);
        for (row, position) in x.iter_mut().zip(&batch.positions) {
            for head in row.chunks_mut(dim) {
                for pair in 0..half {
                    let slow = self.model.rope_theta.powf(-2.0 * pair as f64 / dim as f64);
                    let (sin, cos) = (f64::from(*position) * slow).sin_cos();
                    let (a, b) = (head[pair], head[pair + half]);
                    (head[pair], head[pair + half]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
        x
    }

    /// Each query's nearest `recent` keys and the first of its document.
    fn attend(&self, batch: &Batch, [q, k, v]: [&Matrix; 3], recent: usize) -> Matrix {
        let (dim, group, starts) = (self.model.head_dim, self.model.heads / self.model.kv_heads, batch.starts());
        let mut out = vec![vec![0.0; self.model.query_width()]; q.len()];
        for (row, out) in out.iter_mut().enumerate() {
            let start = starts[row];
            let seen: Vec<usize> = (start..=row).filter(|key| row - key < recent || key - start < self.sink).collect();
            for head in 0..self.model.heads {
                let (own, shared) = (head * dim, head / group * dim);
                let score = |key: &usize| {
                    (0..dim).map(|i| q[row][own + i] * k[*key][shared + i]).sum::<f64>() / (dim as f64).sqrt()
                };
                let weights: Vec<f64> = seen.iter().map(|key| score(key).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (key, weight) in seen.iter().zip(&weights) {
                    (0..dim).for_each(|i| out[own + i] += weight / sum * v[*key][shared + i]);
                }
            }
        }
        out
    }

    fn mix(&self, gates: &[f64], full: &Matrix, stream: &Matrix) -> Matrix {
        let group = self.model.heads / self.model.kv_heads * self.model.head_dim;
        let row = |(full, stream): (&Vec<f64>, &Vec<f64>)| {
            let mix = |(at, (full, stream)): (usize, (&f64, &f64))| {
                let alpha = gates[at / group];
                alpha * full + (1.0 - alpha) * stream
            };
            full.iter().zip(stream).enumerate().map(mix).collect()
        };
        full.iter().zip(stream).map(row).collect()
    }
}

/// x wᵀ.
fn linear(x: &Matrix, w: &Matrix) -> Matrix {
    let product = |x: &Vec<f64>, w: &Vec<f64>| x.iter().zip(w).map(|(x, w)| x * w).sum();
    x.iter().map(|x| w.iter().map(|w| product(x, w)).collect()).collect()
}

fn add(to: &mut Matrix, from: &Matrix) {
    to.iter_mut().flatten().zip(from.iter().flatten()).for_each(|(to, from)| *to += from);
}
