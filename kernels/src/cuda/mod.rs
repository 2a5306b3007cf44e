//! The ops as CUDA kernels: bf16 storage, f32 accumulation, tensor cores through `mma.sync` on compute capability 8.0 and up.
//!
//! A kernel is text, embedded in the binary and compiled on the machine it runs on, for one set of constants
//! ([`source::Source`]). It is proven without a GPU twice: the compiler's cubin is held to a budget of registers and shared
//! memory ([`Budget`]), and the same text, compiled for the host, runs the conformance suite in the emulation.
//!
//! Everything that touches a machine goes through two narrow doors: [`driver::Driver`] (memory, modules, launches) and
//! [`source::Compiler`] (text to image). [`runtime::Runtime`] stands on both and knows no kernel.

pub mod cache;
#[cfg(feature = "cuda")]
pub mod card;
pub mod copy;
#[cfg(feature = "cuda")]
pub mod cublas;
pub mod driver;
#[cfg(feature = "cuda")]
pub mod gpu;
#[cfg(feature = "cuda")]
mod libraries;
#[cfg(feature = "cuda")]
pub mod nvrtc;
pub mod runtime;
pub mod shipped;
pub mod source;

#[cfg(any(test, feature = "emulation"))]
#[doc(hidden)]
pub mod emulation;
#[cfg(test)]
mod faults;

use source::Source;

/// One kernel with its constants, and what a launch of it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The text it is in.
    pub source: Source,
    /// Its name there.
    pub entry: &'static str,
    /// Threads of a block, a multiple of 32.
    pub threads: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
    /// What the compiler may take for it.
    pub budget: Budget,
}

/// Limits that a compiled kernel is held to. No kernel may spill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks that fit a multiprocessor at the same time, by registers (65 536) and by shared memory.
    pub blocks: u32,
}

impl Budget {
    /// Registers of a multiprocessor.
    const REGISTERS: u32 = 1 << 16;
    /// Shared memory that the system takes of every block, bytes.
    const RESERVED: u32 = 1 << 10;

    /// Registers a thread may take, which the hardware gives in eights and at most 255 of.
    pub fn registers(&self, threads: u32) -> u32 {
        (Self::REGISTERS / (self.blocks * threads) / 8 * 8).min(255)
    }

    /// Shared memory a block may take, bytes: on every GPU from compute capability 8.0 on, or on `hopper`'s 9.0.
    pub fn shared(&self, hopper: bool) -> u32 {
        let all: u32 = if hopper { 228 << 10 } else { 164 << 10 };
        all / self.blocks - Self::RESERVED
    }
}

/// Blocks of `threads` that make up `jobs`; panics beyond 2³¹ of them, which no buffer holds.
#[track_caller]
pub(crate) fn blocks(jobs: u64, threads: usize) -> u32 {
    let blocks = jobs.div_ceil(threads as u64);
    assert!(blocks < 1 << 31, "kernels: {jobs} jobs are more than a launch starts");
    blocks as u32
}

/// A kernel's parameters, laid out as C lays them out, as `p` is in the kernel's text.
///
/// # Safety
/// The type is `repr(C)`, has no padding, and its fields are numbers and [`driver::Address`]es.
pub unsafe trait Params: Copy {
    /// Its bytes.
    fn bytes(&self) -> &[u8] {
        // SAFETY: no padding, by this trait's contract, so that every byte is initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

/// A `repr(C)` struct of parameters that fails to compile when it has padding.
macro_rules! params {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        $vis struct $name { $($(#[$field_doc])* $vis $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "padding");
        // SAFETY: `repr(C)`, and the sizes of the fields make up the whole.
        unsafe impl $crate::cuda::Params for $name {}
    };
}
pub(crate) use params;
