//! Every op but attention: products beside the gemm ceiling, the rest beside the copy bandwidth.
//!
//! `cargo bench -p context-recipe-kernels --bench ops [-- NAME…]`

mod harness;

use harness::{copy_ceiling, fastest, gemm_ceiling, numbers};
use kernels::cross_entropy::{self, Job, Output};
use kernels::linear::{self, Dims, Write};
use kernels::{adamw, embedding, nf4, reduce, rms_norm, rope, swiglu};
use std::hint::black_box;

/// What an op is measured in: billions of operations, or of bytes read and written.
enum Work {
    Flops(f64),
    Bytes(usize),
}

struct Table {
    gemm: f64,
    copy: f64,
    only: Vec<String>,
}

fn main() {
    let only = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let table = Table { gemm: gemm_ceiling(), copy: copy_ceiling(), only };
    let threads = rayon::current_num_threads();
    println!("{threads} threads, gemm ceiling {:.1} GFLOP/s, copy ceiling {:.1} GB/s", table.gemm, table.copy);
    table.linear();
    table.loss();
    table.rows();
    table.weights();
}

impl Table {
    fn line(&self, name: &str, work: Work, job: impl FnMut()) {
        if !self.only.is_empty() && !self.only.iter().any(|o| name.contains(o.as_str())) {
            return;
        }
        let seconds = fastest(job);
        let (rate, unit, ceiling) = match work {
            Work::Flops(count) => (count / seconds / 1e9, "GFLOP/s", self.gemm),
            Work::Bytes(count) => (count as f64 / seconds / 1e9, "GB/s", self.copy),
        };
        println!("{name:36} {:9.3} ms {rate:8.1} {unit:7} {:4.0}%", seconds * 1e3, rate / ceiling * 100.0);
    }

    fn linear(&self) {
        for (rows, inputs, outputs) in [
            (4096, 128, 128),
            (4096, 128, 352),
            (4096, 352, 128),
            (4096, 128, 512),
            (2048, 576, 1536),
            (1, 576, 1536),
            (1, 576, 49152),
            (1, 128, 512),
            (4, 576, 1536),
        ] {
            let dims = Dims { rows, inputs, outputs };
            let (x, w) = (numbers(1, rows * inputs), numbers(2, outputs * inputs));
            let (mut y, mut dx, mut dw) = (vec![0.0; rows * outputs], vec![0.0; x.len()], vec![0.0; w.len()]);
            let name = format!("linear {rows}×{inputs}→{outputs}");
            let work = || match rows {
                1..8 => Work::Bytes(w.len() * 4),
                _ => Work::Flops(2.0 * (rows * inputs * outputs) as f64),
            };
            self.line(&name, work(), || linear::forward(dims, &x, &w, black_box(&mut y), 1.0, Write::Set));
            if rows > 8 {
                let dx_job = || linear::backward_input(dims, &y, &w, black_box(&mut dx), 1.0, Write::Add);
                self.line(&format!("{name} dx"), work(), dx_job);
                let dw_job = || linear::backward_weight(dims, &y, &x, black_box(&mut dw), 1.0, Write::Add);
                self.line(&format!("{name} dw"), work(), dw_job);
            }
        }
    }

    fn loss(&self) {
        for (tokens, hidden, vocab) in [(4096, 128, 512), (512, 576, 49152)] {
            let (x, w) = (numbers(1, tokens * hidden), numbers(2, vocab * hidden));
            let targets: Vec<i32> = (0..tokens).map(|t| (t * 7919 % vocab) as i32).collect();
            let chunk = cross_entropy::chunk_rows(vocab);
            let job = Job { hidden, vocab, x: &x, w: &w, targets: &targets, chunk, grad_scale: 1.0 };
            let (mut nll, mut dx, mut dw) = (vec![0.0; tokens], vec![0.0; x.len()], vec![0.0; w.len()]);
            let flops = |products: f64| Work::Flops(products * 2.0 * (tokens * hidden * vocab) as f64);
            let name = format!("loss {tokens}×{hidden}→{vocab}");
            self.line(&name, flops(1.0), || {
                let output = Output { nll: black_box(&mut nll), predictions: None, dx: None, dw: None };
                cross_entropy::run(&job, output);
            });
            self.line(&format!("{name} with gradients"), flops(3.0), || {
                let output = Output { nll: &mut nll, predictions: None, dx: Some(&mut dx), dw: Some(&mut dw) };
                cross_entropy::run(&job, output);
            });
        }
    }

    fn rows(&self) {
        const T: usize = 8192;
        const C: usize = 576;
        let bytes = |arrays: usize| Work::Bytes(arrays * T * C * 4);
        let (x, dy, weight) = (numbers(1, T * C), numbers(2, T * C), numbers(3, C));
        let (mut y, mut z, mut dweight) = (vec![0.0; T * C], numbers(4, T * C), vec![0.0; C]);
        self.line("rms_norm forward", bytes(2), || rms_norm::forward(&x, &weight, 1e-5, black_box(&mut y)));
        self.line("rms_norm backward", bytes(4), || {
            rms_norm::backward(&x, &weight, 1e-5, &dy, black_box(&mut y), Some(&mut dweight));
        });
        let inv_freq: Vec<f64> = (0..32).map(|i| 10000f64.powf(-f64::from(i) / 32.0)).collect();
        let positions: Vec<u32> = (0..T as u32).collect();
        let tables = rope::Tables::new(&inv_freq, 1.0, &positions);
        self.line("rope tables", Work::Bytes(T * 64 * 4), || {
            black_box(rope::Tables::new(&inv_freq, 1.0, &positions));
        });
        self.line("rope", Work::Bytes(2 * T * C * 4 + tables.bytes()), || {
            rope::apply(&tables, C / 64, black_box(&mut y), rope::Direction::Forward);
        });
        self.line("swiglu forward", bytes(3), || swiglu::forward(&x, &dy, black_box(&mut y)));
        self.line("swiglu backward", bytes(5), || swiglu::backward(&x, black_box(&mut y), &mut z));
        let ids: Vec<u32> = (0..T as u32).map(|t| t * 7919 % 4096).collect();
        let mut table = numbers(5, 4096 * C);
        self.line("embedding forward", bytes(2), || embedding::forward(&ids, &table, black_box(&mut y)));
        self.line("embedding backward", bytes(3), || embedding::backward(&ids, &x, black_box(&mut table)));
    }

    fn weights(&self) {
        const LEN: usize = 16 << 20;
        let (mut param, grad) = (numbers(1, LEN), numbers(2, LEN));
        let (mut m, mut v) = (vec![0.0; LEN], vec![0.0; LEN]);
        let hyper =
            adamw::Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 10, grad_scale: 1.0 };
        self.line("adamw", Work::Bytes(LEN * 28), || adamw::step(&hyper, black_box(&mut param), &grad, &mut m, &mut v));
        self.line("sum of squares", Work::Bytes(LEN * 4), || {
            black_box(reduce::sum_of_squares(&grad));
        });
        let packed = nf4::quantize(&grad);
        self.line("nf4 quantize", Work::Bytes(LEN * 4 + packed.bytes()), || {
            black_box(nf4::quantize(&grad));
        });
        self.line("nf4 dequantize", Work::Bytes(LEN * 4 + packed.bytes()), || {
            packed.dequantize_into(0..LEN, black_box(&mut param));
        });
    }
}
