//! The machine's first GPU with all that it takes: driver, compiler or compiled images, matrix products.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::Cache;
use super::cublas::CublasLt;
use super::driver::{Driver, Error, Machine as _, Result, usable};
use super::gpu::{Gpu, Nvidia};
use super::nvrtc::{self, Architecture, Nvrtc};
use super::runtime::{Hopper, Runtime};
use super::source::{Compiler, Source};
use crate::attention::{Pattern, Shape};
use crate::device::{Attention, Cuda, Device, Grads, Rows, Saved};
use crate::linear::cuda::Products;

/// The oldest CUDA that a driver has to know.
const OLDEST: i32 = 12_000;
/// What the first passes of kernels may take, which are a few tiles long.
const PATIENCE: Duration = Duration::from_secs(30);

/// An NVIDIA GPU as a device.
pub type Card = Cuda<Gpu, Images, CublasLt>;

/// Kernels' images: from NVRTC, or those that a folder was filled with by [`fill`].
#[derive(Debug)]
pub struct Images {
    identity: String,
    hopper: bool,
    nvrtc: Result<Nvrtc>,
}

impl Compiler for Images {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn hopper(&self) -> bool {
        self.hopper
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>> {
        self.nvrtc.as_ref().map_err(Clone::clone)?.compile(source)
    }
}

impl Images {
    /// Without NVRTC the folder has to say what its images were made by.
    fn load(architecture: Architecture, driver: i32, cache: Option<&Path>) -> Result<Images> {
        let hopper = architecture == Architecture::Sm90a;
        match Nvrtc::load_for(architecture, driver) {
            Ok(nvrtc) => Ok(Images { identity: nvrtc.identity(), hopper, nvrtc: Ok(nvrtc) }),
            Err(error) => {
                let note = cache.and_then(|dir| std::fs::read_to_string(maker(dir, architecture)).ok());
                let Some(identity) = note else { return Err(error) };
                match nvrtc::major_of(&identity) {
                    Some(major) if major > driver / 1000 => {
                        Err(Error::OldDriver { found: driver, needed: major * 1000 })
                    }
                    _ => Ok(Images { identity, hopper, nvrtc: Err(error) }),
                }
            }
        }
    }
}

/// The file that says which compiler made a folder's images.
fn maker(dir: &Path, architecture: Architecture) -> PathBuf {
    dir.join(format!("maker-{}", architecture.name()))
}

/// Opens the first GPU. `cache` is a folder for compiled kernels; buffers may hold `limit` bytes.
///
/// # Errors
/// What is missing, and where it was looked for: the driver, a GPU of compute capability 8.0 or later, NVRTC (unless `cache` was
/// filled), cuBLASLt. And kernels for compute capability 9.0 that bring the GPU to a halt; `CONTEXT_RECIPE_HOPPER=off` leaves them out.
pub fn open(cache: Option<&Path>, limit: u64) -> Result<Card> {
    let (gpu, images) = parts(cache)?;
    let limit = limit.min(gpu.memory()?.1);
    let products = CublasLt::load(&gpu)?;
    let card = Cuda::new(Runtime::new(gpu, images, cache.map(Cache::new)), products, limit)?;
    if std::env::var_os("CONTEXT_RECIPE_HOPPER").is_some_and(|wanted| wanted == "off") {
        card.runtime().use_hopper(Hopper::default());
    }
    if card.runtime().hopper() == Hopper::default() {
        return Ok(card);
    }
    match prove(&card) {
        Ok(()) => Ok(card),
        Err(error) => {
            if matches!(error, Error::Hopper { .. }) {
                // What lies on a GPU that was given up cannot be given back; it goes with the process.
                std::mem::forget(card);
            }
            Err(error)
        }
    }
}

/// Goes on with the kernels that every GPU runs where those that only compute capability 9.0 runs give something else or cannot be
/// started: their order of copies and products is proven in an emulation, and a machine is asked once before it is believed.
fn prove<D: Driver, C: Compiler, P: Products<D, C>>(card: &Cuda<D, C, P>) -> Result<()> {
    let with = |forward, backward| {
        card.runtime().use_hopper(Hopper { forward, backward });
        attend(card).map_err(driven)
    };
    let right = with(false, false)?;
    let mut halted = None;
    let mut tried = |forward, backward| {
        with(forward, backward).map_err(|error| {
            card.forgive();
            halted.get_or_insert(error);
        })
    };
    let (forward, backward) = (tried(true, false), tried(false, true));
    if let Some(error) = halted {
        // One that was refused left the GPU as it was; one that failed on it, or never ended, did not.
        with(false, false).map_err(|_| Error::Hopper { reason: error.to_string() })?;
    }
    let forward = forward.is_ok_and(|found| same(&found.outputs, &right.outputs));
    let backward = backward.is_ok_and(|found| same(&found.gradients, &right.gradients));
    card.runtime().use_hopper(Hopper { forward, backward });
    Ok(())
}

/// Whether tensors are off by at most what bf16 numbers and another order of sums make of them, beside their numbers' usual size.
fn same(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> bool {
    let near = |ours: &[f32], theirs: &[f32]| {
        let size = (theirs.iter().map(|b| b * b).sum::<f32>() / theirs.len() as f32).sqrt();
        ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 0.02 * (size + b.abs()))
    };
    ours.iter().zip(theirs).all(|(ours, theirs)| near(ours, theirs))
}

/// What attention came to, tensor by tensor.
#[derive(Default)]
struct Attended {
    /// Outputs and log-sum-exps.
    outputs: Vec<Vec<f32>>,
    /// Of queries, keys and values.
    gradients: Vec<Vec<f32>>,
}

/// Attention over some tiles, some of them short, with heads of both sizes that have kernels of their own.
fn attend<D: Driver, C: Compiler, P: Products<D, C>>(card: &Cuda<D, C, P>) -> crate::device::Result<Attended> {
    let mut all = Attended::default();
    attend_with(card, 64, &mut all)?;
    attend_with(card, 128, &mut all)?;
    Ok(all)
}

fn attend_with<D: Driver, C: Compiler, P: Products<D, C>>(
    card: &Cuda<D, C, P>,
    head_dim: usize,
    all: &mut Attended,
) -> crate::device::Result<()> {
    const T: usize = 300;
    let shape = Shape { queries: T, keys: T, heads: 2, kv_heads: 1, head_dim };
    let numbers =
        |len: usize, step: usize| -> Vec<f32> { (0..len).map(|at| (at * step % 509) as f32 / 254.0 - 1.0).collect() };
    let (queries, keys) = (T * 2 * head_dim, T * head_dim);
    let given = [(queries, 7919), (keys, 6133), (keys, 3571), (queries, 2027)];
    let [q, k, v, dout] = given.map(|(len, step)| card.upload(&numbers(len, step)));
    let (q, k, v, dout) = (q?, k?, v?, dout?);
    let (mut out, mut lse) = (card.zeros(queries)?, card.zeros_f32(2 * T)?);
    let (mut dq, mut dk, mut dv) = (card.zeros(queries)?, card.zeros(keys)?, card.zeros(keys)?);
    let (ids, starts) = ([0; T], [0; T]);
    let rows =
        Rows { tokens: &ids, positions: &ids, starts: &starts, targets: &[], inv_freq: &[], attention_factor: 1.0 };
    let batch = card.batch(&rows)?;
    let job = Attention { shape, patterns: Pattern::Full.into(), query_row: 0, key_row: 0, scale: 0.1 };
    card.attention(&batch, &job, &q, &k, &v, &mut out, &mut lse);
    card.finish_within(PATIENCE)?;
    let saved = Saved { q: &q, k: &k, v: &v, out: &out, lse: &lse, dout: &dout };
    card.attention_backward(&batch, &job, saved, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv });
    card.finish_within(PATIENCE)?;
    all.outputs.extend([card.download(&out, queries), card.download(&lse, 2 * T)]);
    all.gradients.extend([(&dq, queries), (&dk, keys), (&dv, keys)].map(|(of, len)| card.download(of, len)));
    card.check()
}

fn driven(error: crate::device::Error) -> Error {
    match error {
        crate::device::Error::OutOfMemory { requested, .. } => Error::OutOfMemory { requested },
        crate::device::Error::Gpu(error) => error,
    }
}

/// The GPU and its compiler.
pub(crate) fn parts(cache: Option<&Path>) -> Result<(Gpu, Images)> {
    let capability = usable(&Nvidia, OLDEST)?;
    let images = Images::load(Architecture::of(capability)?, Nvidia.version()?, cache)?;
    Ok((Gpu::new(0)?, images))
}

/// Compiles `sources` into a folder that [`open`] takes on a machine without NVRTC.
///
/// # Errors
/// No NVRTC here, a kernel that it refuses, a folder that cannot be written.
pub fn fill<'a>(
    dir: &Path,
    architecture: Architecture,
    sources: impl IntoIterator<Item = &'a Source>,
) -> Result<usize> {
    let nvrtc = Nvrtc::load(architecture)?;
    let cache = Cache::new(dir);
    let mut count = 0;
    for source in sources.into_iter().filter(|source| architecture == Architecture::Sm90a || !source.hopper()) {
        cache.image(&nvrtc, source)?;
        count += 1;
    }
    let path = maker(dir, architecture);
    let failed = |error: std::io::Error| Error::System { what: path.display().to_string(), reason: error.to_string() };
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, nvrtc.identity())).map_err(failed)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::emulation::{self, Mistake};
    use crate::linear::cuda::Plain;

    const FORWARD: &str = "KERNEL_RESIDENT(attention_forward_hopper";
    const BACKWARD: &str = "KERNEL_RESIDENT(attention_backward_hopper";

    /// What comes of it, and which kernels are taken then; none without a C++ compiler.
    fn proven(mistake: Option<Mistake>) -> Option<(Result<()>, Hopper)> {
        let (emulator, compiler) = emulation::parts_with(1, true, mistake)?;
        let runtime = Runtime::new(emulator, compiler, Some(emulation::cache()));
        let card = Cuda::new(runtime, Plain, u64::MAX).expect("a stream");
        assert_eq!(card.runtime().hopper(), Hopper { forward: true, backward: true });
        Some((prove(&card), card.runtime().hopper()))
    }

    /// What compute capability 9.0 does by itself stays where it is right, and is left where it is off or refused.
    #[test]
    fn a_machine_is_asked_before_it_is_believed() {
        let late = |word| Some(Mistake { word, text: "products_wait<1>();", number: 0 });
        let refused = |word| Some(Mistake { word, text: word, number: 0 });
        for (mistake, forward, backward) in [
            (None, true, true),
            (late(FORWARD), false, true),
            (late(BACKWARD), true, false),
            (refused(FORWARD), false, true),
            (refused(BACKWARD), true, false),
        ] {
            let Some((done, hopper)) = proven(mistake) else { return };
            assert_eq!((done, hopper), (Ok(()), Hopper { forward, backward }), "{mistake:?}");
        }
    }

    /// Kernels that never end leave a GPU that does nothing more: the error says how to go on without them.
    #[test]
    fn what_halts_a_machine_is_named() {
        let text = "if (lane == 0) barrier_arrive(&signals->pairs_full);";
        let Some((done, _)) = proven(Some(Mistake { word: BACKWARD, text, number: 0 })) else { return };
        let error = done.expect_err("threads that wait for ever").to_string();
        assert!(error.contains("attention_backward_hopper") && error.contains("CONTEXT_RECIPE_HOPPER=off"), "{error}");
    }
}
