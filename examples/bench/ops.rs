//! Every op but attention, each checked at a few places against its formula before it is clocked.

use std::hint::black_box;

use clap::Args;
use kernels::cross_entropy::{self, Job, Output};
use kernels::linear::{self, Dims, Write};
use kernels::{adamw, embedding, nf4, rms_norm, rope, swiglu};

use crate::measure::{Bound, Case, agree, numbers, zeros};

/// A product y = x wᵀ.
#[derive(Args, Clone, Debug)]
pub(crate) struct Gemm {
    /// Rows of x.
    #[arg(long, default_value_t = 2048)]
    pub(crate) rows: usize,
    /// Columns of x.
    #[arg(long, default_value_t = 576)]
    pub(crate) inputs: usize,
    /// Columns of y.
    #[arg(long, default_value_t = 1536)]
    pub(crate) outputs: usize,
    /// The gradients of x and w too.
    #[arg(long)]
    pub(crate) backward: bool,
}

impl Gemm {
    pub(crate) fn case(&self) -> Result<Case, String> {
        let Gemm { rows, inputs, outputs, backward } = *self;
        let dims = Dims { rows, inputs, outputs };
        let (x, w) = (numbers(1, rows * inputs), numbers(2, outputs * inputs));
        let (mut y, mut dx, mut dw) = (zeros(rows * outputs), zeros(x.len()), zeros(w.len()));
        linear::forward(dims, &x, &w, &mut y, 1.0, Write::Set);
        let dot = |row: usize, out: usize| -> f64 {
            let terms = x[row * inputs..][..inputs].iter().zip(&w[out * inputs..][..inputs]);
            terms.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        for (row, out) in [(0, 0), (rows - 1, outputs - 1), (rows / 2, outputs / 3)] {
            agree("y", y[row * outputs + out], dot(row, out), 1e-4)?;
        }
        let products = if backward { 3.0 } else { 1.0 };
        Ok(Case {
            name: format!("gemm {rows}×{inputs}→{outputs}{}", if backward { " with gradients" } else { "" }),
            flops: products * 2.0 * (rows * inputs * outputs) as f64,
            bytes: products * 4.0 * (x.len() + w.len() + y.len()) as f64,
            tokens: None,
            bound: if rows < 16 { Bound::Read } else { Bound::Gemm },
            job: Box::new(move || {
                linear::forward(dims, &x, &w, black_box(&mut y), 1.0, Write::Set);
                if backward {
                    linear::backward_input(dims, &y, &w, black_box(&mut dx), 1.0, Write::Set);
                    linear::backward_weight(dims, &y, &x, black_box(&mut dw), 1.0, Write::Add);
                }
            }),
        })
    }
}

/// Rows of numbers.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rows {
    /// Rows.
    #[arg(long, default_value_t = 32768)]
    pub(crate) tokens: usize,
    /// Numbers in a row.
    #[arg(long, default_value_t = 576)]
    pub(crate) hidden: usize,
    /// The gradients alone.
    #[arg(long)]
    pub(crate) backward: bool,
}

impl Rows {
    fn len(&self) -> usize {
        self.tokens * self.hidden
    }

    /// A case that reads or writes `arrays` arrays of T × C numbers.
    fn case(&self, name: &str, arrays: usize, job: Box<dyn FnMut()>) -> Case {
        let backward = if self.backward { " gradients" } else { "" };
        Case {
            name: format!("{name}{backward} {}×{}", self.tokens, self.hidden),
            flops: 0.0,
            bytes: (arrays * self.len() * 4) as f64,
            tokens: None,
            bound: Bound::Copy,
            job,
        }
    }

    pub(crate) fn norm(&self) -> Result<Case, String> {
        const EPS: f32 = 1e-5;
        let (x, dy, weight) = (numbers(1, self.len()), numbers(2, self.len()), numbers(3, self.hidden));
        let (mut y, mut dweight) = (zeros(self.len()), zeros(self.hidden));
        rms_norm::forward(&x, &weight, EPS, &mut y);
        let square: f64 = x[..self.hidden].iter().map(|&x| f64::from(x).powi(2)).sum();
        let rms = (square / self.hidden as f64 + f64::from(EPS)).sqrt();
        agree("y", y[1], f64::from(x[1]) / rms * f64::from(weight[1]), 1e-5)?;
        Ok(match self.backward {
            false => self.case("norm", 2, Box::new(move || rms_norm::forward(&x, &weight, EPS, black_box(&mut y)))),
            true => self.case(
                "norm",
                4,
                Box::new(move || rms_norm::backward(&x, &weight, EPS, &dy, black_box(&mut y), Some(&mut dweight))),
            ),
        })
    }

    pub(crate) fn swiglu(&self) -> Result<Case, String> {
        let (gate, up) = (numbers(1, self.len()), numbers(2, self.len()));
        let mut out = zeros(self.len());
        swiglu::forward(&gate, &up, &mut out);
        let silu = f64::from(gate[7]) / (1.0 + (-f64::from(gate[7])).exp());
        agree("out", out[7], silu * f64::from(up[7]), 1e-5)?;
        let (mut gate_back, mut up_back) = (numbers(1, self.len()), numbers(2, self.len()));
        Ok(match self.backward {
            false => self.case("swiglu", 3, Box::new(move || swiglu::forward(&gate, &up, black_box(&mut out)))),
            // Gradients take the place of gate and up; small ones keep the numbers finite over many runs.
            true => self.case(
                "swiglu",
                5,
                Box::new(move || swiglu::backward(&out, black_box(&mut gate_back), black_box(&mut up_back))),
            ),
        })
    }

    pub(crate) fn embedding(&self) -> Result<Case, String> {
        const VOCAB: usize = 8192;
        let ids: Vec<u32> = (0..self.tokens).map(|t| (t * 7919 % VOCAB) as u32).collect();
        let (mut table, mut x) = (numbers(1, VOCAB * self.hidden), zeros(self.len()));
        embedding::forward(&ids, &table, &mut x);
        let row = self.tokens - 1;
        let expected = f64::from(table[ids[row] as usize * self.hidden]);
        agree("x", x[row * self.hidden], expected, 0.0)?;
        Ok(match self.backward {
            false => self.case("embedding", 2, Box::new(move || embedding::forward(&ids, &table, black_box(&mut x)))),
            true => self.case("embedding", 3, Box::new(move || embedding::backward(&ids, &x, black_box(&mut table)))),
        })
    }

    /// x += y, the residual stream.
    pub(crate) fn residual(&self) -> Result<Case, String> {
        use kernels::device::{Cpu, Device};
        let device = Cpu::new();
        let upload = |seed| device.upload(&numbers(seed, self.len())).map_err(|error| error.to_string());
        let (from, mut to, len) = (upload(1)?, upload(2)?, self.len());
        let before = (device.download(&from, 4)[3], device.download(&to, 4)[3]);
        device.add(&from, &mut to, len);
        agree("x", device.download(&to, 4)[3], f64::from(before.0) + f64::from(before.1), 1e-6)?;
        Ok(self.case("residual", 3, Box::new(move || device.add(&from, black_box(&mut to), len))))
    }
}

/// Rotary embedding.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rope {
    /// Rows.
    #[arg(long, default_value_t = 32768)]
    pub(crate) tokens: usize,
    /// Heads.
    #[arg(long, default_value_t = 9)]
    pub(crate) heads: usize,
    /// Numbers of a head.
    #[arg(long, default_value_t = 64)]
    pub(crate) head_dim: usize,
}

impl Rope {
    pub(crate) fn case(&self) -> Result<Case, String> {
        let Rope { tokens, heads, head_dim } = *self;
        let half = head_dim / 2;
        let inv_freq: Vec<f64> = (0..half).map(|i| 10000f64.powf(-(i as f64) / half as f64)).collect();
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let tables = rope::Tables::new(&inv_freq, 1.0, &positions);
        let mut x = numbers(1, tokens * heads * head_dim);
        let (row, before) = ((tokens - 1) * heads * head_dim, x.to_vec());
        rope::apply(&tables, heads, &mut x, rope::Direction::Forward);
        let (sin, cos) = (inv_freq[1] * (tokens - 1) as f64).sin_cos();
        let [a, b] = [row + 1, row + half + 1].map(|at| f64::from(before[at]));
        agree("x", x[row + 1], a * cos - b * sin, 1e-5)?;
        Ok(Case {
            name: format!("rope {tokens}×{heads}×{head_dim}"),
            flops: 0.0,
            bytes: (2 * x.len() * 4 + tables.bytes()) as f64,
            tokens: None,
            bound: Bound::Copy,
            job: Box::new(move || rope::apply(&tables, heads, black_box(&mut x), rope::Direction::Forward)),
        })
    }
}

/// The output head fused with cross-entropy.
#[derive(Args, Clone, Debug)]
pub(crate) struct Loss {
    /// Rows.
    #[arg(long, default_value_t = 2048)]
    pub(crate) tokens: usize,
    /// Numbers of a row.
    #[arg(long, default_value_t = 576)]
    pub(crate) hidden: usize,
    /// Rows of the output matrix.
    #[arg(long, default_value_t = 49152)]
    pub(crate) vocab: usize,
    /// The gradients of rows and matrix too.
    #[arg(long)]
    pub(crate) backward: bool,
}

impl Loss {
    pub(crate) fn case(&self) -> Result<Case, String> {
        let Loss { tokens, hidden, vocab, backward } = *self;
        let (x, w) = (numbers(1, tokens * hidden), numbers(2, vocab * hidden));
        let targets: Vec<i32> = (0..tokens).map(|t| (t * 7919 % vocab) as i32).collect();
        let (mut nll, mut dx, mut dw) = (zeros(tokens), zeros(x.len()), zeros(w.len()));
        let chunk = cross_entropy::chunk_rows(vocab);
        let mut logits = zeros(cross_entropy::logits_len(vocab, tokens, chunk));
        let mut run = move |nll: &mut [f32]| {
            let job = Job { hidden, vocab, x: &x, w: &w, targets: &targets, chunk, grad_scale: 1.0 };
            let (dx, dw) = (backward.then_some(&mut dx[..]), backward.then_some(&mut dw[..]));
            cross_entropy::run(&job, Output { nll, predictions: None, dx, dw }, &mut logits);
        };
        run(&mut nll);
        let (x, w) = (numbers(1, hidden), numbers(2, vocab * hidden));
        let logit = |token: usize| -> f64 {
            x.iter().zip(&w[token * hidden..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let logits: Vec<f64> = (0..vocab).map(logit).collect();
        let largest = logits.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let lse = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        agree("nll", nll[0], lse - logits[0], 1e-4)?;
        let products = if backward { 3.0 } else { 1.0 };
        Ok(Case {
            name: format!("loss {tokens}×{hidden}→{vocab}{}", if backward { " with gradients" } else { "" }),
            flops: products * 2.0 * (tokens * hidden * vocab) as f64,
            bytes: products * 4.0 * (vocab * hidden) as f64,
            tokens: None,
            bound: Bound::Gemm,
            job: Box::new(move || run(black_box(&mut nll))),
        })
    }
}

/// Weights, one after the other.
#[derive(Args, Clone, Debug)]
pub(crate) struct Weights {
    /// How many.
    #[arg(long, default_value_t = 16 << 20)]
    pub(crate) params: usize,
}

impl Weights {
    fn case(&self, name: &str, bytes: usize, job: Box<dyn FnMut()>) -> Case {
        let name = format!("{name} {}M", self.params >> 20);
        Case { name, flops: 0.0, bytes: bytes as f64, tokens: None, bound: Bound::Copy, job }
    }

    /// With moments in f32, or in 8 bits.
    pub(crate) fn adamw(&self, packed: bool) -> Result<Case, String> {
        let (mut param, grad) = (numbers(1, self.params), numbers(2, self.params));
        let hyper =
            adamw::Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 1, grad_scale: 1.0 };
        // Adam's first step is the learning rate in the gradient's direction.
        let expected = f64::from(param[5]) * (1.0 - 1e-4) - 1e-3 * f64::from(grad[5].signum());
        let check = |param: &[f32]| agree("weight", param[5], expected, 1e-6);
        if packed {
            let mut moments = adamw::eight_bit::Moments::zeros(self.params);
            adamw::step_8bit(&hyper, &mut param, &grad, &mut moments);
            check(&param)?;
            let bytes = self.params * 12 + 2 * adamw::eight_bit::Moments::bytes_of(self.params) as usize;
            let job = move || adamw::step_8bit(&hyper, black_box(&mut param), &grad, &mut moments);
            return Ok(self.case("adamw 8 bits", bytes, Box::new(job)));
        }
        let (mut m, mut v) = (zeros(self.params), zeros(self.params));
        adamw::step(&hyper, &mut param, &grad, &mut m, &mut v);
        check(&param)?;
        let job = move || adamw::step(&hyper, black_box(&mut param), &grad, &mut m, &mut v);
        Ok(self.case("adamw", self.params * 28, Box::new(job)))
    }

    /// From f32 to four bits, or back.
    pub(crate) fn nf4(&self, back: bool) -> Result<Case, String> {
        let values = numbers(1, self.params);
        let packed = nf4::quantize(&values);
        let mut out = zeros(self.params);
        packed.dequantize_into(0..self.params, &mut out);
        // Half of NF4's widest gap, of numbers up to 1, and the scale's own rounding.
        agree("weight", out[9], f64::from(values[9]), 0.16)?;
        let bytes = self.params * 4 + packed.bytes();
        let len = self.params;
        Ok(match back {
            false => self.case("nf4 quantize", bytes, Box::new(move || drop(black_box(nf4::quantize(&values))))),
            true => self.case(
                "nf4 dequantize",
                bytes,
                Box::new(move || packed.dequantize_into(0..len, black_box(&mut out))),
            ),
        })
    }
}
