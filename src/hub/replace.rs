//! Putting a new model in place of an earlier one, so that a reader finds the one or the other.
//!
//! A directory that holds other things, too, cannot be renamed over. So the new files wait, complete and synced, in a
//! directory of a fixed name inside it; from then on the new model counts. Moving them is a list of steps that may be
//! cut off anywhere and taken up again: `config.json` goes first and comes last, so that other programs find no model
//! in between, and [`finish`] is called before this program reads or writes there.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::{CONFIG, is_weight_file};
use super::error::Error;
use super::staging::{Staged, sync_directory};
use super::tokenizer::GENERATION;

/// Holds the complete new model until all of it is moved.
const READY: &str = ".model.ready";
/// Every saved model has this file, and it is moved before the others: while it waits, nothing has been moved.
const FIRST: &str = GENERATION;

/// One change to the directory, done at once or not at all.
#[derive(Debug)]
enum Step {
    Remove(PathBuf),
    Move(PathBuf, PathBuf),
    RemoveEmpty(PathBuf),
}

/// Replaces the model in `dir` by the staged one, which must be complete and synced.
pub(super) fn replace(staged: Staged, dir: &Path) -> Result<(), Error> {
    finish(dir)?;
    staged.put(&dir.join(READY))?;
    finish(dir)
}

/// Takes up a replacement that was cut off; does nothing where there was none.
pub(super) fn finish(dir: &Path) -> Result<(), Error> {
    if !dir.join(READY).is_dir() {
        return Ok(());
    }
    steps(dir)?.iter().try_for_each(Step::run)?;
    sync_directory(dir)
}

fn steps(dir: &Path) -> Result<Vec<Step>, Error> {
    let ready = dir.join(READY);
    let mut waiting = file_names(&ready)?;
    waiting.sort_by_key(|name| (name != FIRST, name == CONFIG));
    let mut steps = Vec::new();
    if waiting.iter().any(|name| name == CONFIG) {
        steps.push(Step::Remove(dir.join(CONFIG)));
    }
    if waiting.first().is_some_and(|name| name == FIRST) {
        let stale = file_names(dir)?.into_iter().filter(|name| is_weight_file(name) && !waiting.contains(name));
        steps.extend(stale.map(|name| Step::Remove(dir.join(name))));
    }
    steps.extend(waiting.iter().map(|name| Step::Move(ready.join(name), dir.join(name))));
    steps.push(Step::RemoveEmpty(ready));
    Ok(steps)
}

impl Step {
    fn run(&self) -> Result<(), Error> {
        let (path, done) = match self {
            Self::Remove(path) => (path, fs::remove_file(path)),
            Self::Move(from, to) => (to, fs::rename(from, to)),
            Self::RemoveEmpty(path) => (path, fs::remove_dir(path)),
        };
        match (self, done) {
            (Self::Remove(_), Err(reason)) if reason.kind() == std::io::ErrorKind::NotFound => Ok(()),
            (_, done) => done.map_err(Error::io("replace", path)),
        }
    }
}

fn file_names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(dir: &Path, names: &[&str], text: &str) {
        fs::create_dir_all(dir).unwrap();
        names.iter().for_each(|name| fs::write(dir.join(name), text).unwrap());
    }

    fn state(dir: &Path) -> Vec<(String, String)> {
        let mut names = file_names(dir).unwrap();
        names.sort();
        names.into_iter().map(|name| (name.clone(), fs::read_to_string(dir.join(name)).unwrap())).collect()
    }

    #[test]
    fn a_replacement_cut_off_after_any_step_is_finished() {
        let old = ["README.md", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let new = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
        let prepared = || {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), &old, "old");
            fill(&dir.path().join(READY), &new, "new");
            dir
        };
        let all = steps(prepared().path()).unwrap().len();
        assert_eq!(all, 1 + 2 + 4 + 1);
        for done in 0..=all {
            let dir = prepared();
            steps(dir.path()).unwrap().iter().take(done).for_each(|step| step.run().unwrap());
            let between = dir.path().join(CONFIG).exists();
            assert_eq!(between, done == 0 || done >= all - 1, "no config.json while files of both models lie there");
            finish(dir.path()).unwrap();
            let expected = [
                "README.md=old",
                "config.json=new",
                "generation_config.json=new",
                "model.safetensors=new",
                "tokenizer.json=new",
            ];
            let found: Vec<String> = state(dir.path()).iter().map(|(name, text)| format!("{name}={text}")).collect();
            assert_eq!(found, expected, "after {done} steps");
        }
    }
}
