//! What the suite runs on: an emulation, or the machine's GPU.

use std::time::Duration;

use crate::cuda::driver::{
    Address, Driver, Event, Function, Geometry, Module, Pinned, Result, Size, Stream, Tensor, TensorMap,
};
use crate::cuda::emulation::{self, Emulator, HostCompiler, Mistake};
use crate::cuda::runtime::{Memory, Runtime};
use crate::cuda::source::{Compiler, Source};

/// One of the two.
#[derive(Debug)]
pub(in crate::conformance) enum Machine {
    Emulated(Emulator),
    #[cfg(feature = "cuda")]
    Card(crate::cuda::gpu::Gpu),
}

/// Its compiler.
#[derive(Debug)]
pub(in crate::conformance) enum Images {
    Emulated(HostCompiler),
    #[cfg(feature = "cuda")]
    Card(crate::cuda::card::Images),
}

/// An emulation whose threads run in an order drawn from `seed`, `hopper` as of compute capability 9.0.
pub(super) fn emulated(seed: u64, hopper: bool, mistake: Option<Mistake>) -> Option<Runtime<Machine, Images>> {
    let (emulator, compiler) = emulation::parts_with(seed, hopper, mistake)?;
    let cache = Some(emulation::cache());
    Some(Runtime::new(Machine::Emulated(emulator), Images::Emulated(compiler), cache))
}

/// The GPU, where the environment asks for it, with the kernels of compute capability 9.0 where it has that and `hopper` says so.
/// Compiled kernels are kept in the folder that `CONTEXT_RECIPE_KERNELS` names, or in one of the system's for what is temporary.
#[cfg(feature = "cuda")]
pub(super) fn card(hopper: bool) -> Option<Runtime<Machine, Images>> {
    use crate::cuda::runtime::Hopper;
    use crate::cuda::{cache::Cache, card};
    std::env::var_os("KERNELS_ON_GPU")?;
    let folder = std::env::var_os("CONTEXT_RECIPE_KERNELS").map(std::path::PathBuf::from);
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("context-recipe-kernels"));
    let (gpu, images) = card::parts(Some(&folder)).expect("a GPU, and a compiler for it");
    let runtime = Runtime::new(Machine::Card(gpu), Images::Card(images), Some(Cache::new(folder)));
    runtime.use_hopper(Hopper { forward: hopper, backward: hopper });
    Some(runtime)
}

#[cfg(not(feature = "cuda"))]
pub(super) fn card(_hopper: bool) -> Option<Runtime<Machine, Images>> {
    None
}

impl Machine {
    /// Fills memory with what an emulation's begins with.
    pub(super) fn spoil(&self, memory: &Memory<Machine>) {
        #[cfg(feature = "cuda")]
        if let Self::Card(gpu) = self {
            let byte = if memory.bytes() < 1 << 30 { 0xff } else { 0 };
            gpu.fill(Stream(0), memory.address(), byte, memory.bytes()).expect("a fill");
        }
        #[cfg(not(feature = "cuda"))]
        let _ = memory;
    }
}

/// Hands calls on to whichever it is.
macro_rules! hand_on {
    ($(fn $name:ident(&self $(, $given:ident: $type:ty)*) -> $result:ty;)*) => {
        $(fn $name(&self $(, $given: $type)*) -> $result {
            match self {
                Self::Emulated(own) => own.$name($($given),*),
                #[cfg(feature = "cuda")]
                Self::Card(own) => own.$name($($given),*),
            }
        })*
    };
}

impl Compiler for Images {
    hand_on! {
        fn identity(&self) -> String;
        fn hopper(&self) -> bool;
        fn compile(&self, source: &Source) -> Result<Vec<u8>>;
    }
}

impl Driver for Machine {
    hand_on! {
        fn describe(&self) -> Result<String>;
        fn size(&self) -> Result<Size>;
        fn allocate(&self, bytes: u64) -> Result<Address>;
        fn free(&self, address: Address) -> Result<()>;
        fn write(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<()>;
        fn read(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<()>;
        fn copy(&self, stream: Stream, from: Address, to: Address, bytes: u64) -> Result<()>;
        fn fill(&self, stream: Stream, to: Address, value: u8, bytes: u64) -> Result<()>;
        fn pin(&self, bytes: u64) -> Result<Pinned>;
        fn unpin(&self, pinned: Pinned) -> Result<()>;
        fn send(&self, stream: Stream, from: Address, to: Pinned, bytes: u64) -> Result<()>;
        fn bring(&self, stream: Stream, from: Pinned, to: Address, bytes: u64) -> Result<()>;
        fn load(&self, image: &[u8], what: &str) -> Result<Module>;
        fn unload(&self, module: Module) -> Result<()>;
        fn function(&self, module: Module, entry: &str, shared: u32) -> Result<Function>;
        fn launch(&self, stream: Stream, function: Function, geometry: Geometry, params: &[u8]) -> Result<()>;
        fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap>;
        fn stream(&self) -> Result<Stream>;
        fn end_stream(&self, stream: Stream) -> Result<()>;
        fn record(&self, stream: Stream) -> Result<Event>;
        fn wait(&self, stream: Stream, event: Event) -> Result<()>;
        fn forget(&self, event: Event) -> Result<()>;
        fn synchronize(&self, stream: Stream) -> Result<()>;
        fn synchronize_within(&self, stream: Stream, most: Duration) -> Result<()>;
    }
}
