//! Where NVIDIA's libraries lie: a toolkit that the environment names, the `nvidia` packages of a Python environment or of the
//! Python that `python3` is, what the system's loader knows, the usual place.

use std::env;
use std::error::Error as _;
use std::path::{Path, PathBuf};

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

/// Where a library was looked for, and what the loader says.
pub(super) fn reason(path: &Path, error: &libloading::Error) -> String {
    let words = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let path = path.display().to_string();
    if words.contains(&path) { words } else { format!("{path}: {words}") }
}
