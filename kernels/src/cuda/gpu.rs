//! The NVIDIA driver as a [`Driver`], loaded when it is first asked for.

use std::ffi::{CString, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cudarc::driver::DriverError;
use cudarc::driver::result::{self, ctx, device, event, function, memcpy_dtod_async, module, primary_ctx, stream};
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUevent, CUevent_flags, CUevent_wait_flags, CUfunction,
    CUfunction_attribute, CUmodule, CUresult, CUstream,
};

use super::driver::{
    Address, Driver, Error, Event, Function, Geometry, Machine, Module, Needed, Pinned, Result, Size, Stream, Tensor,
    TensorMap, described,
};

/// What the NVIDIA driver says about this machine.
#[derive(Clone, Copy, Debug)]
pub struct Nvidia;

impl Machine for Nvidia {
    fn library(&self) -> Result<()> {
        // SAFETY: it opens and closes a library whose initialisers have no precondition.
        let present = unsafe { sys::is_culib_present() };
        let reason = || if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" }.to_owned();
        if present { Ok(()) } else { Err(Error::NoLibrary { library: Needed::Driver, reason: reason() }) }
    }

    fn version(&self) -> Result<i32> {
        let mut version = 0;
        // SAFETY: the library is there (`library`), and this is a place for a number.
        done("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) }.result())?;
        Ok(version)
    }

    fn devices(&self) -> Result<i32> {
        let none = |error: DriverError| Error::NoDevice { reason: words(&error) };
        result::init().map_err(none)?;
        device::get_count().map_err(none)
    }

    fn capability(&self, ordinal: i32) -> Result<(i32, i32)> {
        capability_of(done("cuDeviceGet", device::get(ordinal))?)
    }
}

fn capability_of(device: CUdevice) -> Result<(i32, i32)> {
    // SAFETY: a device that the driver named.
    let ask = |attribute| done("cuDeviceGetAttribute", unsafe { device::get_attribute(device, attribute) });
    Ok((
        ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// One GPU with its primary context.
#[derive(Debug)]
pub struct Gpu {
    device: CUdevice,
    context: CUcontext,
    /// Whether it was given up; whatever is asked of it then may wait for ever.
    lost: AtomicBool,
}

// SAFETY: the driver's functions may be called from any thread once the context is current there, which `enter` sees to.
unsafe impl Send for Gpu {}
// SAFETY: as above; the driver locks what it shares.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// The GPU of a number below [`Machine::devices`].
    pub fn new(ordinal: i32) -> Result<Gpu> {
        let device = done("cuDeviceGet", device::get(ordinal))?;
        // SAFETY: a device that the driver named.
        let context = done("cuDevicePrimaryCtxRetain", unsafe { primary_ctx::retain(device) })?;
        Ok(Gpu { device, context, lost: AtomicBool::new(false) })
    }

    /// Its name.
    pub fn name(&self) -> Result<String> {
        done("cuDeviceGetName", device::get_name(self.device))
    }

    /// Bytes of memory that are free, and that there are.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.enter()?;
        let (free, all) = done("cuMemGetInfo", result::mem_get_info())?;
        Ok((free as u64, all as u64))
    }

    /// Makes its context that of this thread, as libraries beside the driver want it too.
    pub(super) fn enter(&self) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::Call { call: "the GPU", reason: "it was given up".to_owned() });
        }
        // SAFETY: the context is alive as long as `self`.
        done("cuCtxSetCurrent", unsafe { ctx::set_current(self.context) })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if *self.lost.get_mut() {
            return;
        }
        // SAFETY: retained once in `new`. A failure means that the device is lost, and the context with it.
        let _ = unsafe { primary_ctx::release(self.device) };
    }
}

impl Driver for Gpu {
    fn describe(&self) -> Result<String> {
        Ok(described(&self.name()?, capability_of(self.device)?, Nvidia.version()?))
    }

    fn size(&self) -> Result<Size> {
        // SAFETY: a device that the driver named.
        let ask = |attribute| done("cuDeviceGetAttribute", unsafe { device::get_attribute(self.device, attribute) });
        let multiprocessors = ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let block_memory = ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        Ok(Size {
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(0),
            block_memory: u32::try_from(block_memory).unwrap_or(0),
        })
    }

    fn allocate(&self, bytes: u64) -> Result<Address> {
        self.enter()?;
        let size = usize::try_from(bytes).map_err(|_| Error::OutOfMemory { requested: bytes })?;
        // SAFETY: the memory is handed out as an address, which safe code cannot read.
        match unsafe { result::malloc_sync(size) } {
            Ok(address) => Ok(Address(address)),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(Error::OutOfMemory { requested: bytes }),
            Err(error) => Err(failed("cuMemAlloc", &error)),
        }
    }

    fn free(&self, address: Address) -> Result<()> {
        self.enter()?;
        done("cuCtxSynchronize", ctx::synchronize())?;
        // SAFETY: of `allocate`, and no work that was queued is left.
        done("cuMemFree", unsafe { result::free_sync(address.0) })
    }

    fn write(&self, stream: Stream, to: Address, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's bytes outlive the copy, which is waited for; the memory is as long (`Memory::write`).
        done("cuMemcpyHtoDAsync", unsafe { result::memcpy_htod_async(to.0, bytes, raw(stream)) })?;
        self.synchronize(stream)
    }

    fn read(&self, stream: Stream, from: Address, bytes: &mut [u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: as for `write`.
        done("cuMemcpyDtoHAsync", unsafe { result::memcpy_dtoh_async(bytes, from.0, raw(stream)) })?;
        self.synchronize(stream)
    }

    fn copy(&self, stream: Stream, from: Address, to: Address, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's memory on both sides; freeing waits for the copy.
        done("cuMemcpyDtoDAsync", unsafe { memcpy_dtod_async(to.0, from.0, bytes as usize, raw(stream)) })
    }

    fn fill(&self, stream: Stream, to: Address, value: u8, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the caller's memory; freeing waits for the fill.
        done("cuMemsetD8Async", unsafe { result::memset_d8_async(to.0, value, bytes as usize, raw(stream)) })
    }

    fn pin(&self, bytes: u64) -> Result<Pinned> {
        self.enter()?;
        let size = usize::try_from(bytes).map_err(|_| Error::OutOfHostMemory { requested: bytes })?;
        let mut start = std::ptr::null_mut();
        // SAFETY: a place for an address; the memory is handed out as a number, which safe code cannot read.
        match unsafe { sys::cuMemHostAlloc(&raw mut start, size, 0) }.result() {
            Ok(()) => Ok(Pinned(start.addr() as u64)),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(Error::OutOfHostMemory { requested: bytes }),
            Err(error) => Err(failed("cuMemHostAlloc", &error)),
        }
    }

    fn unpin(&self, pinned: Pinned) -> Result<()> {
        self.enter()?;
        done("cuCtxSynchronize", ctx::synchronize())?;
        // SAFETY: of `pin`, and no work that was queued is left.
        done("cuMemFreeHost", unsafe { sys::cuMemFreeHost(host(pinned)) }.result())
    }

    fn send(&self, stream: Stream, from: Address, to: Pinned, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: memory of `pin` and of `allocate`, as long as the caller says (`Away`); giving either back waits for the copy.
        let queued = unsafe { sys::cuMemcpyDtoHAsync_v2(host(to), from.0, bytes as usize, raw(stream)) };
        done("cuMemcpyDtoHAsync", queued.result())
    }

    fn bring(&self, stream: Stream, from: Pinned, to: Address, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: as for `send`.
        let queued = unsafe { sys::cuMemcpyHtoDAsync_v2(to.0, host(from), bytes as usize, raw(stream)) };
        done("cuMemcpyHtoDAsync", queued.result())
    }

    fn load(&self, image: &[u8], what: &str) -> Result<Module> {
        self.enter()?;
        // SAFETY: an ELF image carries its own length.
        let loaded = unsafe { module::load_data(image.as_ptr().cast()) };
        let module = loaded.map_err(|error| Error::Load { what: what.to_owned(), reason: words(&error) })?;
        Ok(Module(module.addr() as u64))
    }

    fn unload(&self, module: Module) -> Result<()> {
        self.enter()?;
        done("cuCtxSynchronize", ctx::synchronize())?;
        // SAFETY: of `load`, and no work that was queued is left.
        done("cuModuleUnload", unsafe { module::unload(module.0 as CUmodule) })
    }

    fn function(&self, module: Module, entry: &str, shared: u32) -> Result<Function> {
        self.enter()?;
        let load = |reason: String| Error::Load { what: entry.to_owned(), reason };
        let name = CString::new(entry).map_err(|error| load(error.to_string()))?;
        // SAFETY: a module of `load`.
        let found = unsafe { module::get_function(module.0 as CUmodule, name) };
        let function = found.map_err(|error| load(words(&error)))?;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function that was just found.
        let set = unsafe { function::set_function_attribute(function, attribute, shared as c_int) };
        set.map_err(|error| load(format!("{shared} bytes of shared memory: {}", words(&error))))?;
        Ok(Function(function.addr() as u64))
    }

    fn launch(&self, stream: Stream, function: Function, geometry: Geometry, params: &[u8]) -> Result<()> {
        self.enter()?;
        let Geometry { grid: [x, y, z], threads, shared } = geometry;
        let params = &mut [params.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the driver copies the parameters before it returns and does not write to them; what they point to is the
        // caller's promise (`Queue::launch`).
        let launched = unsafe {
            result::launch_kernel(function.0 as CUfunction, (x, y, z), (threads, 1, 1), shared, raw(stream), params)
        };
        launched.map_err(|error| Error::Launch { kernel: String::new(), reason: words(&error) })
    }

    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap> {
        self.enter()?;
        let Tensor { at, rows, heads, columns, box_rows } = *tensor;
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        // SAFETY: three sizes, two strides (in bytes, of all but the innermost dimension), three sides of a box and three steps
        // within it; the driver only looks at the address.
        let made = unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut map,
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                3,
                at.0 as *mut c_void,
                [columns, heads, rows].as_ptr(),
                [2 * columns, 2 * columns * heads].as_ptr(),
                [64, 1, box_rows].as_ptr(),
                [1, 1, 1].as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        done("cuTensorMapEncodeTiled", made.result())?;
        Ok(map.opaque)
    }

    fn stream(&self) -> Result<Stream> {
        self.enter()?;
        let stream = done("cuStreamCreate", stream::create(stream::StreamKind::NonBlocking))?;
        Ok(Stream(stream.addr() as u64))
    }

    fn end_stream(&self, stream: Stream) -> Result<()> {
        self.enter()?;
        // SAFETY: of `stream`; the driver ends it when its work is done.
        done("cuStreamDestroy", unsafe { stream::destroy(raw(stream)) })
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        self.enter()?;
        let event = done("cuEventCreate", event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING))?;
        // SAFETY: the event that was just made.
        if let Err(error) = unsafe { event::record(event, raw(stream)) } {
            // SAFETY: as above, and it is not used again.
            let _ = unsafe { event::destroy(event) };
            return Err(failed("cuEventRecord", &error));
        }
        Ok(Event(event.addr() as u64))
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<()> {
        self.enter()?;
        let event = event.0 as CUevent;
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: an event of `record`.
        done("cuStreamWaitEvent", unsafe { stream::wait_event(raw(stream), event, flags) })
    }

    fn forget(&self, event: Event) -> Result<()> {
        self.enter()?;
        // SAFETY: an event of `record`; the driver keeps what it needs of it until waits are over.
        done("cuEventDestroy", unsafe { event::destroy(event.0 as CUevent) })
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.enter()?;
        // SAFETY: a stream of `stream`, or the default one.
        done("cuStreamSynchronize", unsafe { stream::synchronize(raw(stream)) })
    }

    fn synchronize_within(&self, stream: Stream, most: Duration) -> Result<()> {
        let (event, start) = (self.record(stream)?, Instant::now());
        loop {
            // SAFETY: an event of `record`.
            match unsafe { event::query(event.0 as CUevent) } {
                Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) if start.elapsed() < most => {
                    std::thread::sleep(Duration::from_micros(100));
                }
                Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => {
                    self.lost.store(true, Ordering::Relaxed);
                    let reason = format!("they have not ended after {} seconds", most.as_secs());
                    return Err(Error::Call { call: "waiting for kernels", reason });
                }
                ended => {
                    self.forget(event)?;
                    return done("cuEventQuery", ended);
                }
            }
        }
    }
}

fn host(pinned: Pinned) -> *mut c_void {
    pinned.0 as *mut c_void
}

fn raw(stream: Stream) -> CUstream {
    stream.0 as CUstream
}

fn done<T>(call: &'static str, result: std::result::Result<T, DriverError>) -> Result<T> {
    result.map_err(|error| failed(call, &error))
}

fn failed(call: &'static str, error: &DriverError) -> Error {
    Error::Call { call, reason: words(error) }
}

fn words(error: &DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    format!("{} ({:?})", text.unwrap_or_else(|_| "an unknown error".to_owned()), error.0)
}
