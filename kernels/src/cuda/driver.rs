//! The narrow door to a GPU: what the layer above asks of a driver, and nothing more.

use std::fmt;
use std::time::Duration;

/// Where something lies in the device's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// The address of no buffer.
    pub const NULL: Address = Address(0);

    /// The place `bytes` further on.
    pub fn plus(self, bytes: u64) -> Address {
        Address(self.0 + bytes)
    }
}

/// Where pinned memory of the host begins, as the driver names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned(pub u64);

/// A loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module(pub u64);

/// A kernel of a loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub u64);

/// A queue of work; work of one stream runs in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(pub u64);

/// A place in a stream that another stream can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u64);

/// How much a launch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks along x (below 2³¹), y and z (below 2¹⁶).
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
}

/// A bf16 tensor `[rows, heads, columns]` as the copy engine of compute capability 9.0 knows it: it copies boxes of 64 columns of
/// one head, swizzled by 128 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its first number, at a multiple of 16 bytes.
    pub at: Address,
    /// Rows, at least 1.
    pub rows: u64,
    /// Heads.
    pub heads: u64,
    /// Columns, a multiple of 64.
    pub columns: u64,
    /// Rows of a box.
    pub box_rows: u32,
}

/// What a kernel is given of a [`Tensor`]: `CUtensorMap`.
pub type TensorMap = [u64; 16];

/// What a GPU needs of NVIDIA's, looked for when one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// libcuda.
    Driver,
    /// The compiler, where no folder of compiled kernels is given.
    Nvrtc,
    /// Matrix products.
    CublasLt,
}

impl Needed {
    fn name(self) -> &'static str {
        match self {
            Self::Driver => "the NVIDIA driver",
            Self::Nvrtc => "NVRTC",
            Self::CublasLt => "cuBLASLt",
        }
    }

    /// Where it can be had.
    fn advice(self) -> &'static str {
        match self {
            Self::Driver => "where there is a GPU, install its driver",
            Self::Nvrtc => {
                "install a CUDA toolkit and set CUDA_HOME to it, or `pip install nvidia-cuda-nvrtc` (for CUDA 12: nvidia-cuda-nvrtc-cu12) in an active Python environment"
            }
            Self::CublasLt => {
                "install a CUDA toolkit and set CUDA_HOME to it, or `pip install nvidia-cublas` (for CUDA 12: nvidia-cublas-cu12) in an active Python environment"
            }
        }
    }
}

/// Why a GPU did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The library is not on this machine.
    NoLibrary {
        /// Which.
        library: Needed,
        /// Where it was looked for, and why that failed.
        reason: String,
    },
    /// The driver is there and finds no GPU.
    NoDevice {
        /// What the driver says.
        reason: String,
    },
    /// The driver is older than what the kernels were compiled for.
    OldDriver {
        /// Its version, as major · 1000 + minor · 10.
        found: i32,
        /// The oldest that works.
        needed: i32,
    },
    /// The GPU lacks the instructions.
    OldDevice {
        /// Its compute capability.
        found: (i32, i32),
    },
    /// The compiler refused a kernel.
    Compile {
        /// The kernel's file and constants.
        what: String,
        /// The compiler's words.
        log: String,
    },
    /// No memory for an allocation.
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
    },
    /// No memory of the host that could be pinned.
    OutOfHostMemory {
        /// Bytes asked for.
        requested: u64,
    },
    /// An image that could not be loaded.
    Load {
        /// The kernel's file and constants.
        what: String,
        /// What the driver says.
        reason: String,
    },
    /// A launch that failed.
    Launch {
        /// The kernel.
        kernel: String,
        /// What the driver says.
        reason: String,
    },
    /// Any other call that failed. A kernel that failed while it ran shows here, at the next call.
    Call {
        /// The call.
        call: &'static str,
        /// What the driver says.
        reason: String,
    },
    /// Kernels that only compute capability 9.0 runs, which left the GPU in a state that nothing goes on from.
    Hopper {
        /// What happened.
        reason: String,
    },
    /// A file or a process that the machine refused.
    System {
        /// What was tried.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLibrary { library, reason } => {
                write!(out, "{} is not on this machine: {} (tried: {reason})", library.name(), library.advice())
            }
            Self::NoDevice { reason } => write!(out, "there is no GPU on this machine: {reason}"),
            Self::OldDriver { found, needed } => write!(
                out,
                "the NVIDIA driver knows CUDA {}, and {} or later is needed: update the driver",
                Version(*found),
                Version(*needed)
            ),
            Self::OldDevice { found: (major, minor) } => {
                write!(out, "the GPU has compute capability {major}.{minor}; the kernels are for 8.0 to 10.x and 12.x")
            }
            Self::Compile { what, log } => write!(out, "the compiler refused {what}:\n{log}"),
            Self::OutOfMemory { requested } => {
                write!(out, "out of GPU memory: {:.2} GiB more were asked for", *requested as f64 / (1u64 << 30) as f64)
            }
            Self::OutOfHostMemory { requested } => write!(
                out,
                "the host cannot pin {:.2} GiB for what leaves the GPU's memory",
                *requested as f64 / (1u64 << 30) as f64
            ),
            Self::Load { what, reason } => write!(out, "{what} could not be loaded: {reason}"),
            Self::Launch { kernel, reason } => write!(out, "the kernel {kernel} could not be started: {reason}"),
            Self::Call { call, reason } => write!(out, "{call} failed: {reason}"),
            Self::Hopper { reason } => write!(
                out,
                "the kernels for compute capability 9.0 do not work on this GPU: {reason}; set CONTEXT_RECIPE_HOPPER=off to go on with those for 8.0"
            ),
            Self::System { what, reason } => write!(out, "{what}: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

/// A CUDA version as its libraries number it.
struct Version(i32);

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

/// A GPU's name, its compute capability and the newest CUDA that its driver knows, in words.
pub fn described(name: &str, (major, minor): (i32, i32), version: i32) -> String {
    format!("{name}, compute capability {major}.{minor}, a driver for CUDA {}", Version(version))
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// What is known of a machine before one of its GPUs is used.
pub trait Machine {
    /// Whether the driver's library is there.
    fn library(&self) -> Result<()>;
    /// The newest CUDA that the driver knows, as major · 1000 + minor · 10; asked once the library is there.
    fn version(&self) -> Result<i32>;
    /// Number of GPUs.
    fn devices(&self) -> Result<i32>;
    /// A GPU's compute capability.
    fn capability(&self, ordinal: i32) -> Result<(i32, i32)>;
}

/// The compute capability of the first GPU, if the machine has a driver that knows CUDA `needed` (the compiler's: a cubin runs
/// where the driver knows its major version) and a GPU that has the instructions.
pub fn usable(machine: &impl Machine, needed: i32) -> Result<(i32, i32)> {
    machine.library()?;
    let found = machine.version()?;
    if found < needed {
        return Err(Error::OldDriver { found, needed });
    }
    if machine.devices()? == 0 {
        return Err(Error::NoDevice { reason: "the driver counts none".to_owned() });
    }
    let found = machine.capability(0)?;
    if found < (8, 0) { Err(Error::OldDevice { found }) } else { Ok(found) }
}

/// How large a GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many multiprocessors it has.
    pub multiprocessors: usize,
    /// Shared memory that a block may have, bytes: 163 KiB on compute capability 8.0, 227 on 9.0 and 10, 99 on 8.6, 8.9 and 12.
    pub block_memory: u32,
}

/// One GPU. Nothing is to be done for no bytes. Work is queued on streams and may fail later than it was asked for; copies to and
/// from the host have happened when their call returns, after all that was queued on their stream before; those of pinned memory are
/// queued like any other work.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Which GPU it is, and what else its roundings may depend on.
    fn describe(&self) -> Result<String>;
    /// How large it is.
    fn size(&self) -> Result<Size>;
    /// `bytes` of memory at a multiple of 256, whatever is in it; at least 1.
    fn allocate(&self, bytes: u64) -> Result<Address>;
    /// Gives memory back once all queued work is done.
    fn free(&self, address: Address) -> Result<()>;
    /// Host to device.
    fn write(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<()>;
    /// Device to host.
    fn read(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<()>;
    /// Device to device; the two do not overlap.
    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: u64) -> Result<()>;
    /// Sets `bytes` to one value.
    fn fill(&self, stream: Stream, to: Address, value: u8, bytes: u64) -> Result<()>;
    /// `bytes` of the host's memory that copies can reach while other work goes on; at least 1.
    fn pin(&self, bytes: u64) -> Result<Pinned>;
    /// Gives pinned memory back once all queued work is done.
    fn unpin(&self, pinned: Pinned) -> Result<()>;
    /// Queues a copy from the device to the beginning of pinned memory.
    fn send(&self, stream: Stream, from: Address, to: Pinned, bytes: u64) -> Result<()>;
    /// Queues a copy from the beginning of pinned memory to the device.
    fn bring(&self, stream: Stream, from: Pinned, to: Address, bytes: u64) -> Result<()>;
    /// Loads an image.
    fn load(&self, image: &[u8], what: &str) -> Result<Module>;
    /// Gives a module back.
    fn unload(&self, module: Module) -> Result<()>;
    /// A kernel of a module, made ready for `shared` bytes of shared memory.
    fn function(&self, module: Module, entry: &str, shared: u32) -> Result<Function>;
    /// Queues a kernel; `params` are the bytes of its one parameter.
    fn launch(&self, stream: Stream, function: Function, geometry: Geometry, params: &[u8]) -> Result<()>;
    /// How the copy engine is told of a tensor.
    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap>;
    /// A new stream.
    fn stream(&self) -> Result<Stream>;
    /// Gives a stream back.
    fn end_stream(&self, stream: Stream) -> Result<()>;
    /// Marks the work queued so far.
    fn record(&self, stream: Stream) -> Result<Event>;
    /// Lets later work of a stream wait for a mark.
    fn wait(&self, stream: Stream, event: Event) -> Result<()>;
    /// Gives a mark back; what waits for it goes on waiting.
    fn forget(&self, event: Event) -> Result<()>;
    /// Waits for all work of a stream.
    fn synchronize(&self, stream: Stream) -> Result<()>;
    /// The same for work that may never end: a GPU that is not done after `most` is given up, and every later call fails.
    fn synchronize_within(&self, stream: Stream, most: Duration) -> Result<()> {
        let _ = most;
        self.synchronize(stream)
    }
}
