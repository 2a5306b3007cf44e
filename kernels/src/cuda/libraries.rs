//! Where NVIDIA's libraries lie: a toolkit that the environment names, the `nvidia` packages of a Python environment or of the
//! Python that `python3` is, what the system's loader knows, the usual place.

use std::env;
use std::error::Error as _;
use std::path::{Path, PathBuf};

use super::driver::{Error, Needed, Result};

/// Where a library may be: its file's name before the version, and the names that the system's loader is asked for.
pub(super) fn candidates((name, known): (&str, &[&str])) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in named(&["CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"]) {
        found.extend(["lib64", "lib", "bin"].iter().flat_map(|lib| versions(&root.join(lib), name)));
    }
    for root in named(&["VIRTUAL_ENV", "CONDA_PREFIX"]).chain(python()) {
        let packages = |python: PathBuf| ["site-packages", "dist-packages"].map(|all| python.join(all).join("nvidia"));
        let parts = children(&root.join("lib")).into_iter().flat_map(packages).flat_map(|nvidia| children(&nvidia));
        found.extend(parts.flat_map(|part| versions(&part.join("lib"), name)));
    }
    found.extend(known.iter().map(PathBuf::from));
    found.extend(versions(Path::new("/usr/local/cuda/lib64"), name));
    found
}

/// Folders that variables of the environment name.
fn named<'a>(variables: &'a [&str]) -> impl Iterator<Item = PathBuf> + 'a {
    variables.iter().filter_map(env::var_os).map(PathBuf::from)
}

/// The folder of the environment of the first `python3` on the search path, whose `bin` that lies in.
fn python() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    let bin = env::split_paths(&folders).find(|folder| folder.join("python3").is_file())?;
    Some(bin.parent()?.to_owned())
}

/// The versions of a library in a folder, the newest first.
pub(super) fn versions(dir: &Path, library: &str) -> Vec<PathBuf> {
    let is_version = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_prefix(library)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.ends_with(".dll"))
    };
    children(dir).into_iter().rev().filter(is_version).collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Opens the first of some files that a driver which knows CUDA `driver` goes with: of its major version, or an earlier one.
/// `open` gives what is made of a file and its major and minor version, or says why it is none to take.
pub(super) fn first<T>(
    candidates: &[PathBuf],
    library: Needed,
    driver: i32,
    open: impl Fn(&Path) -> std::result::Result<(T, (i32, i32)), String>,
) -> Result<T> {
    let (mut reasons, mut newer) = (Vec::new(), None);
    for path in candidates {
        match open(path) {
            Ok((found, (major, _))) if major <= driver / 1000 => return Ok(found),
            Ok((_, (major, minor))) => newer = newer.or(Some(major * 1000 + minor * 10)),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(match newer {
        Some(needed) => Error::OldDriver { found: driver, needed },
        None => Error::NoLibrary { library, reason: reasons.join("; ") },
    })
}

/// Where a library was looked for, and what the loader says.
pub(super) fn reason(path: &Path, error: &libloading::Error) -> String {
    let words = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let path = path.display().to_string();
    if words.contains(&path) { words } else { format!("{path}: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files whose names are their versions; what is none cannot be opened.
    fn found(files: &[&str], driver: i32) -> Result<String> {
        let candidates: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        first(&candidates, Needed::CublasLt, driver, |path| {
            let name = path.display().to_string();
            let version =
                name.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
            Ok((name.clone(), version.ok_or(format!("{name}: no library"))?))
        })
    }

    #[test]
    fn the_first_that_goes_with_the_driver() {
        assert_eq!(found(&["broken", "13.1", "12.8", "12.0"], 12_040).as_deref(), Ok("12.8"));
        assert_eq!(found(&["13.1", "12.8"], 13_000).as_deref(), Ok("13.1"));
        assert_eq!(found(&["broken", "13.1"], 12_040), Err(Error::OldDriver { found: 12_040, needed: 13_010 }));
        let reason = "a: no library; b: no library".to_owned();
        assert_eq!(found(&["a", "b"], 12_040), Err(Error::NoLibrary { library: Needed::CublasLt, reason }));
    }
}
