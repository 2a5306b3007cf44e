//! AdamW and the gradient's norm on a GPU.

use super::{Hyper, eight_bit};
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

const THREADS: usize = 256;
/// Numbers of one partial sum of squares.
const CHUNK: usize = 1 << 14;

params! {
    struct Params {
        param: Address,
        copy: Address,
        grad: Address,
        m: Address,
        v: Address,
        len: u64,
        scalars: Scalars,
    }
}

/// What a step makes of its [`Hyper`], in the kernel's order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Scalars {
    decay: f32,
    beta1: [f32; 2],
    beta2: [f32; 2],
    lr: f32,
    correct: [f32; 2],
    eps: f32,
    grad_scale: f32,
}

impl Scalars {
    pub(super) fn new(hyper: &Hyper) -> Scalars {
        assert!(hyper.step > 0, "kernels: AdamW counts its steps from 1");
        let both = |beta: f64| [beta as f32, (1.0 - beta) as f32];
        let correct = |beta: f64| (1.0 - beta.powf(hyper.step as f64)) as f32;
        Scalars {
            decay: (1.0 - hyper.lr * hyper.weight_decay) as f32,
            beta1: both(hyper.beta1),
            beta2: both(hyper.beta2),
            lr: hyper.lr as f32,
            correct: [correct(hyper.beta1), correct(hyper.beta2)],
            eps: hyper.eps as f32,
            grad_scale: hyper.grad_scale as f32,
        }
    }
}

params! {
    struct Sum {
        from: Address,
        to: Address,
        len: u64,
    }
}

/// What a step changes: f32 each, and the bf16 copy of the parameters where there is one.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Master weights.
    pub param: Region<'a>,
    /// What the model computes with.
    pub copy: Option<Region<'a>>,
    /// First moment.
    pub m: Region<'a>,
    /// Second moment.
    pub v: Region<'a>,
}

/// One step over `len` parameters; `grad` f32.
pub fn step<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    hyper: &Hyper,
    len: usize,
    state: State<'_>,
    grad: Region<'_>,
) -> Result<()> {
    let params = Params {
        param: state.param.need("param", 4 * len),
        copy: state.copy.map_or(Address::NULL, |copy| copy.need("copy", 2 * len)),
        grad: grad.need("grad", 4 * len),
        m: state.m.need("m", 4 * len),
        v: state.v.need("v", 4 * len),
        len: len as u64,
        scalars: Scalars::new(hyper),
    };
    // SAFETY: the regions hold `len` numbers each.
    unsafe { queue.launch(&kernel("adamw"), [blocks(len as u64, THREADS), 1, 1], &params) }
}

params! {
    struct EightBit {
        param: Address,
        copy: Address,
        grad: Address,
        moments: [Address; 2],
        scales: [Address; 2],
        tables: Address,
        len: u64,
        scalars: Scalars,
    }
}

/// [`eight_bit::Moments`] in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    /// Codes of the first moment and of the second.
    pub codes: [Region<'a>; 2],
    /// Scales of their blocks.
    pub scales: [Region<'a>; 2],
    /// [`eight_bit::tables`].
    pub tables: Region<'a>,
}

/// As [`step`], with moments of 8 bits.
pub fn step_8bit<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    hyper: &Hyper,
    len: usize,
    (param, copy): (Region<'_>, Option<Region<'_>>),
    grad: Region<'_>,
    moments: Moments<'_>,
) -> Result<()> {
    let blocks = len.div_ceil(eight_bit::BLOCK);
    let params = EightBit {
        param: param.need("param", 4 * len),
        copy: copy.map_or(Address::NULL, |copy| copy.need("copy", 2 * len)),
        grad: grad.need("grad", 4 * len),
        moments: moments.codes.map(|codes| codes.need("codes", len)),
        scales: moments.scales.map(|scales| scales.need("scales", 4 * blocks)),
        tables: moments.tables.need("tables", 8 * 256),
        len: len as u64,
        scalars: Scalars::new(hyper),
    };
    // SAFETY: the regions hold `len` numbers each, and as many scales as that has blocks.
    unsafe { queue.launch(&kernel_8bit(), [self::blocks(len as u64, eight_bit::BLOCK), 1, 1], &params) }
}

fn kernel_8bit() -> Kernel {
    let source = Source { file: "adamw_8bit.cu", texts: vec![include_str!("eight_bit.cu")], constants: Vec::new() };
    let shared = (2 * 256 + 2 * eight_bit::BLOCK / 32) * size_of::<f32>();
    let (threads, budget) = (eight_bit::BLOCK as u32, Budget { blocks: 4 });
    Kernel { source, entry: "adamw_8bit", threads, shared: shared as u32, budget }
}

/// Bytes of partial sums that [`sum_of_squares`] of `len` numbers takes.
pub fn partial_bytes(len: usize) -> u64 {
    (len.div_ceil(CHUNK) * size_of::<f64>()) as u64
}

/// `total` f64 += Σ x² over `len` f32 numbers; `partial` is overwritten.
pub fn sum_of_squares<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    len: usize,
    x: Region<'_>,
    partial: Region<'_>,
    total: Region<'_>,
) -> Result<()> {
    let (chunks, partial) = (len.div_ceil(CHUNK), partial.need("partial", partial_bytes(len) as usize));
    let params = Sum { from: x.need("x", 4 * len), to: partial, len: len as u64 };
    // SAFETY: `len` numbers, a partial sum for each chunk of them.
    unsafe { queue.launch(&kernel("squares"), [chunks as u32, 1, 1], &params)? };
    let params = Sum { from: partial, to: total.need("total", 8), len: chunks as u64 };
    // SAFETY: as above.
    unsafe { queue.launch(&kernel("squares_total"), [1, 1, 1], &params) }
}

/// Every kernel of the file.
pub fn kernels() -> [Kernel; 4] {
    [kernel("adamw"), kernel("squares"), kernel("squares_total"), kernel_8bit()]
}

fn kernel(entry: &'static str) -> Kernel {
    let constants = vec![("THREADS", THREADS as i64), ("CHUNK", CHUNK as i64)];
    let source = Source { file: "adamw.cu", texts: vec![include_str!("adamw.cu")], constants };
    let shared = if entry == "adamw" { 0 } else { THREADS / 32 * size_of::<f64>() };
    Kernel { source, entry, threads: THREADS as u32, shared: shared as u32, budget: Budget { blocks: 4 } }
}
