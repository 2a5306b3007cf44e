//! A GPU as a device: bf16 numbers, f32 sums, f32 masters of what learns, all work on one stream.
//!
//! Ops that have no way to fail leave what went wrong behind: nothing is queued after it, and [`Device::check`] says it, as does
//! every call that may fail.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Attention, Device, Error, Result, Slot, Weight};
use crate::attention::cuda::{Passes, Visible};
use crate::cuda::driver::{Driver, Error as DriverError, Result as Driven, Size, Stream};
use crate::cuda::runtime::{Memory, Queue, Region, Runtime, together};
use crate::cuda::source::Compiler;
use crate::embedding::cuda::Occurrences;
use crate::linear::cuda::{Number, Products};
use crate::nf4;

mod buffer;
mod head;
mod ops;
mod scratch;

pub use buffer::{CudaAway, CudaBatch, CudaBuffer, CudaMoments, CudaNf4, CudaQuantized};
use buffer::{Found, Key, encode, words};
use scratch::{Held, Scratch, Use};

/// A GPU behind a driver `D`, with a compiler `C` for its kernels and `P` for products of matrices.
pub struct Cuda<D: Driver, C, P> {
    shared: Arc<Shared<D, C, P>>,
    deterministic: bool,
}

/// In the order in which it goes: the driver last.
struct Shared<D: Driver, C, P> {
    scratch: Scratch<D>,
    products: P,
    failure: Mutex<Option<Error>>,
    limit: u64,
    size: Size,
    stream: Stream,
    /// For copies to and from the host while kernels run.
    copies: Stream,
    runtime: Runtime<D, C>,
}

impl<D: Driver, C, P> Clone for Cuda<D, C, P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), deterministic: self.deterministic }
    }
}

impl<D: Driver, C, P> fmt::Debug for Cuda<D, C, P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, deterministic } = self;
        let mut out = out.debug_struct("Cuda");
        out.field("limit", &shared.limit).field("deterministic", deterministic).finish_non_exhaustive()
    }
}

impl<D: Driver, C, P> Drop for Shared<D, C, P> {
    fn drop(&mut self) {
        for stream in [self.copies, self.stream] {
            // A driver that cannot end a stream has lost its device, and the stream with it.
            let _ = self.runtime.driver().end_stream(stream);
        }
    }
}

impl<D: Driver, C: Compiler, P: Products<D, C>> Cuda<D, C, P> {
    /// A GPU whose buffers may not hold more than `limit` bytes at once.
    ///
    /// # Errors
    /// When the driver does not say how large it is, or gives no streams.
    pub fn new(runtime: Runtime<D, C>, products: P, limit: u64) -> Driven<Self> {
        let size = runtime.driver().size()?;
        let stream = runtime.driver().stream()?;
        let copies = runtime.driver().stream().inspect_err(|_| {
            let _ = runtime.driver().end_stream(stream);
        })?;
        let (scratch, failure) = (Scratch::new(), Mutex::default());
        let shared = Shared { scratch, products, failure, limit, size, stream, copies, runtime };
        Ok(Self { shared: Arc::new(shared), deterministic: false })
    }

    /// The same GPU: whether the same work gives the same bits every time, for which attention's backward pass computes seven
    /// products in place of five.
    #[must_use]
    pub fn deterministic(self, deterministic: bool) -> Self {
        Self { deterministic, ..self }
    }

    /// What is below.
    pub fn runtime(&self) -> &Runtime<D, C> {
        &self.shared.runtime
    }

    /// Waits for what is queued, which may never end: a GPU that is not done after `most` is given up.
    #[cfg(feature = "cuda")]
    pub(crate) fn finish_within(&self, most: std::time::Duration) -> Result<()> {
        self.op(|queue| self.driver().synchronize_within(queue.stream(), most));
        self.check()
    }

    /// Goes on after an op that failed.
    #[cfg(feature = "cuda")]
    pub(crate) fn forgive(&self) {
        *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn queue(&self) -> Queue<'_, D, C> {
        self.shared.runtime.queue(self.shared.stream)
    }

    fn driver(&self) -> &D {
        self.shared.runtime.driver()
    }

    /// Runs an op, unless one before it failed.
    fn op(&self, op: impl FnOnce(Queue<'_, D, C>) -> Driven<()>) {
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = op(self.queue()).err().map(|error| self.said(error));
        }
    }

    /// In the words of a device.
    fn said(&self, error: DriverError) -> Error {
        match error {
            DriverError::OutOfMemory { requested } => {
                Error::OutOfMemory { requested, live: self.memory().0, limit: self.shared.limit }
            }
            other => Error::Gpu(other),
        }
    }

    /// Memory within the limit, whatever is in it.
    fn allocate(&self, bytes: u64) -> Driven<Memory<D>> {
        let live = self.shared.runtime.usage().0;
        match live.checked_add(bytes).is_some_and(|all| all <= self.shared.limit) {
            true => self.shared.runtime.memory(bytes),
            false => Err(DriverError::OutOfMemory { requested: bytes }),
        }
    }

    fn uploaded(&self, bytes: &[u8]) -> Driven<Memory<D>> {
        let memory = self.allocate(bytes.len() as u64)?;
        memory.write(self.shared.stream, bytes)?;
        Ok(memory)
    }

    fn fresh(&self, len: usize, number: Number) -> Driven<CudaBuffer<D>> {
        let numbers = self.allocate((len * number.bytes()) as u64)?;
        self.driver().fill(self.shared.stream, numbers.address(), 0, numbers.bytes())?;
        Ok(CudaBuffer { numbers, number, master: None, len })
    }

    fn arena_of(&self, slots: &[Slot]) -> Driven<Vec<CudaBuffer<D>>> {
        let number = |slot: &Slot| if slot.exact { Number::F32 } else { Number::Bf16 };
        let sizes: Vec<u64> = slots.iter().map(|slot| (slot.len * number(slot).bytes()) as u64).collect();
        let all = self.allocate(together(&sizes))?;
        self.driver().fill(self.shared.stream, all.address(), 0, all.bytes())?;
        let buffer = |(numbers, slot): (Memory<D>, &Slot)| CudaBuffer {
            numbers,
            number: number(slot),
            master: None,
            len: slot.len,
        };
        Ok(all.cut(&sizes).into_iter().zip(slots).map(buffer).collect())
    }

    /// Queues a copy beside the kernels that come after it, behind those before it.
    fn beside(&self, away: &CudaAway<D>, copy: impl FnOnce(Stream) -> Driven<()>) {
        self.op(|queue| {
            let (runtime, copies) = (queue.runtime(), self.shared.copies);
            runtime.mark(queue.stream())?.holds(copies)?;
            copy(copies)?;
            *away.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(runtime.mark(copies)?);
            Ok(())
        });
    }

    /// Memory for the op at hand.
    fn hold(&self, which: Use, bytes: u64) -> Driven<Held<'_, D>> {
        self.shared.scratch.hold(which, bytes, |bytes| self.allocate(bytes))
    }

    /// Numbers that never change, written when they are first needed.
    fn table(&self, which: Use, table: &[f32]) -> Driven<Held<'_, D>> {
        let held = self.hold(which, 4 * table.len() as u64)?;
        if let Some(memory) = held.memory().filter(|_| held.is_fresh()) {
            memory.write(self.shared.stream, &encode(table, Number::F32))?;
        }
        Ok(held)
    }

    /// Runs `job` on a bf16 matrix, unpacking it first where it is quantised.
    fn with_weight(&self, weight: &Weight<Self>, job: impl FnOnce(Region<'_>) -> Driven<()>) -> Driven<()> {
        let matrix = match weight {
            Weight::Dense(buffer) => return job(buffer.bf16()),
            Weight::Quantized(CudaQuantized::Q8_0(buffer)) => return job(buffer.bf16()),
            Weight::Quantized(CudaQuantized::Nf4(matrix)) => matrix,
        };
        let held = self.table(Use::Tables, &nf4::cuda::tables())?;
        let unpacked = self.hold(Use::Unpacked, 2 * matrix.len as u64)?;
        let from = nf4::cuda::Quantized {
            tables: held.all(),
            packed: matrix.packed.all(),
            absmax: matrix.absmax.all(),
            absmax_scale: matrix.absmax_scale.all(),
            offset: matrix.offset,
            len: matrix.len,
        };
        nf4::cuda::dequantize(self.queue(), from, 0..matrix.len, unpacked.all())?;
        job(unpacked.all())
    }

    /// Lists of what is visible in a call, made once for a batch.
    fn visible(&self, batch: &CudaBatch<D>, job: &Attention<'_>, passes: Passes) -> Driven<Arc<Visible<D>>> {
        let mut all = batch.visible.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::new(job, passes);
        if let Some((_, made)) = all.iter().find(|(made_for, _)| *made_for == key) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(Visible::new(self.queue(), &batch.mask(job), &job.shape, passes)?);
        all.push((key, Arc::clone(&made)));
        Ok(made)
    }

    /// Which rows hold which token, made once for a batch, and in device memory.
    fn occurrences(&self, batch: &CudaBatch<D>) -> Driven<Found<D>> {
        let mut held = batch.occurrences.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*held {
            return Ok(Arc::clone(made));
        }
        let found = Occurrences::new(&batch.tokens);
        let lists = [&found.tokens, &found.first, &found.rows].map(|list| words(list, u32::to_le_bytes));
        let memory = self.uploaded(&lists.concat())?;
        Ok(Arc::clone(held.insert(Arc::new((found, memory)))))
    }

    fn upload_as(&self, data: &[f32], number: Number) -> Result<Memory<D>> {
        self.check()?;
        self.uploaded(&encode(data, number)).map_err(|error| self.said(error))
    }

    /// The bytes at the beginning of a memory; zeros after a failure.
    fn read(&self, memory: &Memory<D>, len: usize) -> Vec<u8> {
        let mut bytes = vec![];
        self.op(|_| {
            bytes = memory.read(self.shared.stream, len)?;
            Ok(())
        });
        bytes.resize(len, 0);
        bytes
    }

    /// What an op has left in memory that is held.
    fn fetch(&self, held: &Held<'_, D>, len: usize) -> Driven<Vec<u8>> {
        held.memory().map_or_else(|| Ok(vec![0; len]), |memory| memory.read(self.shared.stream, len))
    }
}
