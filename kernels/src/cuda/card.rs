//! The machine's first GPU with all that it takes: driver, compiler or compiled images, matrix products.

use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::cublas::CublasLt;
use super::driver::{Error, Machine as _, Result, usable};
use super::gpu::{Gpu, Nvidia};
use super::nvrtc::{Architecture, Nvrtc};
use super::runtime::Runtime;
use super::source::{Compiler, Source};
use crate::device::Cuda;

/// The oldest CUDA that a driver has to know.
const OLDEST: i32 = 12_000;

/// An NVIDIA GPU as a device.
pub type Card = Cuda<Gpu, Images, CublasLt>;

/// Kernels' images: from NVRTC, or those that a folder was filled with by [`fill`].
#[derive(Debug)]
pub struct Images {
    identity: String,
    nvrtc: Result<Nvrtc>,
}

impl Compiler for Images {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn compile(&self, source: &Source) -> Result<Vec<u8>> {
        self.nvrtc.as_ref().map_err(Clone::clone)?.compile(source)
    }
}

impl Images {
    /// Without NVRTC the folder has to say what its images were made by.
    fn load(architecture: Architecture, driver: i32, cache: Option<&Path>) -> Result<Images> {
        match Nvrtc::load_for(architecture, driver) {
            Ok(nvrtc) => Ok(Images { identity: nvrtc.identity(), nvrtc: Ok(nvrtc) }),
            Err(error) => {
                let note = cache.map(|dir| std::fs::read_to_string(maker(dir, architecture)));
                match note {
                    Some(Ok(identity)) => Ok(Images { identity, nvrtc: Err(error) }),
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
    Cuda::new(Runtime::new(gpu, images, cache.map(Cache::new)), products, limit)
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
    for source in sources {
        cache.image(&nvrtc, source)?;
        count += 1;
    }
    let path = maker(dir, architecture);
    let failed = |error: std::io::Error| Error::System { what: path.display().to_string(), reason: error.to_string() };
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, nvrtc.identity())).map_err(failed)?;
    Ok(count)
}
