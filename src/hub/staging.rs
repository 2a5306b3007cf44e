//! Files and directories that appear whole or not at all.
//!
//! Everything is written under a name beside its place that begins with a dot and holds `.partial-`, synced, then
//! renamed. A run that dies leaves such names behind; [`sweep`] removes them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::Error;

const MARK: &str = ".partial-";

/// A file or directory on its way to its place; what is not put there is removed again.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
}

impl Staged {
    /// A fresh name beside `target`, in the same directory, so that a rename does not copy. What an earlier process
    /// left on its way to the same place is removed.
    pub(super) fn beside(target: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let stem = format!(".{name}{MARK}");
        remove_leftovers(parent(target), &stem);
        Self { path: target.with_file_name(format!("{stem}{}-{count}", process())) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it to its place and syncs the directory that holds it.
    pub(super) fn put(self, target: &Path) -> Result<(), Error> {
        fs::rename(&self.path, target).map_err(Error::io("write", target))?;
        sync_directory(parent(target))
    }
}

impl Drop for Staged {
    /// After a rename there is nothing left to remove.
    fn drop(&mut self) {
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.path),
            Ok(_) => fs::remove_file(&self.path),
            Err(_) => Ok(()),
        };
        if let Err(reason) = removed {
            tracing::warn!("cannot remove {}: {reason}", self.path.display());
        }
    }
}

/// Removes from a directory whatever writers that died left behind. Call it only where no other process writes.
///
/// # Errors
/// [`Error::Io`] when the directory cannot be read.
pub fn sweep(dir: &Path) -> Result<(), Error> {
    fs::read_dir(dir).map_err(Error::io("read", dir))?;
    remove_leftovers(dir, ".");
    Ok(())
}

/// Removes staged names of other processes that begin with `stem`, as far as that is possible.
fn remove_leftovers(dir: &Path, stem: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(stem) && name.contains(MARK) && !name.contains(process()) {
            drop(Staged { path: entry.path() });
        }
    }
}

/// Tells this process from every other, also from one of the same number in another container.
fn process() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}-{}", std::process::id(), start.as_nanos())
    })
}

/// Writes a small file whole or not at all.
///
/// # Errors
/// [`Error::Io`]; what was there before is then unchanged.
pub fn save_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let staged = Staged::beside(path);
    write_synced(staged.path(), bytes).map_err(Error::io("write", path))?;
    staged.put(path)
}

/// Writes and syncs a file that nobody reads yet.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::write(path, bytes)?;
    File::open(path)?.sync_all()
}

/// The directory that holds a path.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes renames in a directory last through a power cut. File systems without such a call are left to themselves.
pub(super) fn sync_directory(dir: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("write", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        save_bytes(&path, b"old").unwrap();
        save_bytes(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    fn what_is_not_put_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let staged = Staged::beside(&dir.path().join("model"));
        fs::create_dir(staged.path()).unwrap();
        fs::write(staged.path().join("a"), b"").unwrap();
        drop(staged);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".hidden", ".a.partial-7-7-0", ".b.partial-7-7-0"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        save_bytes(&dir.path().join("a"), b"").unwrap();
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, [".b.partial-7-7-0", ".hidden", "a"], "only what was on its way to the same place");
        sweep(dir.path()).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
    }
}
