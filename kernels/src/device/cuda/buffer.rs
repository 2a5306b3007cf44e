//! What a GPU holds for an engine: numbers, NF4 matrices, the rows of a pass.

use std::sync::{Arc, Mutex};

use half::bf16;
use rayon::prelude::*;

use crate::attention::cuda::{Passes, Visible};
use crate::attention::{Mask, Pattern, Patterns, Shape};
use crate::cuda::driver::Driver;
use crate::cuda::runtime::{HostMemory, Mark, Memory, Region};
use crate::device::Attention;
use crate::embedding::cuda::Occurrences;
use crate::linear::cuda::Number;

/// Numbers that a thread turns at once.
const CHUNK: usize = 1 << 15;

/// Numbers in a GPU's memory: bf16, or f32 where they were asked for as such.
#[derive(Debug)]
pub struct CudaBuffer<D: Driver> {
    pub(super) numbers: Memory<D>,
    pub(super) number: Number,
    /// The same numbers in f32, where they learn.
    pub(super) master: Option<Memory<D>>,
    pub(super) len: usize,
}

impl<D: Driver> CudaBuffer<D> {
    /// All of it as bf16 numbers.
    #[track_caller]
    pub(super) fn bf16(&self) -> Region<'_> {
        self.expect(Number::Bf16);
        self.numbers.all()
    }

    /// All of it as f32 numbers.
    #[track_caller]
    pub(super) fn f32(&self) -> Region<'_> {
        self.expect(Number::F32);
        self.numbers.all()
    }

    /// What an optimiser changes: f32 numbers, and their bf16 copy where these are its masters.
    #[track_caller]
    pub(super) fn learns(&self) -> (Region<'_>, Option<Region<'_>>) {
        match &self.master {
            Some(master) => (master.all(), Some(self.bf16())),
            None => (self.f32(), None),
        }
    }

    /// What begins at number `at`.
    #[track_caller]
    pub(super) fn from(&self, at: usize) -> Region<'_> {
        self.numbers.from((at * self.number.bytes()) as u64)
    }

    #[track_caller]
    fn expect(&self, number: Number) {
        assert!(self.number == number, "kernels: a buffer of {:?} where {number:?} is needed", self.number);
    }
}

/// bf16 numbers in pinned memory of the host.
#[derive(Debug)]
pub struct CudaAway<D: Driver> {
    pub(super) numbers: HostMemory<D>,
    /// Behind the last copy to or from there.
    pub(super) last: Mutex<Option<Mark<D>>>,
}

/// The bytes of some numbers as a GPU stores them.
pub(super) fn encode(data: &[f32], number: Number) -> Vec<u8> {
    let mut bytes = vec![0; data.len() * number.bytes()];
    let chunks = bytes.par_chunks_mut(CHUNK * number.bytes()).zip(data.par_chunks(CHUNK));
    chunks.for_each(|(bytes, data)| match number {
        Number::Bf16 => put(bytes, data, |value| bf16::from_f32(value).to_le_bytes()),
        Number::F32 => put(bytes, data, f32::to_le_bytes),
    });
    bytes
}

fn put<const N: usize>(bytes: &mut [u8], data: &[f32], encode: impl Fn(f32) -> [u8; N]) {
    for (to, &value) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(data) {
        *to = encode(value);
    }
}

/// The numbers of some bytes.
pub(super) fn decode(bytes: &[u8], number: Number) -> Vec<f32> {
    match number {
        Number::Bf16 => bytes.as_chunks().0.par_iter().map(|&two| bf16::from_le_bytes(two).to_f32()).collect(),
        Number::F32 => bytes.as_chunks().0.par_iter().map(|&four| f32::from_le_bytes(four)).collect(),
    }
}

/// The bytes of words of four bytes.
pub(super) fn words<T: Copy>(words: &[T], bytes: impl Fn(T) -> [u8; 4]) -> Vec<u8> {
    words.iter().flat_map(|&word| bytes(word)).collect()
}

/// A matrix that does not learn, in a GPU's memory.
#[derive(Debug)]
pub enum CudaQuantized<D: Driver> {
    /// In 4 bits.
    Nf4(CudaNf4<D>),
    /// What 8 bits stand for, rounded to bf16: no product here reads blocks of 8 bits.
    Q8_0(CudaBuffer<D>),
}

impl<D: Driver> CudaQuantized<D> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nf4(matrix) => matrix.len,
            Self::Q8_0(buffer) => buffer.len,
        }
    }
}

/// An NF4 matrix in a GPU's memory.
#[derive(Debug)]
pub struct CudaNf4<D: Driver> {
    pub(super) packed: Memory<D>,
    pub(super) absmax: Memory<D>,
    pub(super) absmax_scale: Memory<D>,
    pub(super) offset: f32,
    pub(super) len: usize,
}

/// AdamW's moments in 8 bits, in a GPU's memory: of the first moment and of the second.
#[derive(Debug)]
pub struct CudaMoments<D: Driver> {
    pub(super) codes: [Memory<D>; 2],
    pub(super) scales: [Memory<D>; 2],
    pub(super) len: usize,
}

/// Which rows hold which token, here and in device memory.
pub(super) type Found<D> = Arc<(Occurrences, Memory<D>)>;

/// The rows of a pass in a GPU's memory, and what attention has made of their borders.
#[derive(Debug)]
pub struct CudaBatch<D: Driver> {
    pub(super) tokens: Vec<u32>,
    pub(super) starts: Vec<usize>,
    pub(super) targets: Vec<i32>,
    pub(super) head_dim: usize,
    /// Cosines and sines, tokens, targets, of four bytes each; the first begin at multiples of 16 bytes.
    pub(super) image: Memory<D>,
    pub(super) occurrences: Mutex<Option<Found<D>>>,
    pub(super) visible: Mutex<Vec<(Key, Arc<Visible<D>>)>>,
}

impl<D: Driver> CudaBatch<D> {
    /// Cosines and sines.
    pub(super) fn tables(&self) -> [Region<'_>; 2] {
        [self.image.all(), self.image.from(self.half())]
    }

    pub(super) fn tokens(&self) -> Region<'_> {
        self.image.from(2 * self.half())
    }

    /// Those from row `from` on.
    pub(super) fn targets(&self, from: usize) -> Region<'_> {
        self.image.from(2 * self.half() + 4 * (self.tokens.len() + from) as u64)
    }

    /// Bytes of one table.
    fn half(&self) -> u64 {
        (2 * self.tokens.len() * self.head_dim) as u64
    }

    pub(super) fn mask<'a>(&'a self, job: &Attention<'a>) -> Mask<'a> {
        let Attention { patterns, query_row, key_row, .. } = *job;
        Mask { patterns, query_row, key_row, starts: &self.starts[..job.shape.queries] }
    }
}

/// What lists of visible tiles depend on, besides the rows of their batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    patterns: Result<Pattern, Vec<Pattern>>,
    rows: [usize; 2],
    shape: Shape,
    passes: Passes,
}

impl Key {
    pub(super) fn new(job: &Attention<'_>, passes: Passes) -> Key {
        let patterns = match job.patterns {
            Patterns::All(pattern) => Ok(pattern),
            Patterns::PerHead(patterns) => Err(patterns.to_vec()),
        };
        Key { patterns, rows: [job.query_row, job.key_row], shape: job.shape, passes }
    }
}
