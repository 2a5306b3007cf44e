//! The ops of a GPU, one launch or a few each.

use std::sync::{Mutex, PoisonError};

use super::buffer::{CudaAway, CudaBatch, CudaBuffer, CudaMoments, CudaNf4, CudaQuantized, decode, encode, words};
use super::scratch::Use;
use super::{Cuda, head};
use crate::adamw::eight_bit;
use crate::attention::cuda::{self as attend, Passes};
use crate::cuda::copy;
use crate::cuda::driver::Driver;
use crate::cuda::runtime::{Hopper, Memory};
use crate::cuda::source::Compiler;
use crate::device::{
    Attention, Device, Distance, Format, GateGrads, Grads, Head, HeadGrads, Linear, Partial, Result, Rows, Saved,
    Scores, Slot, Weight,
};
use crate::embedding::cuda::Embedding;
use crate::linear::Write;
use crate::linear::cuda::{Number, Product, Products};
use crate::nf4::Nf4;
use crate::simd::Isa;
use crate::{adamw, bias, cross_entropy, distance, dropout, expect_len, gate, nf4, q8_0, rms_norm, rope, swiglu};

/// Fewer rows of queries than this leave most of a GPU idle unless their keys are cut into parts.
const FEW_QUERIES: usize = 64;
/// Fewer keys than this are not worth a second kernel that joins parts.
const MANY_KEYS: usize = 512;

/// Numbers of a dense weight, or of the matrix that a quantised one stands for.
fn len_of<D: Driver, C: Compiler, P: Products<D, C>>(weight: &Weight<Cuda<D, C, P>>) -> usize {
    match weight {
        Weight::Dense(buffer) => buffer.len,
        Weight::Quantized(matrix) => matrix.len(),
    }
}

impl<D: Driver, C: Compiler, P: Products<D, C>> Device for Cuda<D, C, P> {
    type Buffer = CudaBuffer<D>;
    type Quantized = CudaQuantized<D>;
    type Moments = CudaMoments<D>;
    type Batch = CudaBatch<D>;
    type Away = CudaAway<D>;

    fn describe(&self) -> Result<String> {
        let gpu = self.driver().describe().map_err(|error| self.said(error))?;
        let attention = match self.runtime().hopper() {
            Hopper { forward: true, backward: true } => "wgmma",
            Hopper { forward: true, backward: false } => "wgmma, its gradients by mma.sync",
            Hopper { forward: false, backward: true } => "mma.sync, its gradients by wgmma",
            Hopper { forward: false, backward: false } => "mma.sync",
        };
        Ok(format!("{gpu}, {}, attention by {attention}", self.shared.products.describe()))
    }

    fn check(&self) -> Result<()> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn finish(&self) -> Result<()> {
        self.op(|queue| queue.runtime().driver().synchronize(queue.stream()));
        self.check()
    }

    fn zeros(&self, len: usize) -> Result<CudaBuffer<D>> {
        self.check()?;
        self.fresh(len, Number::Bf16).map_err(|error| self.said(error))
    }

    fn zeros_f32(&self, len: usize) -> Result<CudaBuffer<D>> {
        self.check()?;
        self.fresh(len, Number::F32).map_err(|error| self.said(error))
    }

    fn arena(&self, slots: &[Slot]) -> Result<Vec<CudaBuffer<D>>> {
        self.check()?;
        self.arena_of(slots).map_err(|error| self.said(error))
    }

    fn upload(&self, data: &[f32]) -> Result<CudaBuffer<D>> {
        let numbers = self.upload_as(data, Number::Bf16)?;
        Ok(CudaBuffer { numbers, number: Number::Bf16, master: None, len: data.len() })
    }

    fn upload_master(&self, data: &[f32]) -> Result<CudaBuffer<D>> {
        let master = Some(self.upload_as(data, Number::F32)?);
        Ok(CudaBuffer { master, ..self.upload(data)? })
    }

    fn download(&self, from: &CudaBuffer<D>, len: usize) -> Vec<f32> {
        let (memory, number) = from.master.as_ref().map_or((&from.numbers, from.number), |m| (m, Number::F32));
        decode(&self.read(memory, len * number.bytes()), number)
    }

    fn write(&self, data: &[f32], to: &mut CudaBuffer<D>) {
        self.op(|queue| {
            if let Some(master) = &to.master {
                master.write(queue.stream(), &encode(data, Number::F32))?;
            }
            to.numbers.write(queue.stream(), &encode(data, to.number))
        });
    }

    fn clear(&self, buffer: &mut CudaBuffer<D>, len: usize) {
        self.op(|queue| {
            let driver = queue.runtime().driver();
            if let Some(master) = &buffer.master {
                driver.fill(queue.stream(), master.all().need("a master", 4 * len), 0, 4 * len as u64)?;
            }
            let bytes = len * buffer.number.bytes();
            driver.fill(queue.stream(), buffer.numbers.all().need("a buffer", bytes), 0, bytes as u64)
        });
    }

    fn copy(&self, from: &CudaBuffer<D>, to: &mut CudaBuffer<D>, len: usize) {
        self.copy_range(from, 0, to, 0, len);
    }

    fn copy_range(
        &self,
        from: &CudaBuffer<D>,
        from_offset: usize,
        to: &mut CudaBuffer<D>,
        to_offset: usize,
        len: usize,
    ) {
        assert!(from.number == to.number, "kernels: a copy of {:?} to {:?}", from.number, to.number);
        let bytes = len * from.number.bytes();
        let (from, to) = (from.from(from_offset).need("from", bytes), to.from(to_offset).need("to", bytes));
        if bytes > 0 {
            self.op(|queue| queue.runtime().driver().copy(queue.stream(), from, to, bytes as u64));
        }
    }

    fn copy_columns(
        &self,
        rows: usize,
        width: usize,
        (from, from_offset, from_step): (&CudaBuffer<D>, usize, usize),
        (to, to_offset, to_step): (&mut CudaBuffer<D>, usize, usize),
    ) {
        assert!(from.number == to.number, "kernels: a copy of {:?} to {:?}", from.number, to.number);
        // An f32 number is two of 16 bits.
        let each = from.number.bytes() / 2;
        let (from, to) = ((from.from(from_offset), each * from_step), (to.from(to_offset), each * to_step));
        self.op(|queue| copy::columns(queue, rows, each * width, from, to));
    }

    fn move_within(&self, buffer: &mut CudaBuffer<D>, from_offset: usize, to_offset: usize, len: usize) {
        let bytes = len * buffer.number.bytes();
        let (from, to) = (buffer.from(from_offset).need("from", bytes), buffer.from(to_offset).need("to", bytes));
        if bytes == 0 {
            return;
        }
        self.op(|queue| {
            let held = self.hold(Use::Partial, bytes as u64)?;
            let (driver, stream, between) = (queue.runtime().driver(), queue.stream(), held.all().need("room", bytes));
            driver.copy(stream, from, between, bytes as u64)?;
            driver.copy(stream, between, to, bytes as u64)
        });
    }

    fn add(&self, from: &CudaBuffer<D>, to: &mut CudaBuffer<D>, len: usize) {
        self.op(|queue| copy::add(queue, len, from.bf16(), to.bf16()));
    }

    fn away(&self, len: usize) -> Result<CudaAway<D>> {
        self.check()?;
        let numbers = self.shared.runtime.host((len * Number::Bf16.bytes()) as u64);
        Ok(CudaAway { numbers: numbers.map_err(|error| self.said(error))?, last: Mutex::default() })
    }

    fn send(&self, from: &CudaBuffer<D>, to: &mut CudaAway<D>, len: usize) {
        let (region, bytes) = (from.bf16(), len * Number::Bf16.bytes());
        self.beside(to, |stream| to.numbers.fill_from(stream, region, bytes));
    }

    fn bring(&self, from: &CudaAway<D>, to: &mut CudaBuffer<D>, len: usize) {
        let (region, bytes) = (to.bf16(), len * Number::Bf16.bytes());
        self.beside(from, |stream| from.numbers.copy_to(stream, region, bytes));
    }

    fn settle(&self, away: &CudaAway<D>) {
        self.op(|queue| match away.last.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(mark) => mark.holds(queue.stream()),
            None => Ok(()),
        });
    }

    fn memory_away(&self) -> u64 {
        self.shared.runtime.pinned()
    }

    fn quantize(&self, data: &[f32], format: Format) -> Result<CudaQuantized<D>> {
        self.check()?;
        if format == Format::Q8_0 {
            let (mut blocks, mut rounded) = (vec![0; q8_0::bytes_of(data.len())], vec![0.0; data.len()]);
            q8_0::pack(data, &mut blocks);
            q8_0::cpu::unpack(Isa::best(), &blocks, &mut rounded);
            return Ok(CudaQuantized::Q8_0(self.upload(&rounded)?));
        }
        let Nf4 { packed, absmax, absmax_scale, offset, len } = nf4::quantize(data);
        let upload = |bytes: &[u8]| self.uploaded(bytes).map_err(|error| self.said(error));
        let absmax_scale = upload(&encode(&absmax_scale, Number::F32))?;
        let (packed, absmax) = (upload(&packed)?, upload(&absmax)?);
        Ok(CudaQuantized::Nf4(CudaNf4 { packed, absmax, absmax_scale, offset, len }))
    }

    /// Four bits exactly, on the host: products see them rounded to bf16.
    fn dequantize(&self, from: &CudaQuantized<D>) -> Vec<f32> {
        let from = match from {
            CudaQuantized::Nf4(matrix) => matrix,
            CudaQuantized::Q8_0(buffer) => return self.download(buffer, buffer.len),
        };
        let all = |memory: &Memory<D>| self.read(memory, memory.bytes() as usize);
        let (packed, absmax) = (all(&from.packed), all(&from.absmax));
        let absmax_scale = decode(&all(&from.absmax_scale), Number::F32);
        let nf4 = Nf4 { packed, absmax, absmax_scale, offset: from.offset, len: from.len };
        let mut data = vec![0.0; from.len];
        nf4.dequantize_into(0..from.len, &mut data);
        data
    }

    fn batch(&self, rows: &Rows<'_>) -> Result<CudaBatch<D>> {
        self.check()?;
        let tables = rope::Tables::new(rows.inv_freq, rows.attention_factor, rows.positions);
        let (cos, sin) = tables.halves();
        let tables = [cos, sin].map(|half| encode(half, Number::F32)).concat();
        let (tokens, targets) = (words(rows.tokens, u32::to_le_bytes), words(rows.targets, i32::to_le_bytes));
        let image = self.uploaded(&[tables, tokens, targets].concat()).map_err(|error| self.said(error))?;
        Ok(CudaBatch {
            tokens: rows.tokens.to_vec(),
            starts: rows.starts.to_vec(),
            targets: rows.targets.to_vec(),
            head_dim: 2 * rows.inv_freq.len(),
            image,
            occurrences: Mutex::default(),
            visible: Mutex::default(),
        })
    }

    fn memory(&self) -> (u64, u64) {
        self.shared.runtime.usage()
    }

    fn embed(&self, batch: &CudaBatch<D>, table: &Weight<Self>, hidden: usize, x: &mut CudaBuffer<D>) {
        let sizes = [batch.tokens.len(), len_of(table) / hidden];
        let op = Embedding { hidden };
        self.op(|queue| self.with_weight(table, |table| op.forward(queue, sizes, [batch.tokens(), table], x.bf16())));
    }

    fn embed_backward(&self, batch: &CudaBatch<D>, dx: &CudaBuffer<D>, hidden: usize, dtable: &mut CudaBuffer<D>) {
        self.op(|queue| {
            let made = self.occurrences(batch)?;
            let (found, lists) = &*made;
            let (first, rows) = (found.tokens.len(), found.tokens.len() + found.first.len());
            let regions = [0, first, rows].map(|at| lists.from(4 * at as u64));
            let vocab = dtable.len / hidden;
            Embedding { hidden }.backward(queue, (regions, found), vocab, dx.bf16(), dtable.f32())
        });
    }

    fn rms_norm(&self, rows: usize, x: &CudaBuffer<D>, weight: &Weight<Self>, eps: f32, y: &mut CudaBuffer<D>) {
        let op = rms_norm::cuda::RmsNorm { hidden: len_of(weight) };
        self.op(|queue| self.with_weight(weight, |w| op.forward(queue, rows, [x.bf16(), w], eps, y.bf16())));
    }

    fn rms_norm_backward(
        &self,
        rows: usize,
        x: &CudaBuffer<D>,
        weight: &Weight<Self>,
        eps: f32,
        dy: &CudaBuffer<D>,
        dx: &mut CudaBuffer<D>,
        dweight: Option<&mut CudaBuffer<D>>,
    ) {
        let op = rms_norm::cuda::RmsNorm { hidden: len_of(weight) };
        self.op(|queue| {
            let bytes = if dweight.is_some() { op.partial_bytes(rows) } else { 0 };
            let held = self.hold(Use::Partial, bytes)?;
            let partial = held.all();
            let dweight = dweight.map(|dweight| rms_norm::cuda::Dweight { dweight: dweight.f32(), partial });
            self.with_weight(weight, |w| op.backward(queue, rows, [x.bf16(), w, dy.bf16()], eps, dx.bf16(), dweight))
        });
    }

    fn add_bias(&self, rows: usize, bias: &Weight<Self>, y: &mut CudaBuffer<D>) {
        let op = bias::cuda::Bias { width: len_of(bias) };
        self.op(|queue| self.with_weight(bias, |bias| op.forward(queue, rows, bias, y.bf16())));
    }

    fn bias_backward(&self, rows: usize, dy: &CudaBuffer<D>, dbias: &mut CudaBuffer<D>) {
        let op = bias::cuda::Bias { width: dbias.len };
        self.op(|queue| {
            let held = self.hold(Use::Partial, op.partial_bytes(rows))?;
            op.backward(queue, rows, dy.bf16(), held.all(), dbias.f32())
        });
    }

    fn linear(&self, job: Linear, x: &CudaBuffer<D>, w: &Weight<Self>, y: &mut CudaBuffer<D>) {
        let to = (y.numbers.all(), y.number);
        self.op(|queue| {
            self.with_weight(w, |w| {
                let product = Product::forward(job.dims, x.bf16(), w, to, job.scale, job.write);
                self.shared.products.multiply(queue, &product)
            })
        });
    }

    fn linear_backward_input(&self, job: Linear, dy: &CudaBuffer<D>, w: &Weight<Self>, dx: &mut CudaBuffer<D>) {
        let to = (dx.numbers.all(), dx.number);
        self.op(|queue| {
            self.with_weight(w, |w| {
                let product = Product::backward_input(job.dims, dy.bf16(), w, to, job.scale, job.write);
                self.shared.products.multiply(queue, &product)
            })
        });
    }

    fn linear_backward_weight(&self, job: Linear, dy: &CudaBuffer<D>, x: &CudaBuffer<D>, dw: &mut CudaBuffer<D>) {
        let to = (dw.numbers.all(), dw.number);
        let product = Product::backward_weight(job.dims, dy.bf16(), x.bf16(), to, job.scale, job.write);
        self.op(|queue| self.shared.products.multiply(queue, &product));
    }

    fn rope(&self, batch: &CudaBatch<D>, heads: usize, x: &mut CudaBuffer<D>, direction: rope::Direction) {
        let (op, rows) = (rope::cuda::Rope { head_dim: batch.head_dim }, batch.tokens.len());
        self.op(|queue| op.apply(queue, [rows, heads], batch.tables(), x.bf16(), direction));
    }

    fn attention(
        &self,
        batch: &CudaBatch<D>,
        job: &Attention<'_>,
        q: &CudaBuffer<D>,
        k: &CudaBuffer<D>,
        v: &CudaBuffer<D>,
        out: &mut CudaBuffer<D>,
        lse: &mut CudaBuffer<D>,
    ) {
        let op = attend::Attention { head_dim: job.shape.head_dim };
        let (inputs, outputs) = ([q.bf16(), k.bf16(), v.bf16()], (out.bf16(), lse.f32()));
        self.op(|queue| {
            if job.shape.queries > FEW_QUERIES || job.shape.keys < MANY_KEYS {
                let visible = self.visible(batch, job, Passes::Forward)?;
                return op.forward(queue, &visible, job.scale, inputs, outputs);
            }
            let visible = self.visible(batch, job, Passes::Split)?;
            let parts = op.parts(&visible, self.shared.size.multiprocessors);
            let held = self.hold(Use::Partial, op.split_bytes(&job.shape, parts))?;
            op.forward_split(queue, &visible, job.scale, inputs, outputs, (parts, held.all()))
        });
    }

    fn attention_backward(
        &self,
        batch: &CudaBatch<D>,
        job: &Attention<'_>,
        saved: Saved<'_, Self>,
        grads: Grads<'_, Self>,
    ) {
        let op = attend::Attention { head_dim: job.shape.head_dim };
        let Saved { q, k, v, out, lse, dout } = saved;
        let [q, k, v, out, dout] = [q, k, v, out, dout].map(CudaBuffer::bf16);
        let saved = attend::Saved { q, k, v, out, lse: lse.f32(), dout };
        let grads = [grads.dq.bf16(), grads.dk.bf16(), grads.dv.bf16()];
        self.op(|queue| {
            let passes = op.backward_passes(self.shared.size.block_memory, self.deterministic);
            let visible = self.visible(batch, job, passes)?;
            let held = self.hold(Use::Partial, op.backward_bytes(&job.shape, passes))?;
            op.backward(queue, &visible, job.scale, saved, grads, held.all())
        });
    }

    fn merge(&self, job: &Attention<'_>, into: Partial<'_, Self>, other: (&CudaBuffer<D>, &CudaBuffer<D>)) {
        let op = attend::Attention { head_dim: job.shape.head_dim };
        let rows = job.shape.queries * job.shape.heads;
        let (into, other) = ((into.0.bf16(), into.1.f32()), (other.0.bf16(), other.1.f32()));
        self.op(|queue| op.merge(queue, rows, into, other));
    }

    fn dropout(&self, mask: dropout::Mask, len: usize, x: &CudaBuffer<D>, y: &mut CudaBuffer<D>, write: Write) {
        self.op(|queue| dropout::cuda::apply(queue, mask, len, x.bf16(), y.bf16(), write));
    }

    fn gate(
        &self,
        job: &Attention<'_>,
        (gates, first): (&CudaBuffer<D>, usize),
        full: &CudaBuffer<D>,
        stream: &CudaBuffer<D>,
        out: &mut CudaBuffer<D>,
    ) {
        let op = gate::cuda::Gate { head_dim: job.shape.head_dim };
        let (gates, parts) = (gates.from(first), [full.bf16(), stream.bf16()]);
        self.op(|queue| op.forward(queue, &job.shape, gates, parts, out.bf16()));
    }

    fn gate_backward(
        &self,
        job: &Attention<'_>,
        (gates, first): (&CudaBuffer<D>, usize),
        (full, stream): (&CudaBuffer<D>, &CudaBuffer<D>),
        grads: GateGrads<'_, Self>,
    ) {
        let op = gate::cuda::Gate { head_dim: job.shape.head_dim };
        let (gates, parts) = (gates.from(first), [full.bf16(), stream.bf16()]);
        let (dout, dstream, dgates) = (grads.dout.bf16(), grads.dstream.bf16(), grads.dgates.from(first));
        self.op(|queue| {
            let held = self.hold(Use::Partial, op.partial_bytes(&job.shape))?;
            let gradients = gate::cuda::Gradients { dout, dstream, dgates, partial: held.all() };
            op.backward(queue, &job.shape, gates, parts, gradients)
        });
    }

    fn distance(
        &self,
        batch: &CudaBatch<D>,
        job: Distance,
        x: &CudaBuffer<D>,
        y: &CudaBuffer<D>,
        dx: &mut CudaBuffer<D>,
    ) -> Vec<f32> {
        let Distance { rows, hidden, grad_scale } = job;
        let mut losses = vec![];
        self.op(|queue| {
            let held = self.hold(Use::Results, 4 * rows as u64)?;
            let inputs = [x.bf16(), y.bf16(), batch.targets(0)];
            let op = distance::cuda::Distance { hidden };
            op.run(queue, rows, inputs, grad_scale, (held.all(), dx.bf16()))?;
            losses = self.fetch(&held, 4 * rows)?;
            Ok(())
        });
        losses.resize(4 * rows, 0);
        decode(&losses, Number::F32)
    }

    fn swiglu(&self, len: usize, gate: &CudaBuffer<D>, up: &CudaBuffer<D>, out: &mut CudaBuffer<D>) {
        self.op(|queue| swiglu::cuda::forward(queue, len, [gate.bf16(), up.bf16()], out.bf16()));
    }

    fn swiglu_backward(&self, len: usize, dout: &CudaBuffer<D>, gate: &mut CudaBuffer<D>, up: &mut CudaBuffer<D>) {
        self.op(|queue| swiglu::cuda::backward(queue, len, dout.bf16(), [gate.bf16(), up.bf16()]));
    }

    fn head(
        &self,
        batch: &CudaBatch<D>,
        job: Head,
        x: &CudaBuffer<D>,
        w: &Weight<Self>,
        grads: Option<HeadGrads<'_, Self>>,
    ) -> Result<Scores> {
        expect_len("targets", batch.targets.len(), job.rows);
        let valid =
            |target: &i32| *target == cross_entropy::IGNORED || (0..job.vocab as i64).contains(&i64::from(*target));
        if let Some(bad) = batch.targets.iter().find(|target| !valid(target)) {
            panic!("kernels: target {bad} is not in a vocabulary of {}", job.vocab);
        }
        let mut scores = Scores::default();
        self.op(|queue| {
            self.with_weight(w, |w| {
                scores = head::run(self, queue, batch, job, (x, w), grads)?;
                Ok(())
            })
        });
        self.check().map(|()| scores)
    }

    fn adamw(
        &self,
        hyper: &adamw::Hyper,
        param: &mut CudaBuffer<D>,
        grad: &CudaBuffer<D>,
        m: &mut CudaBuffer<D>,
        v: &mut CudaBuffer<D>,
    ) {
        let (param_f32, copy) = param.learns();
        let state = adamw::cuda::State { param: param_f32, copy, m: m.f32(), v: v.f32() };
        self.op(|queue| adamw::cuda::step(queue, hyper, param.len, state, grad.f32()));
    }

    fn moments_8bit(&self, len: usize) -> Result<CudaMoments<D>> {
        self.check()?;
        let eight_bit::Moments { m, v, scales } = eight_bit::Moments::zeros(len);
        let upload = |bytes: &[u8]| self.uploaded(bytes).map_err(|error| self.said(error));
        let [first, second] = scales.map(|scales| encode(&scales, Number::F32));
        Ok(CudaMoments { codes: [upload(&m)?, upload(&v)?], scales: [upload(&first)?, upload(&second)?], len })
    }

    fn adamw_8bit(
        &self,
        hyper: &adamw::Hyper,
        param: &mut CudaBuffer<D>,
        grad: &CudaBuffer<D>,
        moments: &mut CudaMoments<D>,
    ) {
        let (codes, scales) = (moments.codes.each_ref().map(Memory::all), moments.scales.each_ref().map(Memory::all));
        self.op(|queue| {
            let held = self.table(Use::Maps, &eight_bit::tables())?;
            let moments = adamw::cuda::Moments { codes, scales, tables: held.all() };
            adamw::cuda::step_8bit(queue, hyper, param.len, param.learns(), grad.f32(), moments)
        });
    }

    fn download_8bit(&self, from: &CudaMoments<D>) -> eight_bit::Moments {
        let [m, v] = from.codes.each_ref().map(|codes| self.read(codes, from.len));
        let bytes = 4 * from.len.div_ceil(eight_bit::BLOCK);
        let scales = from.scales.each_ref().map(|scales| decode(&self.read(scales, bytes), Number::F32));
        eight_bit::Moments { m, v, scales }
    }

    fn write_8bit(&self, moments: &eight_bit::Moments, to: &mut CudaMoments<D>) {
        moments.expect(to.len);
        self.op(|queue| {
            for (codes, memory) in [&moments.m, &moments.v].into_iter().zip(&to.codes) {
                memory.write(queue.stream(), codes)?;
            }
            for (scales, memory) in moments.scales.iter().zip(&to.scales) {
                memory.write(queue.stream(), &encode(scales, Number::F32))?;
            }
            Ok(())
        });
    }

    fn sum_of_squares(&self, x: &CudaBuffer<D>) -> f64 {
        let mut sum = 0.0;
        self.op(|queue| {
            let held = self.hold(Use::Results, 8)?;
            let partial = self.hold(Use::Partial, adamw::cuda::partial_bytes(x.len))?;
            queue.runtime().driver().fill(queue.stream(), held.all().need("a sum", 8), 0, 8)?;
            adamw::cuda::sum_of_squares(queue, x.len, x.f32(), partial.all(), held.all())?;
            sum = self.fetch(&held, 8)?.first_chunk().map_or(0.0, |bytes| f64::from_le_bytes(*bytes));
            Ok(())
        });
        sum
    }
}
