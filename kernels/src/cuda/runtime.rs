//! Memory that gives itself back, and kernels compiled, loaded and started by what they are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Cache;
use super::driver::{Address, Driver, Error, Function, Geometry, Module, Result, Stream};
use super::source::{Compiler, Source};
use super::{Kernel, Params};

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
}

impl<D: Driver, C: Compiler> Runtime<D, C> {
    /// Without a cache every process compiles anew.
    pub fn new(driver: D, compiler: C, cache: Option<Cache>) -> Self {
        Self {
            driver: Arc::new(driver),
            compiler,
            cache,
            modules: Mutex::default(),
            functions: Mutex::default(),
            live: Arc::default(),
            peak: AtomicU64::new(0),
        }
    }

    /// The driver below.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// `bytes` of memory, whatever is in it.
    pub fn memory(&self, bytes: u64) -> Result<Memory<D>> {
        let address = self.driver.allocate(bytes.max(1))?;
        let live = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(live, Ordering::Relaxed);
        Ok(Memory { driver: Arc::clone(&self.driver), live: Arc::clone(&self.live), address, bytes })
    }

    /// Bytes in memory now, and the most there ever were.
    pub fn usage(&self) -> (u64, u64) {
        (self.live.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// The addresses among the parameters lie in live memory of this runtime, as long and as aligned as the kernel's
    /// contract says, and stay alive until the stream has been waited for.
    pub unsafe fn launch(&self, stream: Stream, kernel: &Kernel, grid: [u32; 3], params: &impl Params) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let function = self.function(kernel)?;
        let geometry = Geometry { grid, threads: kernel.threads, shared: kernel.shared };
        self.driver.launch(stream, function, geometry, params.bytes()).map_err(|error| match error {
            Error::Launch { reason, .. } => Error::Launch { kernel: kernel.entry.to_owned(), reason },
            other => other,
        })
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

/// Memory of a device, given back when dropped.
#[derive(Debug)]
pub struct Memory<D: Driver> {
    driver: Arc<D>,
    live: Arc<AtomicU64>,
    address: Address,
    bytes: u64,
}

impl<D: Driver> Memory<D> {
    /// Where it begins.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Overwrites its beginning.
    pub fn write(&self, stream: Stream, bytes: &[u8]) -> Result<()> {
        crate::expect_len("device memory", bytes.len().min(self.bytes as usize), bytes.len());
        self.driver.write(stream, self.address, bytes)
    }

    /// Its first `len` bytes.
    pub fn read(&self, stream: Stream, len: usize) -> Result<Vec<u8>> {
        crate::expect_len("device memory", len.min(self.bytes as usize), len);
        let mut bytes = vec![0; len];
        self.driver.read(stream, self.address, &mut bytes)?;
        Ok(bytes)
    }
}

impl<D: Driver> Drop for Memory<D> {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes, Ordering::Relaxed);
        // A driver that cannot free has lost its device, and the memory with it.
        let _ = self.driver.free(self.address);
    }
}
