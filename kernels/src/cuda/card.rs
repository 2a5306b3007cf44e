//! The machine's first GPU with all that it takes: driver, compiler or compiled images, matrix products.

use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::cublas::CublasLt;
use super::driver::{Driver, Error, Machine as _, Result, usable};
use super::gpu::{Gpu, Nvidia};
use super::nvrtc::{Architecture, Nvrtc};
use super::runtime::{Hopper, Runtime};
use super::source::{Compiler, Source};
use crate::attention::{Pattern, Shape};
use crate::device::{Attention, Cuda, Device, Grads, Rows, Saved};
use crate::linear::cuda::Products;

/// The oldest CUDA that a driver has to know.
const OLDEST: i32 = 12_000;

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
                let note = cache.map(|dir| std::fs::read_to_string(maker(dir, architecture)));
                match note {
                    Some(Ok(identity)) => Ok(Images { identity, hopper, nvrtc: Err(error) }),
                    _ => Err(error),
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
/// filled), cuBLASLt.
pub fn open(cache: Option<&Path>, limit: u64) -> Result<Card> {
    let (gpu, images) = parts(cache)?;
    let limit = limit.min(gpu.memory()?.1);
    let products = CublasLt::load(&gpu)?;
    let card = Cuda::new(Runtime::new(gpu, images, cache.map(Cache::new)), products, limit)?;
    if card.runtime().hopper() != Hopper::default() {
        prove(&card)?;
    }
    Ok(card)
}

/// Goes on with the kernels that every GPU runs where those that only compute capability 9.0 runs give something else: their order of
/// copies and products is proven in an emulation, and a machine is asked once before it is believed.
fn prove<D: Driver, C: Compiler, P: Products<D, C>>(card: &Cuda<D, C, P>) -> Result<()> {
    let with = |forward, backward| {
        card.runtime().use_hopper(Hopper { forward, backward });
        attend(card).map_err(driven)
    };
    let (right, forward, backward) = (with(false, false)?, with(true, false)?, with(false, true)?);
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.02 * (1.0 + b.abs());
    let same = |ours: &[f32], theirs: &[f32]| ours.iter().zip(theirs).all(near);
    let (forward, backward) = (same(&forward.outputs, &right.outputs), same(&backward.gradients, &right.gradients));
    card.runtime().use_hopper(Hopper { forward, backward });
    Ok(())
}

/// What attention came to.
struct Attended {
    /// Outputs and log-sum-exps.
    outputs: Vec<f32>,
    /// Of queries, keys and values.
    gradients: Vec<f32>,
}

/// Attention over some tiles, some of them short, with heads of both sizes that have kernels of their own.
fn attend<D: Driver, C: Compiler, P: Products<D, C>>(card: &Cuda<D, C, P>) -> crate::device::Result<Attended> {
    let [small, large] = [attend_with(card, 64)?, attend_with(card, 128)?];
    let outputs = [small.outputs, large.outputs].concat();
    Ok(Attended { outputs, gradients: [small.gradients, large.gradients].concat() })
}

fn attend_with<D: Driver, C: Compiler, P: Products<D, C>>(
    card: &Cuda<D, C, P>,
    head_dim: usize,
) -> crate::device::Result<Attended> {
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
    let saved = Saved { q: &q, k: &k, v: &v, out: &out, lse: &lse, dout: &dout };
    card.attention_backward(&batch, &job, saved, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv });
    let outputs = [card.download(&out, queries), card.download(&lse, 2 * T)].concat();
    let gradients = [(&dq, queries), (&dk, keys), (&dv, keys)].map(|(of, len)| card.download(of, len)).concat();
    card.check().map(|()| Attended { outputs, gradients })
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

    /// What compute capability 9.0 does by itself stays where it is right, and is left where it is not.
    #[test]
    fn a_machine_is_asked_before_it_is_believed() {
        const FORWARD: &str = "KERNEL_RESIDENT(attention_forward_hopper";
        const BACKWARD: &str = "KERNEL_RESIDENT(attention_backward_hopper";
        let late = |word| Some(Mistake { word, text: "products_wait<1>();", number: 0 });
        for (mistake, forward, backward) in
            [(None, true, true), (late(FORWARD), false, true), (late(BACKWARD), true, false)]
        {
            let Some((emulator, compiler)) = emulation::parts_with(1, true, mistake) else { return };
            let runtime = Runtime::new(emulator, compiler, Some(emulation::cache()));
            let card = Cuda::new(runtime, Plain, u64::MAX).expect("a stream");
            assert_eq!(card.runtime().hopper(), Hopper { forward: true, backward: true });
            prove(&card).expect("two passes");
            assert_eq!(card.runtime().hopper(), Hopper { forward, backward });
        }
    }
}
