//! The output head and its loss, a chunk of rows at a time: logits in f32, their gradients in the same memory.

use super::Cuda;
use super::buffer::{CudaBatch, CudaBuffer, decode};
use super::scratch::{Held, Use};
use crate::cross_entropy::cuda as kernels;
use crate::cuda::driver::{Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::Compiler;
use crate::device::{Head, HeadGrads, Scores};
use crate::linear::Write;
use crate::linear::cuda::{Factor, Number, Product, Products};

/// What every byte of a logit is that stands for no token: −1.7·10³⁸, which no other can be below.
const NO_TOKEN: u8 = 0xfe;

/// Everything that a chunk needs.
struct Chunks<'a, 'b, D: Driver + 'b, C: Compiler, P: Products<D, C>> {
    device: &'a Cuda<D, C, P>,
    queue: Queue<'a, D, C>,
    batch: &'a CudaBatch<D>,
    job: Head,
    /// Tokens of a row of logits: those that there are, up to a multiple of 8.
    width: usize,
    x: &'a CudaBuffer<D>,
    w: Region<'a>,
    grads: Option<HeadGrads<'b, Cuda<D, C, P>>>,
    logits: Held<'a, D>,
}

/// Loss and predictions of every row; gradients where they are asked for.
pub(super) fn run<D: Driver, C: Compiler, P: Products<D, C>>(
    device: &Cuda<D, C, P>,
    queue: Queue<'_, D, C>,
    batch: &CudaBatch<D>,
    job: Head,
    (x, w): (&CudaBuffer<D>, Region<'_>),
    grads: Option<HeadGrads<'_, Cuda<D, C, P>>>,
) -> Result<Scores> {
    let width = job.vocab.next_multiple_of(8);
    let logits = device.hold(Use::Logits, (4 * job.chunk.min(job.rows) * width) as u64)?;
    let results = device.hold(Use::Results, 8 * job.rows as u64)?;
    let chunks = Chunks { device, queue, batch, job, width, x, w, grads, logits };
    for from in (0..job.rows).step_by(job.chunk.max(1)) {
        let rows = job.chunk.min(job.rows - from);
        let predictions = results.from(4 * (job.rows + from) as u64);
        chunks.forward(from, rows, kernels::Scores { nll: results.from(4 * from as u64), predictions })?;
        chunks.backward(from, rows)?;
    }
    let found = device.fetch(&results, 8 * job.rows)?;
    let (nll, predictions) = found.split_at(4 * job.rows);
    let predictions = predictions.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four)).collect();
    Ok(Scores { nll: decode(nll, Number::F32), predictions })
}

impl<D: Driver, C: Compiler, P: Products<D, C>> Chunks<'_, '_, D, C, P> {
    fn forward(&self, from: usize, rows: usize, scores: kernels::Scores<'_>) -> Result<()> {
        let Head { hidden, vocab, grad_scale, .. } = self.job;
        let logits = self.logits.all();
        if self.width > vocab {
            let bytes = 4 * rows * self.width;
            let driver = self.queue.runtime().driver();
            driver.fill(self.queue.stream(), logits.need("logits", bytes), NO_TOKEN, bytes as u64)?;
        }
        let product = Product {
            rows,
            columns: vocab,
            inner: hidden,
            a: Factor::plain(self.x.from(from * hidden), hidden),
            b: Factor::transposed(self.w, hidden),
            c: logits,
            c_stride: self.width,
            number: Number::F32,
            scale: 1.0,
            write: Write::Set,
        };
        self.device.shared.products.multiply(self.queue, &product)?;
        let (targets, scale) = (self.batch.targets(from), self.grads.is_some().then_some(grad_scale));
        kernels::CrossEntropy { vocab: self.width }.rows(self.queue, (rows, vocab), logits, targets, scores, scale)
    }

    /// The rows of the logits' gradients are bf16, at the places of the logits.
    fn backward(&self, from: usize, rows: usize) -> Result<()> {
        let Some(HeadGrads { dx, dw }) = &self.grads else { return Ok(()) };
        let Head { hidden, vocab, .. } = self.job;
        let (dlogits, stride) = (self.logits.all(), 2 * self.width);
        let product = Product {
            rows,
            columns: hidden,
            inner: vocab,
            a: Factor::plain(dlogits, stride),
            b: Factor::plain(self.w, hidden),
            c: dx.from(from * hidden),
            c_stride: hidden,
            number: dx.number,
            scale: 1.0,
            write: Write::Set,
        };
        self.device.shared.products.multiply(self.queue, &product)?;
        let Some(dw) = dw else { return Ok(()) };
        let product = Product {
            rows: vocab,
            columns: hidden,
            inner: rows,
            a: Factor::transposed(dlogits, stride),
            b: Factor::plain(self.x.from(from * hidden), hidden),
            c: dw.f32(),
            c_stride: hidden,
            number: Number::F32,
            scale: 1.0,
            write: Write::Add,
        };
        self.device.shared.products.multiply(self.queue, &product)
    }
}
