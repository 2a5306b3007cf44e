//! Memory that gives itself back, and kernels compiled, loaded and started by what they are.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Cache;
use super::driver::{Address, Driver, Error, Event, Function, Geometry, Module, Pinned, Result, Stream};
use super::source::{Compiler, Source};
use super::{Kernel, Params};

/// Which passes of attention are those that only compute capability 9.0 runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hopper {
    /// Outputs.
    pub forward: bool,
    /// Gradients, but for those that are the same bits every time.
    pub backward: bool,
}

/// A GPU, a compiler for it, and the images that were compiled before.
#[derive(Debug)]
pub struct Runtime<D: Driver, C> {
    driver: Arc<D>,
    compiler: C,
    cache: Option<Cache>,
    modules: Mutex<HashMap<Source, Module>>,
    functions: Mutex<HashMap<(Source, &'static str), Function>>,
    live: Arc<AtomicU64>,
    peak: AtomicU64,
    hopper: Mutex<Hopper>,
    pinned: Arc<AtomicU64>,
}

impl<D: Driver, C> Runtime<D, C> {
    /// The driver below.
    pub fn driver(&self) -> &D {
        &self.driver
    }
}

impl<D: Driver, C: Compiler> Runtime<D, C> {
    /// Which kernels that only compute capability 9.0 runs are started.
    pub fn hopper(&self) -> Hopper {
        *self.hopper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which to start; it changes nothing where the compiler makes none.
    pub fn use_hopper(&self, wanted: Hopper) {
        let wanted = if self.compiler.hopper() { wanted } else { Hopper::default() };
        *self.hopper.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// Without a cache every process compiles anew.
    pub fn new(driver: D, compiler: C, cache: Option<Cache>) -> Self {
        let hopper = Hopper { forward: compiler.hopper(), backward: compiler.hopper() };
        Self {
            driver: Arc::new(driver),
            compiler,
            cache,
            modules: Mutex::default(),
            functions: Mutex::default(),
            live: Arc::default(),
            peak: AtomicU64::new(0),
            hopper: Mutex::new(hopper),
            pinned: Arc::default(),
        }
    }

    /// `bytes` of the host's memory, whatever is in it.
    pub fn host(&self, bytes: u64) -> Result<HostMemory<D>> {
        let pinned = self.driver.pin(bytes.max(1))?;
        self.pinned.fetch_add(bytes, Ordering::Relaxed);
        Ok(HostMemory { driver: Arc::clone(&self.driver), live: Arc::clone(&self.pinned), pinned, bytes })
    }

    /// Bytes of the host's memory that are pinned now.
    pub fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::Relaxed)
    }

    /// Marks what is queued on a stream so far.
    pub fn mark(&self, stream: Stream) -> Result<Mark<D>> {
        let event = self.driver.record(stream)?;
        Ok(Mark { driver: Arc::clone(&self.driver), event })
    }

    /// `bytes` of memory, whatever is in it.
    pub fn memory(&self, bytes: u64) -> Result<Memory<D>> {
        let address = self.driver.allocate(bytes.max(1))?;
        let live = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(live, Ordering::Relaxed);
        let piece = Piece { driver: Arc::clone(&self.driver), live: Arc::clone(&self.live), address, bytes };
        Ok(Memory { piece: Arc::new(piece), address, bytes })
    }

    /// Bytes in memory now, and the most there ever were.
    pub fn usage(&self) -> (u64, u64) {
        (self.live.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }

    /// The texts of all kernels that were started so far.
    pub fn loaded(&self) -> Vec<Source> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A place to queue work.
    pub fn queue(&self, stream: Stream) -> Queue<'_, D, C> {
        Queue { runtime: self, stream }
    }

    /// Compiles a kernel, unless that has been done, and makes it ready.
    pub fn function(&self, kernel: &Kernel) -> Result<Function> {
        let key = (kernel.source.clone(), kernel.entry);
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&key) {
            return Ok(*function);
        }
        let function = self.driver.function(self.module(&kernel.source)?, kernel.entry, kernel.shared)?;
        functions.insert(key, function);
        Ok(function)
    }

    fn module(&self, source: &Source) -> Result<Module> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(source) {
            return Ok(*module);
        }
        let image = match &self.cache {
            Some(cache) => cache.image(&self.compiler, source)?,
            None => self.compiler.compile(source)?,
        };
        let module = self.driver.load(&image, source.file)?;
        modules.insert(source.clone(), module);
        Ok(module)
    }
}

impl<D: Driver, C> Drop for Runtime<D, C> {
    fn drop(&mut self) {
        let modules = std::mem::take(&mut *self.modules.lock().unwrap_or_else(PoisonError::into_inner));
        for module in modules.into_values() {
            // A driver that cannot unload has lost its device, and the modules with it.
            let _ = self.driver.unload(module);
        }
    }
}

/// A stream of a runtime.
#[derive(Debug)]
pub struct Queue<'a, D: Driver, C> {
    runtime: &'a Runtime<D, C>,
    stream: Stream,
}

impl<D: Driver, C> Clone for Queue<'_, D, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Driver, C> Copy for Queue<'_, D, C> {}

impl<'a, D: Driver, C: Compiler> Queue<'a, D, C> {
    /// The runtime whose stream this is.
    pub fn runtime(&self) -> &'a Runtime<D, C> {
        self.runtime
    }

    /// The stream.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Queues a kernel; a grid without blocks is no work.
    ///
    /// # Safety
    /// The addresses among the parameters lie in live memory of this runtime, as long and as aligned as the kernel's
    /// contract says.
    pub unsafe fn launch(&self, kernel: &Kernel, grid: [u32; 3], params: &impl Params) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let function = self.runtime.function(kernel)?;
        let geometry = Geometry { grid, threads: kernel.threads, shared: kernel.shared };
        self.runtime.driver.launch(self.stream, function, geometry, params.bytes()).map_err(|error| match error {
            Error::Launch { reason, .. } => Error::Launch { kernel: kernel.entry.to_owned(), reason },
            other => other,
        })
    }
}

/// Part of a [`Memory`].
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    address: Address,
    bytes: u64,
    memory: PhantomData<&'a ()>,
}

impl Region<'_> {
    /// Nowhere.
    pub(crate) const NONE: Region<'static> = Region { address: Address::NULL, bytes: 0, memory: PhantomData };

    /// Its address; panics when it holds fewer bytes than an op touches.
    #[track_caller]
    pub fn need(&self, name: &str, bytes: usize) -> Address {
        assert!(bytes as u64 <= self.bytes, "kernels: `{name}` holds {} bytes, its shape needs {bytes}", self.bytes);
        self.address
    }
}

/// A place in a stream, given back when dropped.
#[derive(Debug)]
pub struct Mark<D: Driver> {
    driver: Arc<D>,
    event: Event,
}

impl<D: Driver> Mark<D> {
    /// Lets later work of a stream wait for it.
    pub fn holds(&self, stream: Stream) -> Result<()> {
        self.driver.wait(stream, self.event)
    }
}

impl<D: Driver> Drop for Mark<D> {
    fn drop(&mut self) {
        // A driver that cannot forget has lost its device, and the mark with it.
        let _ = self.driver.forget(self.event);
    }
}

/// Pinned memory of the host, given back when dropped.
#[derive(Debug)]
pub struct HostMemory<D: Driver> {
    driver: Arc<D>,
    live: Arc<AtomicU64>,
    pinned: Pinned,
    bytes: u64,
}

impl<D: Driver> HostMemory<D> {
    /// Queues a copy of the beginning of a device's memory to its own.
    pub fn fill_from(&self, stream: Stream, from: Region<'_>, bytes: usize) -> Result<()> {
        self.driver.send(stream, from.need("what is sent", bytes), self.need(bytes), bytes as u64)
    }

    /// Queues a copy of its beginning to that of a device's memory.
    pub fn copy_to(&self, stream: Stream, to: Region<'_>, bytes: usize) -> Result<()> {
        self.driver.bring(stream, self.need(bytes), to.need("what is brought", bytes), bytes as u64)
    }

    #[track_caller]
    fn need(&self, bytes: usize) -> Pinned {
        assert!(bytes as u64 <= self.bytes, "kernels: {bytes} bytes in a host memory of {}", self.bytes);
        self.pinned
    }
}

impl<D: Driver> Drop for HostMemory<D> {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes, Ordering::Relaxed);
        // A driver that cannot give it back has lost its device, and the memory with it.
        let _ = self.driver.unpin(self.pinned);
    }
}

/// What a driver has handed out, given back when dropped.
#[derive(Debug)]
struct Piece<D: Driver> {
    driver: Arc<D>,
    live: Arc<AtomicU64>,
    address: Address,
    bytes: u64,
}

impl<D: Driver> Drop for Piece<D> {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes, Ordering::Relaxed);
        // A driver that cannot free has lost its device, and the memory with it.
        let _ = self.driver.free(self.address);
    }
}

/// Memory of a device, given back when it is dropped and all that it was cut from.
#[derive(Debug)]
pub struct Memory<D: Driver> {
    piece: Arc<Piece<D>>,
    address: Address,
    bytes: u64,
}

/// Where each memory of an arena begins.
const ALIGNED: u64 = 256;

/// What memories of these sizes take when they are cut from one.
pub(crate) fn together(sizes: &[u64]) -> u64 {
    sizes.iter().fold(0, |sum, bytes| sum.saturating_add(bytes.next_multiple_of(ALIGNED)))
}

impl<D: Driver> Memory<D> {
    /// Cuts it into memories of these sizes, which take [`together`] of it.
    pub(crate) fn cut(self, sizes: &[u64]) -> Vec<Memory<D>> {
        assert!(together(sizes) <= self.bytes, "kernels: {} bytes are cut into more", self.bytes);
        let mut end = 0;
        let mut next = |bytes: &u64| {
            let address = self.address.plus(end);
            end += bytes.next_multiple_of(ALIGNED);
            Memory { piece: Arc::clone(&self.piece), address, bytes: *bytes }
        };
        sizes.iter().map(&mut next).collect()
    }

    /// Where it begins.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of it.
    pub fn all(&self) -> Region<'_> {
        self.from(0)
    }

    /// What lies behind its first `offset` bytes.
    #[track_caller]
    pub fn from(&self, offset: u64) -> Region<'_> {
        assert!(offset <= self.bytes, "kernels: byte {offset} of a memory of {}", self.bytes);
        Region { address: self.address.plus(offset), bytes: self.bytes - offset, memory: PhantomData }
    }

    /// Overwrites its beginning.
    pub fn write(&self, stream: Stream, bytes: &[u8]) -> Result<()> {
        self.piece.driver.write(stream, self.all().need("device memory", bytes.len()), bytes)
    }

    /// Its first `len` bytes.
    pub fn read(&self, stream: Stream, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.piece.driver.read(stream, self.all().need("device memory", len), &mut bytes)?;
        Ok(bytes)
    }
}
