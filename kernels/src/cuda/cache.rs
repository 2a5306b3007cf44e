//! Compiled images on disk, one file each, safe against processes that compile the same at the same time and against files
//! that were cut off or changed.
//!
//! A file holds what it was compiled from beside the image, so that two texts with one hash do no harm.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::driver::Result;
use super::source::{Compiler, Source};

/// What every file begins with; another number for another layout.
const MAGIC: &[u8; 8] = b"CRIMAGE1";

/// A folder of images.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// A folder that need not be there yet.
    pub fn new(dir: impl Into<PathBuf>) -> Cache {
        Cache { dir: dir.into() }
    }

    /// The image of a text, compiled if the folder lacks it. A folder that cannot be written to costs the next process
    /// a compilation, nothing else.
    pub fn image(&self, compiler: &impl Compiler, source: &Source) -> Result<Vec<u8>> {
        let key = format!("{}\n{}", compiler.identity(), source.text());
        let path = self.path(source, &key);
        if let Some(image) = fs::read(&path).ok().and_then(|file| unpack(&file, &key)) {
            return Ok(image);
        }
        let image = compiler.compile(source)?;
        let _ = self.store(&path, &pack(&key, &image));
        Ok(image)
    }

    /// Where an image lies: its text's name and the key's hash.
    fn path(&self, source: &Source, key: &str) -> PathBuf {
        let name = source.file.trim_end_matches(".cu");
        self.dir.join(format!("{name}-{:016x}.image", hash(key.as_bytes())))
    }

    /// Beside its place first, so that nobody reads half a file.
    fn store(&self, path: &Path, file: &[u8]) -> std::io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.dir)?;
        let unique = format!("{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let beside = path.with_extension(unique);
        let written = fs::File::create(&beside)
            .and_then(|mut out| out.write_all(file).and_then(|()| out.sync_all()))
            .and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

/// Magic, length of the key, key, image, and the hash of all that.
fn pack(key: &str, image: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend((key.len() as u64).to_le_bytes());
    file.extend(key.as_bytes());
    file.extend(image);
    file.extend(hash(&file).to_le_bytes());
    file
}

/// The image of a whole file of this key.
fn unpack(file: &[u8], key: &str) -> Option<Vec<u8>> {
    let (content, sum) = file.split_last_chunk::<8>()?;
    let rest = content.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let rest = rest.strip_prefix(key.as_bytes())?;
    let good = u64::from_le_bytes(*len) == key.len() as u64 && hash(content) == u64::from_le_bytes(*sum);
    good.then(|| rest.to_vec())
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
