//! What an engine needs from a machine: buffers and the ops on them.
//!
//! An engine is written once over [`Device`]. [`Cpu`] stores f32 and calls the ops of this crate; an accelerator keeps
//! its own storage type and accumulates in f32. Shapes are those of the ops' own folders; a buffer may be longer than
//! what an op touches, so that one allocation serves every length up to its own.

use std::fmt;

use crate::linear::Write;
use crate::{adamw, attention, cuda::driver, dropout};

mod cpu;
mod cuda;

pub use cpu::{Cpu, CpuBatch, CpuBuffer, CpuMoments, CpuQuantized};
pub use cuda::{Cuda, CudaAway, CudaBatch, CudaBuffer, CudaMoments, CudaNf4, CudaQuantized};

/// Why a device could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An allocation that the machine (or the memory limit of the recipe) does not allow.
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes in use before.
        live: u64,
        /// Bytes allowed; `u64::MAX` without a limit.
        limit: u64,
    },
    /// What a GPU, its driver or one of its libraries refused. Nothing that was queued after it has run.
    Gpu(driver::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let (requested, live, limit) = match self {
            Self::OutOfMemory { requested, live, limit } => (requested, live, limit),
            Self::Gpu(error) => return error.fmt(out),
        };
        write!(out, "out of memory: {:.2} GiB more than the {:.2} GiB in use", gib(*requested), gib(*live))?;
        if *limit != u64::MAX {
            write!(out, ", and the limit is {:.2} GiB", gib(*limit))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Result of a device operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A matrix as the device stores it.
#[derive(Debug)]
pub enum Weight<D: Device> {
    /// In the device's storage type.
    Dense(D::Buffer),
    /// In blocks of few bits; read-only.
    Quantized(D::Quantized),
}

/// A buffer of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// How many numbers it holds.
    pub len: usize,
    /// Whether they are f32 whatever the storage type.
    pub exact: bool,
}

/// How a matrix that does not learn may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 4 bits, of any shape: [`crate::nf4`], with double quantisation.
    Nf4,
    /// 8 bits, rows of whole blocks: [`crate::q8_0`].
    Q8_0,
}

/// The rows of one forward pass, on the host. All slices have T elements.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Rotary positions.
    pub positions: &'a [u32],
    /// First row of each row's document, counted from the first key row.
    pub starts: &'a [usize],
    /// Token to predict at each row; −100 is ignored. May be empty where no loss is asked for.
    pub targets: &'a [i32],
    /// Rotary frequencies, head_dim ÷ 2 of them.
    pub inv_freq: &'a [f64],
    /// Multiplied into cos and sin.
    pub attention_factor: f64,
}

/// One attention call: its shape, what is visible, and the scale of the logits.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Queries, keys, heads and head size.
    pub shape: attention::Shape,
    /// Which keys a query sees, in all heads or head by head.
    pub patterns: attention::Patterns<'a>,
    /// Row of the first query, counted like the documents' starts.
    pub query_row: usize,
    /// Row of the first key.
    pub key_row: usize,
    /// Factor of q·k, usually 1 ÷ √head_dim.
    pub scale: f32,
}

/// Where `linear` goes: y (+)= scale · x wᵀ with x `[rows, inputs]`, w `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Rows, inputs, outputs.
    pub dims: crate::linear::Dims,
    /// Factor of the product.
    pub scale: f32,
    /// Overwrite or add.
    pub write: Write,
}

/// The fused output head and loss over T rows: logits = x wᵀ, in chunks of rows.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// T.
    pub rows: usize,
    /// C.
    pub hidden: usize,
    /// V.
    pub vocab: usize,
    /// Rows per chunk: the only logits that exist at once are `[chunk, V]`.
    pub chunk: usize,
    /// Factor of all gradients: 1 ÷ targets of the whole step for a token mean.
    pub grad_scale: f32,
}

/// Two matrices of T rows that are compared row by row.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// T.
    pub rows: usize,
    /// C.
    pub hidden: usize,
    /// Factor of the gradient: 1 ÷ targets of the whole step for a mean over them.
    pub grad_scale: f32,
}

/// What the head found at each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// −ln p(target), 0 where the target is ignored.
    pub nll: Vec<f32>,
    /// The most likely token.
    pub predictions: Vec<u32>,
}

/// A machine that runs the ops.
pub trait Device: Sized + Send + Sync {
    /// Numbers in the device's storage type.
    type Buffer: fmt::Debug + Send + Sync;
    /// A matrix in one of the [`Format`]s.
    type Quantized: fmt::Debug + Send + Sync;
    /// AdamW's moments in 8 bits: [`adamw::eight_bit`].
    type Moments: fmt::Debug + Send + Sync;
    /// [`Rows`] made ready: rotary tables, ids, borders.
    type Batch: Send + Sync;
    /// Where numbers wait outside of the device's memory.
    type Away: fmt::Debug + Send + Sync;

    /// What it is, as a run records it: where another one goes on, roundings may differ.
    fn describe(&self) -> Result<String>;

    /// Runs a job of many ops where each of them starts fastest.
    fn run<T: Send>(job: impl FnOnce() -> T + Send) -> T {
        job()
    }

    /// What went wrong first in an op that has no way to say so; its results, and those of all ops since, are nothing.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Waits for all that was asked for. Nobody needs to who reads results; clocks do.
    fn finish(&self) -> Result<()> {
        Ok(())
    }

    /// A zeroed buffer of `len` numbers.
    fn zeros(&self, len: usize) -> Result<Self::Buffer>;
    /// A zeroed buffer of `len` f32 numbers, whatever the storage type: log-sum-exps, logits, gradients of weights, moments, gates.
    fn zeros_f32(&self, len: usize) -> Result<Self::Buffer> {
        self.zeros(len)
    }
    /// Zeroed buffers, one for each slot, in one piece of memory: all of it is there, or none.
    fn arena(&self, slots: &[Slot]) -> Result<Vec<Self::Buffer>>;
    /// A buffer holding `data`.
    fn upload(&self, data: &[f32]) -> Result<Self::Buffer>;
    /// A buffer of a weight that learns, of which every bit of `data` is kept.
    fn upload_master(&self, data: &[f32]) -> Result<Self::Buffer> {
        self.upload(data)
    }
    /// The buffer's first `len` numbers.
    fn download(&self, from: &Self::Buffer, len: usize) -> Vec<f32>;
    /// Overwrites the beginning of a buffer.
    fn write(&self, data: &[f32], to: &mut Self::Buffer);
    /// Sets the first `len` numbers to zero.
    fn clear(&self, buffer: &mut Self::Buffer, len: usize);
    /// Copies the first `len` numbers.
    fn copy(&self, from: &Self::Buffer, to: &mut Self::Buffer, len: usize);
    /// Copies `len` numbers starting at `from_offset` to `to_offset`.
    fn copy_range(&self, from: &Self::Buffer, from_offset: usize, to: &mut Self::Buffer, to_offset: usize, len: usize);
    /// Copies `width` columns of `rows` rows. A place is a buffer, the index of its first number, and how many numbers lie
    /// from one row to the next.
    fn copy_columns(
        &self,
        rows: usize,
        width: usize,
        from: (&Self::Buffer, usize, usize),
        to: (&mut Self::Buffer, usize, usize),
    );
    /// Moves `len` numbers within a buffer; the two places may overlap.
    fn move_within(&self, buffer: &mut Self::Buffer, from_offset: usize, to_offset: usize, len: usize);
    /// Adds the first `len` numbers of one buffer to those of another.
    fn add(&self, from: &Self::Buffer, to: &mut Self::Buffer, len: usize);
    /// Room outside of the device's memory for `len` numbers in its storage type; on a GPU, pinned memory of the host.
    fn away(&self, len: usize) -> Result<Self::Away>;
    /// Begins to copy the first `len` numbers of a buffer there, as they are after all work so far. Until [`Device::settle`] nothing
    /// may be written to the buffer.
    fn send(&self, from: &Self::Buffer, to: &mut Self::Away, len: usize);
    /// Begins to copy them back, behind all work so far and what was sent there. Until [`Device::settle`] nothing may read the buffer
    /// or write to it.
    fn bring(&self, from: &Self::Away, to: &mut Self::Buffer, len: usize);
    /// Lets all later work wait for the last copy to or from there.
    fn settle(&self, away: &Self::Away);
    /// Bytes outside of the device's memory that [`Device::away`] holds now.
    fn memory_away(&self) -> u64;
    /// Quantises a matrix.
    fn quantize(&self, data: &[f32], format: Format) -> Result<Self::Quantized>;
    /// The matrix that a quantised one stands for.
    fn dequantize(&self, from: &Self::Quantized) -> Vec<f32>;
    /// Prepares the rows of a pass.
    fn batch(&self, rows: &Rows<'_>) -> Result<Self::Batch>;
    /// Bytes in buffers now, and the most there ever were.
    fn memory(&self) -> (u64, u64);

    /// x `[T, C]` = the table's rows at the batch's tokens.
    fn embed(&self, batch: &Self::Batch, table: &Weight<Self>, hidden: usize, x: &mut Self::Buffer);
    /// dtable += rows of dx at their tokens.
    fn embed_backward(&self, batch: &Self::Batch, dx: &Self::Buffer, hidden: usize, dtable: &mut Self::Buffer);
    /// y = x ÷ rms(x) · weight over rows of `hidden`.
    fn rms_norm(&self, rows: usize, x: &Self::Buffer, weight: &Weight<Self>, eps: f32, y: &mut Self::Buffer);
    /// dx += and dweight +=.
    #[allow(clippy::too_many_arguments, reason = "x, weight, dy, dx and dweight are the op's mathematics")]
    fn rms_norm_backward(
        &self,
        rows: usize,
        x: &Self::Buffer,
        weight: &Weight<Self>,
        eps: f32,
        dy: &Self::Buffer,
        dx: &mut Self::Buffer,
        dweight: Option<&mut Self::Buffer>,
    );
    /// y `[T, C]` += the bias `[C]` in every row.
    fn add_bias(&self, rows: usize, bias: &Weight<Self>, y: &mut Self::Buffer);
    /// dbias += the sum of the rows of dy.
    fn bias_backward(&self, rows: usize, dy: &Self::Buffer, dbias: &mut Self::Buffer);
    /// y (+)= scale · x wᵀ.
    fn linear(&self, job: Linear, x: &Self::Buffer, w: &Weight<Self>, y: &mut Self::Buffer);
    /// Products of one x, none of which waits for another.
    fn linears(&self, x: &Self::Buffer, products: &mut [Product<'_, Self>]) {
        products.iter_mut().for_each(|Product { job, w, y }| self.linear(*job, x, w, y));
    }
    /// dx (+)= scale · dy w.
    fn linear_backward_input(&self, job: Linear, dy: &Self::Buffer, w: &Weight<Self>, dx: &mut Self::Buffer);
    /// dw (+)= scale · dyᵀ x.
    fn linear_backward_weight(&self, job: Linear, dy: &Self::Buffer, x: &Self::Buffer, dw: &mut Self::Buffer);
    /// Rotates `[T, heads, D]` in place to the batch's positions, or back.
    fn rope(&self, batch: &Self::Batch, heads: usize, x: &mut Self::Buffer, direction: crate::rope::Direction);
    /// Attention and its log-sum-exp.
    #[allow(clippy::too_many_arguments, reason = "q, k, v, out and lse are the op's mathematics")]
    fn attention(
        &self,
        batch: &Self::Batch,
        job: &Attention<'_>,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        out: &mut Self::Buffer,
        lse: &mut Self::Buffer,
    );
    /// Overwrites dq, dk and dv.
    fn attention_backward(
        &self,
        batch: &Self::Batch,
        job: &Attention<'_>,
        saved: Saved<'_, Self>,
        grads: Grads<'_, Self>,
    );
    /// Joins two attentions of the same queries over different keys into the first, by their log-sum-exp.
    fn merge(&self, job: &Attention<'_>, into: Partial<'_, Self>, other: (&Self::Buffer, &Self::Buffer));
    /// y (+)= mask · x over the first `len` numbers.
    fn dropout(&self, mask: dropout::Mask, len: usize, x: &Self::Buffer, y: &mut Self::Buffer, write: Write);
    /// out = α · full + (1 − α) · stream in each head; the gates of these heads begin at the number beside their buffer.
    fn gate(
        &self,
        job: &Attention<'_>,
        gates: (&Self::Buffer, usize),
        full: &Self::Buffer,
        stream: &Self::Buffer,
        out: &mut Self::Buffer,
    );
    /// Turns `dout` into the gradient of `full`, overwrites `dstream`, and adds to `dgates`, which begin where the gates do.
    fn gate_backward(
        &self,
        job: &Attention<'_>,
        gates: (&Self::Buffer, usize),
        mixed: (&Self::Buffer, &Self::Buffer),
        grads: GateGrads<'_, Self>,
    );
    /// Mean squared difference of each row of x and y whose target counts; dx is overwritten, y gets no gradient.
    fn distance(
        &self,
        batch: &Self::Batch,
        job: Distance,
        x: &Self::Buffer,
        y: &Self::Buffer,
        dx: &mut Self::Buffer,
    ) -> Vec<f32>;
    /// out = silu(gate) · up.
    fn swiglu(&self, len: usize, gate: &Self::Buffer, up: &Self::Buffer, out: &mut Self::Buffer);
    /// Overwrites gate and up with their gradients.
    fn swiglu_backward(&self, len: usize, dout: &Self::Buffer, gate: &mut Self::Buffer, up: &mut Self::Buffer);
    /// Loss and predictions of every row; with `grads`, dx is overwritten and dw (where given) added to.
    fn head(
        &self,
        batch: &Self::Batch,
        job: Head,
        x: &Self::Buffer,
        w: &Weight<Self>,
        grads: Option<HeadGrads<'_, Self>>,
    ) -> Result<Scores>;
    /// One AdamW step.
    fn adamw(
        &self,
        hyper: &adamw::Hyper,
        param: &mut Self::Buffer,
        grad: &Self::Buffer,
        m: &mut Self::Buffer,
        v: &mut Self::Buffer,
    );
    /// Moments of `len` parameters in 8 bits, as before the first step.
    fn moments_8bit(&self, len: usize) -> Result<Self::Moments>;
    /// One AdamW step whose moments are kept in 8 bits.
    fn adamw_8bit(
        &self,
        hyper: &adamw::Hyper,
        param: &mut Self::Buffer,
        grad: &Self::Buffer,
        moments: &mut Self::Moments,
    );
    /// The moments as they are stored.
    fn download_8bit(&self, from: &Self::Moments) -> adamw::eight_bit::Moments;
    /// Puts back what [`Device::download_8bit`] gave for as many parameters.
    fn write_8bit(&self, moments: &adamw::eight_bit::Moments, to: &mut Self::Moments);
    /// Σ x², in f64.
    fn sum_of_squares(&self, x: &Self::Buffer) -> f64;
}

/// One of several products of the same x.
#[derive(Debug)]
pub struct Product<'a, D: Device> {
    /// Its sizes.
    pub job: Linear,
    /// The matrix.
    pub w: &'a Weight<D>,
    /// Where it goes.
    pub y: &'a mut D::Buffer,
}

/// An attention output `[T, H, D]` and its log-sum-exp `[T, H]`.
pub type Partial<'a, D> = (&'a mut <D as Device>::Buffer, &'a mut <D as Device>::Buffer);

/// What attention's forward pass left for its backward pass.
#[derive(Debug)]
pub struct Saved<'a, D: Device> {
    /// Rotated queries.
    pub q: &'a D::Buffer,
    /// Rotated keys.
    pub k: &'a D::Buffer,
    /// Values.
    pub v: &'a D::Buffer,
    /// The output.
    pub out: &'a D::Buffer,
    /// The log-sum-exp of each row and head.
    pub lse: &'a D::Buffer,
    /// The output's gradient.
    pub dout: &'a D::Buffer,
}

/// Where attention's backward pass writes.
#[derive(Debug)]
pub struct Grads<'a, D: Device> {
    /// Gradient of the rotated queries.
    pub dq: &'a mut D::Buffer,
    /// Gradient of the rotated keys.
    pub dk: &'a mut D::Buffer,
    /// Gradient of the values.
    pub dv: &'a mut D::Buffer,
}

/// Where the head writes its gradients.
#[derive(Debug)]
pub struct HeadGrads<'a, D: Device> {
    /// Gradient of the rows, overwritten.
    pub dx: &'a mut D::Buffer,
    /// Gradient of the matrix, added to; absent when the matrix is frozen.
    pub dw: Option<&'a mut D::Buffer>,
}

/// Where the gradients of gated heads go.
#[derive(Debug)]
pub struct GateGrads<'a, D: Device> {
    /// Gradient of the mixture on entry, of the full part afterwards.
    pub dout: &'a mut D::Buffer,
    /// Gradient of the streaming part, overwritten.
    pub dstream: &'a mut D::Buffer,
    /// Gradients of all gates, added to.
    pub dgates: &'a mut D::Buffer,
}
