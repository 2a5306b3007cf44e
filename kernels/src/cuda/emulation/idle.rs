//! A GPU that hands out addresses and does nothing else: what an engine asks of memory can be counted at any size.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cuda::driver::{
    Address, Driver, Error, Event, Function, Geometry, Module, Pinned, Result, Size, Stream, Tensor, TensorMap,
};
use crate::cuda::source::{Compiler, Source};

/// The driver. What is read from it is zero.
#[derive(Debug, Default)]
pub struct Idle {
    handed_out: AtomicU64,
    allocations: AtomicU64,
    /// The allocation that fails, counted from 1; 0 for none.
    fails: u64,
}

impl Idle {
    /// One that has no memory for an allocation, counted from 1.
    pub fn failing_at(allocation: u64) -> Self {
        Self { fails: allocation, ..Self::default() }
    }
}

/// The compiler of a GPU that runs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdleCompiler;

impl Compiler for IdleCompiler {
    fn identity(&self) -> String {
        "none".to_owned()
    }

    fn compile(&self, _: &Source) -> Result<Vec<u8>> {
        Ok(vec![])
    }
}

impl Driver for Idle {
    fn describe(&self) -> Result<String> {
        Ok("a GPU that does nothing".to_owned())
    }

    fn size(&self) -> Result<Size> {
        Ok(Size { multiprocessors: 132, block_memory: 227 << 10 })
    }

    fn allocate(&self, bytes: u64) -> Result<Address> {
        if self.allocations.fetch_add(1, Ordering::Relaxed) + 1 == self.fails {
            return Err(Error::OutOfMemory { requested: bytes });
        }
        let bytes = bytes.next_multiple_of(256);
        Ok(Address(256 + self.handed_out.fetch_add(bytes, Ordering::Relaxed)))
    }

    fn free(&self, _: Address) -> Result<()> {
        Ok(())
    }

    fn write(&self, _: Stream, _: Address, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn read(&self, _: Stream, _: Address, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        Ok(())
    }

    fn copy(&self, _: Stream, _: Address, _: Address, _: u64) -> Result<()> {
        Ok(())
    }

    fn fill(&self, _: Stream, _: Address, _: u8, _: u64) -> Result<()> {
        Ok(())
    }

    fn pin(&self, _: u64) -> Result<Pinned> {
        Ok(Pinned(0))
    }

    fn unpin(&self, _: Pinned) -> Result<()> {
        Ok(())
    }

    fn send(&self, _: Stream, _: Address, _: Pinned, _: u64) -> Result<()> {
        Ok(())
    }

    fn bring(&self, _: Stream, _: Pinned, _: Address, _: u64) -> Result<()> {
        Ok(())
    }

    fn load(&self, _: &[u8], _: &str) -> Result<Module> {
        Ok(Module(0))
    }

    fn unload(&self, _: Module) -> Result<()> {
        Ok(())
    }

    fn function(&self, _: Module, _: &str, _: u32) -> Result<Function> {
        Ok(Function(0))
    }

    fn launch(&self, _: Stream, _: Function, _: Geometry, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn tensor_map(&self, _: &Tensor) -> Result<TensorMap> {
        Ok([0; 16])
    }

    fn stream(&self) -> Result<Stream> {
        Ok(Stream(0))
    }

    fn end_stream(&self, _: Stream) -> Result<()> {
        Ok(())
    }

    fn record(&self, _: Stream) -> Result<Event> {
        Ok(Event(0))
    }

    fn wait(&self, _: Stream, _: Event) -> Result<()> {
        Ok(())
    }

    fn forget(&self, _: Event) -> Result<()> {
        Ok(())
    }

    fn synchronize(&self, _: Stream) -> Result<()> {
        Ok(())
    }
}
