//! The CPU as a device: f32 buffers that are counted, and the ops of this crate.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Attention, Device, Distance, Error, Format, GateGrads, Grads, Head, HeadGrads, Linear, Partial, Product, Result,
    Rows, Saved, Scores, Slot, Weight,
};
use rayon::prelude::*;

use crate::adamw::eight_bit;
use crate::linear::Write;
use crate::memory::{self, Arena, Numbers};
use crate::nf4::Nf4;
use crate::q8_0::Q8_0;
use crate::simd::Isa;
use crate::{
    adamw, attention, bias, cross_entropy, distance, dropout, embedding, gate, linear, nf4, q8_0, reduce, rms_norm,
    rope, swiglu,
};

/// Live and peak bytes of a device's buffers.
#[derive(Debug)]
struct Meter {
    live: AtomicU64,
    peak: AtomicU64,
    limit: u64,
}

impl Meter {
    fn take(&self, bytes: u64) -> Result<()> {
        let live = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if live > self.limit {
            self.give(bytes);
            return Err(Error::OutOfMemory { requested: bytes, live: live - bytes, limit: self.limit });
        }
        self.peak.fetch_max(live, Ordering::Relaxed);
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The CPU: every thread of the rayon pool, f32 throughout.
#[derive(Clone, Debug)]
pub struct Cpu {
    meter: Arc<Meter>,
    arena: Arc<Arena>,
    /// Where a quantised matrix is unpacked for the product that needs it.
    unpacked: Arc<Mutex<Vec<f32>>>,
    /// The logits of the rows at hand.
    logits: Arc<Mutex<Option<CpuBuffer>>>,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// A CPU with as much memory as the system gives.
    pub fn new() -> Self {
        Self::with_limit(u64::MAX)
    }

    /// A CPU whose buffers may not hold more than `limit` bytes at once.
    pub fn with_limit(limit: u64) -> Self {
        let meter = Meter { live: AtomicU64::new(0), peak: AtomicU64::new(0), limit };
        Self { meter: Arc::new(meter), arena: Arc::default(), unpacked: Arc::default(), logits: Arc::default() }
    }

    /// The system has no memory left for this many bytes.
    fn exhausted(&self, requested: u64) -> Error {
        Error::OutOfMemory { requested, live: self.memory().0, limit: u64::MAX }
    }

    /// `len` numbers of memory that stays for the next call.
    fn keep<'a>(&self, kept: &'a mut Option<CpuBuffer>, len: usize) -> Result<&'a mut [f32]> {
        let buffer = match kept.take().filter(|buffer| buffer.data.len() >= len) {
            Some(buffer) => buffer,
            None => self.zeros(len)?,
        };
        Ok(&mut kept.insert(buffer).data[..len])
    }

    /// Runs `job` on a quantised matrix, a tile of it unpacked at a time.
    fn with_tiles(&self, matrix: &CpuQuantized, dims: linear::Dims, job: impl FnOnce(linear::Packed<'_>)) {
        let len = linear::TILE.min(dims.inputs * dims.outputs).max(dims.inputs);
        self.with_unpacked(len, |tile| {
            let unpack = |range: Range<usize>, to: &mut [f32]| matrix.unpack(range, to);
            job(linear::Packed { unpack: &unpack, tile });
        });
    }

    /// Runs `job` with memory for `len` unpacked weights, which is kept for the next one.
    fn with_unpacked<T>(&self, len: usize, job: impl FnOnce(&mut [f32]) -> T) -> T {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if unpacked.len() < len {
            let grown = 4 * (len - unpacked.len()) as u64;
            let live = self.meter.live.fetch_add(grown, Ordering::Relaxed) + grown;
            self.meter.peak.fetch_max(live, Ordering::Relaxed);
            unpacked.resize(len, 0.0);
        }
        job(&mut unpacked[..len])
    }

    /// Runs `job` on the matrix as f32, unpacking it first where it is quantised.
    fn with_dense<T>(&self, weight: &Weight<Self>, len: usize, job: impl FnOnce(&[f32]) -> T) -> T {
        match weight {
            Weight::Dense(buffer) => job(&buffer.data[..len]),
            Weight::Quantized(matrix) => self.with_unpacked(len, |unpacked| {
                matrix.unpack(0..len, unpacked);
                job(unpacked)
            }),
        }
    }
}

/// Numbers that a thread moves at once.
const CHUNK: usize = 1 << 15;

fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// A claim on the meter, given back when dropped.
#[derive(Debug)]
struct Counted {
    meter: Arc<Meter>,
    bytes: u64,
}

impl Counted {
    fn new(meter: &Arc<Meter>, bytes: u64) -> Result<Self> {
        meter.take(bytes)?;
        Ok(Self { meter: Arc::clone(meter), bytes })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.give(self.bytes);
    }
}

/// f32 numbers that the device counts.
#[derive(Debug)]
pub struct CpuBuffer {
    data: Numbers,
    _counted: Arc<Counted>,
}

/// A quantised matrix that the device counts.
#[derive(Debug)]
pub struct CpuQuantized {
    blocks: Blocks,
    _counted: Counted,
}

#[derive(Debug)]
enum Blocks {
    Nf4(Nf4),
    Q8_0(Q8_0),
}

impl CpuQuantized {
    fn len(&self) -> usize {
        match &self.blocks {
            Blocks::Nf4(blocks) => blocks.len,
            Blocks::Q8_0(blocks) => blocks.len(),
        }
    }

    fn unpack(&self, range: Range<usize>, to: &mut [f32]) {
        match &self.blocks {
            Blocks::Nf4(blocks) => blocks.dequantize_into(range, to),
            Blocks::Q8_0(blocks) => blocks.dequantize_into(range, to),
        }
    }
}

/// AdamW's moments in 8 bits that the device counts.
#[derive(Debug)]
pub struct CpuMoments {
    moments: eight_bit::Moments,
    _counted: Counted,
}

/// [`Rows`] on the CPU.
#[derive(Debug)]
pub struct CpuBatch {
    tokens: Vec<u32>,
    starts: Vec<usize>,
    targets: Vec<i32>,
    head_dim: usize,
    tables: rope::Tables,
}

impl Device for Cpu {
    type Buffer = CpuBuffer;
    type Quantized = CpuQuantized;
    type Moments = CpuMoments;
    type Batch = CpuBatch;
    /// There is no outside: more of the same memory.
    type Away = CpuBuffer;

    fn describe(&self) -> Result<String> {
        Ok(Isa::best().name().to_owned())
    }

    /// On a thread of the pool: from outside, every op would wait for one to wake up.
    fn run<T: Send>(job: impl FnOnce() -> T + Send) -> T {
        rayon::scope(|_| job())
    }

    fn zeros(&self, len: usize) -> Result<CpuBuffer> {
        let bytes = 4 * len as u64;
        let counted = Counted::new(&self.meter, bytes)?;
        let data = self.arena.zeros(len).ok_or_else(|| self.exhausted(bytes))?;
        Ok(CpuBuffer { data, _counted: Arc::new(counted) })
    }

    fn arena(&self, slots: &[Slot]) -> Result<Vec<CpuBuffer>> {
        let bytes = slots.iter().fold(0, |sum: u64, slot| sum.saturating_add(4 * slot.len as u64));
        let all = Arc::new(Counted::new(&self.meter, bytes)?);
        let lens: Vec<usize> = slots.iter().map(|slot| slot.len).collect();
        let together = memory::together(&lens).ok_or_else(|| self.exhausted(bytes))?;
        Ok(together.into_iter().map(|data| CpuBuffer { data, _counted: Arc::clone(&all) }).collect())
    }

    fn upload(&self, data: &[f32]) -> Result<CpuBuffer> {
        let mut buffer = self.zeros(data.len())?;
        copy(data, &mut buffer.data);
        Ok(buffer)
    }

    fn download(&self, from: &CpuBuffer, len: usize) -> Vec<f32> {
        from.data[..len].to_vec()
    }

    fn write(&self, data: &[f32], to: &mut CpuBuffer) {
        copy(data, &mut to.data[..data.len()]);
    }

    fn clear(&self, buffer: &mut CpuBuffer, len: usize) {
        buffer.data[..len].par_chunks_mut(CHUNK).for_each(|chunk| chunk.fill(0.0));
    }

    fn copy(&self, from: &CpuBuffer, to: &mut CpuBuffer, len: usize) {
        copy(&from.data[..len], &mut to.data[..len]);
    }

    fn copy_range(&self, from: &CpuBuffer, from_offset: usize, to: &mut CpuBuffer, to_offset: usize, len: usize) {
        copy(&from.data[from_offset..from_offset + len], &mut to.data[to_offset..to_offset + len]);
    }

    fn copy_columns(
        &self,
        rows: usize,
        width: usize,
        (from, from_offset, from_step): (&CpuBuffer, usize, usize),
        (to, to_offset, to_step): (&mut CpuBuffer, usize, usize),
    ) {
        for row in 0..rows {
            let (source, target) = (from_offset + row * from_step, to_offset + row * to_step);
            to.data[target..target + width].copy_from_slice(&from.data[source..source + width]);
        }
    }

    fn move_within(&self, buffer: &mut CpuBuffer, from_offset: usize, to_offset: usize, len: usize) {
        buffer.data.copy_within(from_offset..from_offset + len, to_offset);
    }

    fn add(&self, from: &CpuBuffer, to: &mut CpuBuffer, len: usize) {
        let chunks = to.data[..len].par_chunks_mut(CHUNK).zip(from.data[..len].par_chunks(CHUNK));
        chunks.for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
    }

    fn away(&self, len: usize) -> Result<CpuBuffer> {
        self.zeros(len)
    }

    fn send(&self, from: &CpuBuffer, to: &mut CpuBuffer, len: usize) {
        self.copy(from, to, len);
    }

    fn bring(&self, from: &CpuBuffer, to: &mut CpuBuffer, len: usize) {
        self.copy(from, to, len);
    }

    fn settle(&self, _: &CpuBuffer) {}

    fn memory_away(&self) -> u64 {
        0
    }

    fn quantize(&self, data: &[f32], format: Format) -> Result<CpuQuantized> {
        let (blocks, bytes) = match format {
            Format::Nf4 => {
                let blocks = nf4::quantize(data);
                let bytes = blocks.bytes();
                (Blocks::Nf4(blocks), bytes)
            }
            Format::Q8_0 => {
                let blocks = q8_0::quantize(&self.arena, data)
                    .ok_or_else(|| self.exhausted(q8_0::bytes_of(data.len()) as u64))?;
                let bytes = blocks.bytes();
                (Blocks::Q8_0(blocks), bytes)
            }
        };
        Ok(CpuQuantized { blocks, _counted: Counted::new(&self.meter, bytes as u64)? })
    }

    fn dequantize(&self, from: &CpuQuantized) -> Vec<f32> {
        let mut data = vec![0.0; from.len()];
        from.unpack(0..from.len(), &mut data);
        data
    }

    fn batch(&self, rows: &Rows<'_>) -> Result<CpuBatch> {
        Ok(CpuBatch {
            tokens: rows.tokens.to_vec(),
            starts: rows.starts.to_vec(),
            targets: rows.targets.to_vec(),
            head_dim: 2 * rows.inv_freq.len(),
            tables: rope::Tables::new(rows.inv_freq, rows.attention_factor, rows.positions),
        })
    }

    fn memory(&self) -> (u64, u64) {
        (self.meter.live.load(Ordering::Relaxed), self.meter.peak.load(Ordering::Relaxed))
    }

    fn embed(&self, batch: &CpuBatch, table: &Weight<Self>, hidden: usize, x: &mut CpuBuffer) {
        let x = &mut x.data[..batch.tokens.len() * hidden];
        match table {
            Weight::Dense(table) => embedding::forward(&batch.tokens, &table.data, x),
            Weight::Quantized(table) => {
                for (x, &token) in x.chunks_exact_mut(hidden.max(1)).zip(&batch.tokens) {
                    table.unpack(token as usize * hidden..(token as usize + 1) * hidden, x);
                }
            }
        }
    }

    fn embed_backward(&self, batch: &CpuBatch, dx: &CpuBuffer, hidden: usize, dtable: &mut CpuBuffer) {
        embedding::backward(&batch.tokens, &dx.data[..batch.tokens.len() * hidden], &mut dtable.data);
    }

    fn rms_norm(&self, rows: usize, x: &CpuBuffer, weight: &Weight<Self>, eps: f32, y: &mut CpuBuffer) {
        let hidden = self.len_of(weight);
        let len = rows * hidden;
        self.with_dense(weight, hidden, |w| rms_norm::forward(&x.data[..len], w, eps, &mut y.data[..len]));
    }

    fn rms_norm_backward(
        &self,
        rows: usize,
        x: &CpuBuffer,
        weight: &Weight<Self>,
        eps: f32,
        dy: &CpuBuffer,
        dx: &mut CpuBuffer,
        dweight: Option<&mut CpuBuffer>,
    ) {
        let hidden = self.len_of(weight);
        let len = rows * hidden;
        let dweight = dweight.map(|buffer| &mut buffer.data[..]);
        self.with_dense(weight, hidden, |w| {
            rms_norm::backward(&x.data[..len], w, eps, &dy.data[..len], &mut dx.data[..len], dweight);
        });
    }

    fn add_bias(&self, rows: usize, bias: &Weight<Self>, y: &mut CpuBuffer) {
        let width = self.len_of(bias);
        self.with_dense(bias, width, |bias| bias::forward(bias, &mut y.data[..rows * width]));
    }

    fn bias_backward(&self, rows: usize, dy: &CpuBuffer, dbias: &mut CpuBuffer) {
        bias::backward(&dy.data[..rows * dbias.data.len()], &mut dbias.data);
    }

    fn linear(&self, job: Linear, x: &CpuBuffer, w: &Weight<Self>, y: &mut CpuBuffer) {
        let linear::Dims { rows, inputs, outputs } = job.dims;
        let (x, y) = (&x.data[..rows * inputs], &mut y.data[..rows * outputs]);
        match w {
            Weight::Dense(w) => linear::forward(job.dims, x, &w.data[..inputs * outputs], y, job.scale, job.write),
            Weight::Quantized(CpuQuantized { blocks: Blocks::Q8_0(w), .. }) if rows <= linear::FEW_ROWS => {
                q8_0::linear(job.dims, x, w, y, job.scale, job.write);
            }
            Weight::Quantized(w) => {
                self.with_tiles(w, job.dims, |w| linear::forward_packed(job.dims, x, w, y, job.scale, job.write));
            }
        }
    }

    /// A few rows keep the threads busy for microseconds: less than it takes them to meet between products.
    fn linears(&self, x: &CpuBuffer, products: &mut [Product<'_, Self>]) {
        let run = |Product { job, w, y }: &mut Product<'_, Self>| self.linear(*job, x, w, y);
        match products.iter().all(|product| product.job.dims.rows <= linear::FEW_ROWS) {
            true => products.par_iter_mut().for_each(run),
            false => products.iter_mut().for_each(run),
        }
    }

    fn linear_backward_input(&self, job: Linear, dy: &CpuBuffer, w: &Weight<Self>, dx: &mut CpuBuffer) {
        let linear::Dims { rows, inputs, outputs } = job.dims;
        let (dy, dx) = (&dy.data[..rows * outputs], &mut dx.data[..rows * inputs]);
        match w {
            Weight::Dense(w) => {
                linear::backward_input(job.dims, dy, &w.data[..inputs * outputs], dx, job.scale, job.write);
            }
            Weight::Quantized(w) => self.with_tiles(w, job.dims, |w| {
                linear::backward_input_packed(job.dims, dy, w, dx, job.scale, job.write);
            }),
        }
    }

    fn linear_backward_weight(&self, job: Linear, dy: &CpuBuffer, x: &CpuBuffer, dw: &mut CpuBuffer) {
        let linear::Dims { rows, inputs, outputs } = job.dims;
        let (dy, x) = (&dy.data[..rows * outputs], &x.data[..rows * inputs]);
        linear::backward_weight(job.dims, dy, x, &mut dw.data[..inputs * outputs], job.scale, job.write);
    }

    fn rope(&self, batch: &CpuBatch, heads: usize, x: &mut CpuBuffer, direction: rope::Direction) {
        let len = batch.tokens.len() * heads * batch.head_dim;
        rope::apply(&batch.tables, heads, &mut x.data[..len], direction);
    }

    fn attention(
        &self,
        batch: &CpuBatch,
        job: &Attention<'_>,
        q: &CpuBuffer,
        k: &CpuBuffer,
        v: &CpuBuffer,
        out: &mut CpuBuffer,
        lse: &mut CpuBuffer,
    ) {
        let len = Lengths::of(&job.shape);
        attention::forward(
            &job.shape,
            &mask(batch, job),
            job.scale,
            &q.data[..len.queries],
            &k.data[..len.keys],
            &v.data[..len.keys],
            &mut out.data[..len.queries],
            &mut lse.data[..len.rows],
        );
    }

    fn attention_backward(
        &self,
        batch: &CpuBatch,
        job: &Attention<'_>,
        saved: Saved<'_, Self>,
        grads: Grads<'_, Self>,
    ) {
        let len = Lengths::of(&job.shape);
        attention::backward(
            &job.shape,
            &mask(batch, job),
            job.scale,
            &saved.q.data[..len.queries],
            &saved.k.data[..len.keys],
            &saved.v.data[..len.keys],
            &saved.out.data[..len.queries],
            &saved.lse.data[..len.rows],
            &saved.dout.data[..len.queries],
            &mut grads.dq.data[..len.queries],
            &mut grads.dk.data[..len.keys],
            &mut grads.dv.data[..len.keys],
        );
    }

    fn merge(&self, job: &Attention<'_>, into: Partial<'_, Self>, other: (&CpuBuffer, &CpuBuffer)) {
        let len = Lengths::of(&job.shape);
        let (out, lse) = into;
        attention::merge(
            job.shape.head_dim,
            (&mut out.data[..len.queries], &mut lse.data[..len.rows]),
            (&other.0.data[..len.queries], &other.1.data[..len.rows]),
        );
    }

    fn dropout(&self, mask: dropout::Mask, len: usize, x: &CpuBuffer, y: &mut CpuBuffer, write: Write) {
        dropout::apply(mask, &x.data[..len], &mut y.data[..len], write);
    }

    fn gate(
        &self,
        job: &Attention<'_>,
        (gates, first): (&CpuBuffer, usize),
        full: &CpuBuffer,
        stream: &CpuBuffer,
        out: &mut CpuBuffer,
    ) {
        let len = Lengths::of(&job.shape).queries;
        let gates = &gates.data[first..first + job.shape.kv_heads];
        gate::forward(&job.shape, gates, &full.data[..len], &stream.data[..len], &mut out.data[..len]);
    }

    fn gate_backward(
        &self,
        job: &Attention<'_>,
        (gates, first): (&CpuBuffer, usize),
        (full, stream): (&CpuBuffer, &CpuBuffer),
        grads: GateGrads<'_, Self>,
    ) {
        let len = Lengths::of(&job.shape).queries;
        let heads = first..first + job.shape.kv_heads;
        gate::backward(
            &job.shape,
            &gates.data[heads.clone()],
            &full.data[..len],
            &stream.data[..len],
            &mut grads.dout.data[..len],
            &mut grads.dstream.data[..len],
            &mut grads.dgates.data[heads],
        );
    }

    fn distance(&self, batch: &CpuBatch, job: Distance, x: &CpuBuffer, y: &CpuBuffer, dx: &mut CpuBuffer) -> Vec<f32> {
        let Distance { rows, hidden, grad_scale } = job;
        let (len, mut losses) = (rows * hidden, vec![0.0; rows]);
        let targets = &batch.targets[..rows];
        let job = distance::Job { hidden, x: &x.data[..len], y: &y.data[..len], targets, grad_scale };
        distance::run(&job, &mut losses, &mut dx.data[..len]);
        losses
    }

    fn swiglu(&self, len: usize, gate: &CpuBuffer, up: &CpuBuffer, out: &mut CpuBuffer) {
        swiglu::forward(&gate.data[..len], &up.data[..len], &mut out.data[..len]);
    }

    fn swiglu_backward(&self, len: usize, dout: &CpuBuffer, gate: &mut CpuBuffer, up: &mut CpuBuffer) {
        swiglu::backward(&dout.data[..len], &mut gate.data[..len], &mut up.data[..len]);
    }

    fn head(
        &self,
        batch: &CpuBatch,
        job: Head,
        x: &CpuBuffer,
        w: &Weight<Self>,
        grads: Option<HeadGrads<'_, Self>>,
    ) -> Result<Scores> {
        let mut scores = Scores { nll: vec![0.0; job.rows], predictions: vec![0; job.rows] };
        let (dx, dw) = match grads {
            Some(HeadGrads { dx, dw }) => {
                (Some(&mut dx.data[..job.rows * job.hidden]), dw.map(|dw| &mut dw.data[..job.vocab * job.hidden]))
            }
            None => (None, None),
        };
        let mut kept = self.logits.lock().unwrap_or_else(PoisonError::into_inner);
        let logits = self.keep(&mut kept, cross_entropy::logits_len(job.vocab, job.rows, job.chunk))?;
        self.with_dense(w, job.vocab * job.hidden, |w| {
            let Head { hidden, vocab, chunk, grad_scale, rows } = job;
            let (x, targets) = (&x.data[..rows * hidden], &batch.targets[..]);
            let job = cross_entropy::Job { hidden, vocab, x, w, targets, chunk, grad_scale };
            let (nll, predictions) = (&mut scores.nll[..], Some(&mut scores.predictions[..]));
            cross_entropy::run(&job, cross_entropy::Output { nll, predictions, dx, dw }, logits);
        });
        Ok(scores)
    }

    fn adamw(
        &self,
        hyper: &adamw::Hyper,
        param: &mut CpuBuffer,
        grad: &CpuBuffer,
        m: &mut CpuBuffer,
        v: &mut CpuBuffer,
    ) {
        adamw::step(hyper, &mut param.data, &grad.data, &mut m.data, &mut v.data);
    }

    fn moments_8bit(&self, len: usize) -> Result<CpuMoments> {
        let counted = Counted::new(&self.meter, eight_bit::Moments::bytes_of(len))?;
        Ok(CpuMoments { moments: eight_bit::Moments::zeros(len), _counted: counted })
    }

    fn adamw_8bit(&self, hyper: &adamw::Hyper, param: &mut CpuBuffer, grad: &CpuBuffer, moments: &mut CpuMoments) {
        adamw::step_8bit(hyper, &mut param.data, &grad.data, &mut moments.moments);
    }

    fn download_8bit(&self, from: &CpuMoments) -> eight_bit::Moments {
        from.moments.clone()
    }

    fn write_8bit(&self, moments: &eight_bit::Moments, to: &mut CpuMoments) {
        moments.expect(to.moments.m.len());
        to.moments.clone_from(moments);
    }

    fn sum_of_squares(&self, x: &CpuBuffer) -> f64 {
        reduce::sum_of_squares(&x.data)
    }
}

impl Cpu {
    fn len_of(&self, weight: &Weight<Self>) -> usize {
        match weight {
            Weight::Dense(buffer) => buffer.data.len(),
            Weight::Quantized(matrix) => matrix.len(),
        }
    }
}

/// Element counts of one attention call.
struct Lengths {
    queries: usize,
    keys: usize,
    rows: usize,
}

impl Lengths {
    fn of(shape: &attention::Shape) -> Self {
        Self {
            queries: shape.queries * shape.heads * shape.head_dim,
            keys: shape.keys * shape.kv_heads * shape.head_dim,
            rows: shape.queries * shape.heads,
        }
    }
}

fn mask<'a>(batch: &'a CpuBatch, job: &Attention<'a>) -> attention::Mask<'a> {
    attention::Mask {
        patterns: job.patterns,
        query_row: job.query_row,
        key_row: job.key_row,
        starts: &batch.starts[..job.shape.queries],
    }
}
