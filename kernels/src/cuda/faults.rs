//! What goes wrong below the narrow doors becomes a clear error, and nothing is left behind.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::cache::Cache;
use super::driver::{
    Address, Driver, Error, Event, Function, Geometry, Machine, Module, Needed, Pinned, Result, Size, Stream, Tensor,
    TensorMap, described, usable,
};
use super::runtime::Runtime;
use super::source::{Compiler, Source};
use crate::adamw::Hyper;
use crate::attention::cuda::{self, Passes, Visible};
use crate::attention::{Mask, Pattern, Shape};
use crate::device::{Attention, Cuda, Device, Format, Grads, Head, HeadGrads, Linear, Rows, Saved, Slot, Weight};
use crate::linear::cuda::Plain;
use crate::linear::{Dims, Write};

static SCRIBE: Scribe = Scribe { compiled: AtomicUsize::new(0), refuses: false, version: 0 };

/// A driver that does nothing, counts what it hands out, and fails at one call.
#[derive(Debug, Default)]
struct Fake {
    calls: AtomicUsize,
    /// The call that fails, counted from 1; 0 for none.
    fails: usize,
    handles: AtomicU64,
    held: Mutex<HashSet<u64>>,
}

impl Fake {
    fn failing_at(call: usize) -> Fake {
        Fake { fails: call, ..Fake::default() }
    }

    fn call(&self, error: impl FnOnce() -> Error) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call == self.fails { Err(error()) } else { Ok(()) }
    }

    fn failed(&self, call: &'static str) -> Result<()> {
        self.call(|| Error::Call { call, reason: "an unspecified launch failure".to_owned() })
    }

    fn hand_out(&self) -> u64 {
        let handle = 256 * (1 + self.handles.fetch_add(1, Ordering::Relaxed));
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(handle);
        handle
    }

    fn take_back(&self, handle: u64) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        assert!(held, "given back twice, or never handed out");
    }
}

impl Driver for &Fake {
    fn describe(&self) -> Result<String> {
        self.failed("a name").map(|()| described("Fake", (9, 0), 13_010))
    }
    fn size(&self) -> Result<Size> {
        self.failed("an attribute").map(|()| Size { multiprocessors: 132, block_memory: 227 << 10 })
    }
    fn allocate(&self, bytes: u64) -> Result<Address> {
        self.call(|| Error::OutOfMemory { requested: bytes })?;
        Ok(Address(self.hand_out()))
    }
    fn free(&self, address: Address) -> Result<()> {
        self.take_back(address.0);
        Ok(())
    }
    fn write(&self, _: Stream, _: Address, _: &[u8]) -> Result<()> {
        self.failed("a write")
    }
    fn read(&self, _: Stream, _: Address, _: &mut [u8]) -> Result<()> {
        self.failed("a read")
    }
    fn copy(&self, _: Stream, _: Address, _: Address, _: u64) -> Result<()> {
        self.failed("a copy")
    }
    fn fill(&self, _: Stream, _: Address, _: u8, _: u64) -> Result<()> {
        self.failed("a fill")
    }
    fn pin(&self, bytes: u64) -> Result<Pinned> {
        self.call(|| Error::OutOfHostMemory { requested: bytes })?;
        Ok(Pinned(self.hand_out()))
    }
    fn unpin(&self, pinned: Pinned) -> Result<()> {
        self.take_back(pinned.0);
        Ok(())
    }
    fn send(&self, _: Stream, _: Address, _: Pinned, _: u64) -> Result<()> {
        self.failed("a copy to the host")
    }
    fn bring(&self, _: Stream, _: Pinned, _: Address, _: u64) -> Result<()> {
        self.failed("a copy from the host")
    }
    fn load(&self, _: &[u8], what: &str) -> Result<Module> {
        self.call(|| Error::Load { what: what.to_owned(), reason: "no kernel image".to_owned() })?;
        Ok(Module(self.hand_out()))
    }
    fn unload(&self, module: Module) -> Result<()> {
        self.take_back(module.0);
        Ok(())
    }
    fn function(&self, _: Module, entry: &str, _: u32) -> Result<Function> {
        self.call(|| Error::Load { what: entry.to_owned(), reason: "named symbol not found".to_owned() })?;
        Ok(Function(0))
    }
    fn launch(&self, _: Stream, _: Function, _: Geometry, _: &[u8]) -> Result<()> {
        self.call(|| Error::Launch { kernel: String::new(), reason: "invalid argument".to_owned() })
    }
    fn tensor_map(&self, _: &Tensor) -> Result<TensorMap> {
        self.failed("a tensor map")?;
        Ok([0; 16])
    }
    fn stream(&self) -> Result<Stream> {
        self.failed("a stream")?;
        Ok(Stream(self.hand_out()))
    }
    fn end_stream(&self, stream: Stream) -> Result<()> {
        self.take_back(stream.0);
        Ok(())
    }
    fn record(&self, _: Stream) -> Result<Event> {
        self.failed("a mark")?;
        Ok(Event(self.hand_out()))
    }
    fn wait(&self, _: Stream, _: Event) -> Result<()> {
        self.failed("a wait for a mark")
    }
    fn forget(&self, event: Event) -> Result<()> {
        self.take_back(event.0);
        Ok(())
    }
    fn synchronize(&self, _: Stream) -> Result<()> {
        self.failed("a wait")
    }
}

/// A compiler that counts what it compiles, or refuses everything.
#[derive(Debug, Default)]
struct Scribe {
    compiled: AtomicUsize,
    refuses: bool,
    version: u32,
}

impl Compiler for &Scribe {
    fn identity(&self) -> String {
        format!("scribe {}", self.version)
    }
    fn hopper(&self) -> bool {
        true
    }
    fn compile(&self, source: &Source) -> Result<Vec<u8>> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        match self.refuses {
            true => Err(Error::Compile { what: source.file.to_owned(), log: "attention.cu(7): error".to_owned() }),
            false => Ok(format!("image {}", self.version).into_bytes()),
        }
    }
}

/// Lists, memory, a forward pass and its results.
fn pass(driver: &Fake, compiler: &Scribe) -> Result<()> {
    let runtime = Runtime::new(driver, compiler, None);
    let shape = Shape { queries: 3, keys: 3, heads: 1, kv_heads: 1, head_dim: 64 };
    let mask = Mask { patterns: Pattern::Full.into(), query_row: 0, key_row: 0, starts: &[0; 3] };
    let queue = runtime.queue(Stream(0));
    let lists = |passes| Visible::new(queue, &mask, &shape, passes);
    let (visible, split) = (lists(Passes::Backward)?, lists(Passes::Split)?);
    let (tensor, lse, scratch) = (runtime.memory(384)?, runtime.memory(12)?, runtime.memory(2000)?);
    let (op, all) = (cuda::Attention { head_dim: 64 }, tensor.all());
    op.forward(queue, &visible, 0.25, [all; 3], (all, lse.all()))?;
    op.forward_split(queue, &split, 0.25, [all; 3], (all, lse.all()), (2, scratch.all()))?;
    tensor.read(Stream(0), 384)?;
    driver.synchronize(Stream(0))
}

/// Every call of a pass fails once: the error is that call's, in words, and all that was handed out comes back.
#[test]
fn every_call_may_fail() {
    let whole = Fake::default();
    pass(&whole, &Scribe::default()).expect("a pass");
    assert!(whole.held.lock().expect("a lock").is_empty());
    let calls = whole.calls.load(Ordering::Relaxed);
    let mut kinds = HashSet::new();
    for call in 1..=calls {
        let driver = Fake::failing_at(call);
        let error = pass(&driver, &Scribe::default()).expect_err("the failure");
        assert!(driver.held.lock().expect("a lock").is_empty(), "{error} left something behind");
        assert_eq!(driver.calls.load(Ordering::Relaxed), call, "{error} was not the end");
        if let Error::Launch { kernel, .. } = &error {
            assert!(kernel.starts_with("attention_"), "{error}");
        }
        kinds.insert(std::mem::discriminant(&error));
        assert!(!error.to_string().is_empty());
    }
    assert!(calls > 10 && kinds.len() == 4, "{calls} calls, {} kinds of errors", kinds.len());
}

/// A step of a model of one layer without an MLP, as an engine asks for it.
fn step(driver: &Fake) -> crate::device::Result<()> {
    let runtime = Runtime::new(driver, &SCRIBE, None);
    let gpu = Cuda::new(runtime, Plain, u64::MAX).map_err(crate::device::Error::Gpu)?;
    let (rows, width) = (3, 16);
    let inputs = Rows {
        tokens: &[1, 2, 1],
        positions: &[0, 1, 2],
        starts: &[0; 3],
        targets: &[2, 1, -100],
        inv_freq: &[1.0; 8],
        attention_factor: 1.0,
    };
    assert_eq!(
        gpu.describe()?,
        "Fake, compute capability 9.0, a driver for CUDA 13.1, products by a plain kernel, attention by wgmma"
    );
    let batch = gpu.batch(&inputs)?;
    let mut table = Weight::Dense(gpu.upload_master(&[1.0; 64])?);
    let frozen = Weight::Quantized(gpu.quantize(&[1.0; 256], Format::Nf4)?);
    let buffer = || gpu.zeros(rows * width);
    let slots = [false, false, true].map(|exact| Slot { len: if exact { rows } else { rows * width }, exact });
    let [mut x, mut y, mut lse] = gpu.arena(&slots)?.try_into().expect("three buffers");
    let (mut q, mut out) = (buffer()?, buffer()?);
    let (mut dtable, mut m, mut v) = (gpu.zeros_f32(64)?, gpu.zeros_f32(64)?, gpu.zeros_f32(64)?);
    let mut packed = gpu.moments_8bit(64)?;
    gpu.embed(&batch, &table, width, &mut x);
    let dims = Dims { rows, inputs: width, outputs: width };
    gpu.linear(Linear { dims, scale: 1.0, write: Write::Set }, &x, &frozen, &mut q);
    gpu.rope(&batch, 1, &mut q, crate::rope::Direction::Forward);
    let shape = Shape { queries: rows, keys: rows, heads: 1, kv_heads: 1, head_dim: width };
    let job = Attention { shape, patterns: Pattern::Full.into(), query_row: 0, key_row: 0, scale: 0.25 };
    gpu.attention(&batch, &job, &q, &q, &q, &mut out, &mut lse);
    let head = Head { rows, hidden: width, vocab: 4, chunk: 2, grad_scale: 1.0 };
    let grads = HeadGrads { dx: &mut y, dw: Some(&mut dtable) };
    gpu.head(&batch, head, &out, &table, Some(grads))?;
    let saved = Saved { q: &q, k: &q, v: &q, out: &out, lse: &lse, dout: &y };
    let (mut dq, mut dk, mut dv) = (buffer()?, buffer()?, buffer()?);
    gpu.attention_backward(&batch, &job, saved, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv });
    gpu.embed_backward(&batch, &dq, width, &mut dtable);
    gpu.move_within(&mut x, 8, 0, 16);
    let mut away = gpu.away(rows * width)?;
    gpu.send(&x, &mut away, rows * width);
    gpu.settle(&away);
    gpu.bring(&away, &mut x, rows * width);
    gpu.bring(&away, &mut y, rows * width);
    gpu.settle(&away);
    gpu.bring(&away, &mut x, rows * width);
    let norm = gpu.sum_of_squares(&dtable);
    let hyper = Hyper { lr: 1.0, beta1: 0.9, beta2: 0.9, eps: 1.0, weight_decay: 0.0, step: 1, grad_scale: 1.0 };
    if let Weight::Dense(table) = &mut table {
        gpu.adamw(&hyper, table, &dtable, &mut m, &mut v);
        gpu.adamw_8bit(&hyper, table, &dtable, &mut packed);
        gpu.write_8bit(&gpu.download_8bit(&packed), &mut packed);
        assert_eq!(gpu.download(table, 64).len(), 64, "{norm}");
    }
    gpu.check()
}

/// Every call of a step fails once. Nothing is asked of the driver after it, the step says what it was, and all that was handed out
/// comes back.
#[test]
fn every_call_of_a_step_may_fail() {
    let whole = Fake::default();
    step(&whole).expect("a step");
    assert!(whole.held.lock().expect("a lock").is_empty());
    let calls = whole.calls.load(Ordering::Relaxed);
    assert!(calls > 80, "{calls} calls");
    for call in 1..=calls {
        let driver = Fake::failing_at(call);
        let error = step(&driver).expect_err("the failure");
        assert!(driver.held.lock().expect("a lock").is_empty(), "{error} left something behind");
        assert_eq!(driver.calls.load(Ordering::Relaxed), call, "{error} was not the end");
    }
}

/// One piece for all: every buffer begins at a multiple of 256, and the piece goes with the last of them.
#[test]
fn an_arena_is_one_piece() {
    let driver = Fake::default();
    let gpu = Cuda::new(Runtime::new(&driver, &SCRIBE, None), Plain, 2048).expect("a device");
    // Beside two streams.
    let pieces = || driver.held.lock().expect("a lock").len() - 2;
    let slots = [(1, false), (100, true), (0, false), (256, false)].map(|(len, exact)| Slot { len, exact });
    let mut all = gpu.arena(&slots).expect("256 + 512 + 512 bytes");
    assert_eq!((gpu.memory().0, pieces()), (1280, 1));
    let error = gpu.arena(&[slots[3], slots[1]]).expect_err("too much");
    assert_eq!(error, crate::device::Error::OutOfMemory { requested: 1024, live: 1280, limit: 2048 });
    let last = all.pop();
    drop(all);
    assert_eq!(gpu.memory().0, 1280, "the last one holds the piece");
    drop(last);
    assert_eq!((gpu.memory().0, pieces()), (0, 0));
}

/// A limit below the card's memory is one: the error has the figures, and nothing is left behind.
#[test]
fn a_limit_is_kept() {
    let driver = Fake::default();
    let gpu = Cuda::new(Runtime::new(&driver, &SCRIBE, None), Plain, 1000).expect("a device");
    let held = gpu.zeros(400).expect("800 bytes");
    let error = gpu.zeros_f32(51).expect_err("too much");
    assert_eq!(error, crate::device::Error::OutOfMemory { requested: 204, live: 800, limit: 1000 });
    assert!(gpu.check().is_ok(), "a buffer that there is no room for breaks nothing");
    drop((held, gpu));
    assert!(driver.held.lock().expect("a lock").is_empty());
}

#[test]
fn a_refused_kernel_shows_the_compilers_words() {
    let (driver, compiler) = (Fake::default(), Scribe { refuses: true, ..Scribe::default() });
    let error = pass(&driver, &compiler).expect_err("a refusal");
    assert_eq!(error.to_string(), "the compiler refused attention_hopper.cu:\nattention.cu(7): error");
    assert!(driver.held.lock().expect("a lock").is_empty());
}

/// A machine as it is described.
struct Described {
    library: bool,
    version: i32,
    devices: Result<i32>,
    capability: (i32, i32),
}

impl Machine for Described {
    fn library(&self) -> Result<()> {
        let missing = || Error::NoLibrary { library: Needed::Driver, reason: "no libcuda.so.1".to_owned() };
        if self.library { Ok(()) } else { Err(missing()) }
    }
    fn version(&self) -> Result<i32> {
        assert!(self.library, "a missing library was called");
        Ok(self.version)
    }
    fn devices(&self) -> Result<i32> {
        self.devices.clone()
    }
    fn capability(&self, _: i32) -> Result<(i32, i32)> {
        Ok(self.capability)
    }
}

#[test]
fn machines_that_cannot_run_a_kernel_say_why() {
    let good = || Described { library: true, version: 13_000, devices: Ok(1), capability: (9, 0) };
    assert_eq!(usable(&good(), 13_000), Ok((9, 0)));
    let lost = Error::NoDevice { reason: "no CUDA-capable device is detected".to_owned() };
    let cases = [
        (
            Described { library: false, ..good() },
            "the NVIDIA driver is not on this machine: where there is a GPU, install its driver (tried: no libcuda.so.1)",
        ),
        (
            Described { version: 12_020, ..good() },
            "the NVIDIA driver knows CUDA 12.2, and 13.0 or later is needed: update the driver",
        ),
        (Described { devices: Ok(0), ..good() }, "there is no GPU on this machine: the driver counts none"),
        (
            Described { devices: Err(lost), ..good() },
            "there is no GPU on this machine: no CUDA-capable device is detected",
        ),
        (
            Described { capability: (7, 5), ..good() },
            "the GPU has compute capability 7.5; the kernels are for 8.0 to 10.x and 12.x",
        ),
    ];
    for (machine, words) in cases {
        assert_eq!(usable(&machine, 13_000).expect_err("a reason").to_string(), words);
    }
}

/// Where the driver and the compiler are not, asking for them is an error and no panic.
#[cfg(feature = "cuda")]
#[test]
fn this_machine_answers() {
    use super::nvrtc::{Architecture, Nvrtc};
    let nowhere = [PathBuf::from("/nowhere/libnvrtc.so.13")];
    let error = Nvrtc::load_from(&nowhere, Architecture::Sm80, 13_000).expect_err("no library");
    assert!(matches!(error, Error::NoLibrary { library: Needed::Nvrtc, .. }), "{error}");
    let nowhere = [PathBuf::from("/nowhere/libcublasLt.so.13"), PathBuf::from("/nowhere/libcublasLt.so.12")];
    let error = super::cublas::CublasLt::load_from(&nowhere, 13_000).expect_err("no library").to_string();
    assert!(error.starts_with("cuBLASLt is not on this machine: "), "{error}");
    assert!(nowhere.iter().all(|path| error.contains(&*path.to_string_lossy())), "{error}");
    let _ = usable(&super::gpu::Nvidia, 12_000).map_err(|error| error.to_string());
}

fn source() -> Source {
    Source { file: "op.cu", texts: vec!["text"], constants: vec![("SIZE", 1)] }
}

/// A folder of its own for a test.
fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("kernels-cache-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// An image is compiled once, whoever asks; another text, constant or compiler is another image.
#[test]
fn the_cache_keeps_images() {
    let (dir, compiler) = (folder("keeps"), Scribe::default());
    let cache = Cache::new(&dir);
    let image = || cache.image(&&compiler, &source()).expect("an image");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(image)).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().expect("a thread"), b"image 0"));
    });
    let compiled = compiler.compiled.load(Ordering::Relaxed);
    assert_eq!((image().as_slice(), compiler.compiled.load(Ordering::Relaxed)), (&b"image 0"[..], compiled));
    let other = Source { constants: vec![("SIZE", 2)], ..source() };
    cache.image(&&compiler, &other).expect("an image");
    let newer = Scribe { version: 1, ..Scribe::default() };
    assert_eq!(cache.image(&&newer, &source()).expect("an image"), b"image 1");
    assert_eq!(std::fs::read_dir(&dir).expect("the folder").count(), 3, "three images and nothing else");
    std::fs::remove_dir_all(&dir).expect("the folder");
}

/// A file that was cut off, changed, or is another image's is compiled anew, and is whole afterwards.
#[test]
fn damaged_images_are_made_anew() {
    let (dir, compiler) = (folder("damaged"), Scribe::default());
    let cache = Cache::new(&dir);
    cache.image(&&compiler, &source()).expect("an image");
    let path = std::fs::read_dir(&dir).expect("the folder").next().expect("a file").expect("a file").path();
    let whole = std::fs::read(&path).expect("the file");
    let changed =
        |at: usize| whole.iter().enumerate().map(|(i, &b)| if i == at { b ^ 1 } else { b }).collect::<Vec<_>>();
    let cuts = [0, 7, 20, whole.len() - 1].map(|len| whole[..len].to_vec());
    for (i, bad) in cuts.into_iter().chain((0..whole.len()).step_by(7).map(changed)).enumerate() {
        std::fs::write(&path, bad).expect("a write");
        assert_eq!(cache.image(&&compiler, &source()).expect("an image"), b"image 0");
        assert_eq!(compiler.compiled.load(Ordering::Relaxed), i + 2);
        assert_eq!(std::fs::read(&path).expect("the file"), whole);
    }
    std::fs::remove_dir_all(&dir).expect("the folder");
}

/// A folder that cannot be written to costs a compilation, not the run.
#[test]
fn a_cache_without_a_folder_still_compiles() {
    let dir = folder("file");
    std::fs::write(&dir, "a file").expect("a write");
    let compiler = Scribe::default();
    assert_eq!(Cache::new(&dir).image(&&compiler, &source()).expect("an image"), b"image 0");
    std::fs::remove_file(&dir).expect("the file");
}
