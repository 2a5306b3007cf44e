//! Directories of Hugging Face's `datasets`, as the Hub lays them out. As in `load_dataset`, README.md may name configurations
//! and their files; without it the names of the files say which split they are of; where no name does, everything is `train`.
//!
//! What `save_to_disk` writes (Arrow) is refused with the line of Python that makes Parquet of it.

mod card;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::card::Configuration;
use super::error::Error;
use super::source::{Container, files};

/// Which files are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) path: &'a Path,
    pub(super) split: &'a str,
    /// Empty for the usual one.
    pub(super) config: &'a str,
}

/// Words in names and the split that they mean; the library's own list.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
    ("validation", &["validation", "valid", "dev", "val"]),
];

impl Wanted<'_> {
    /// The files in order, at least one.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.path.is_dir() {
            return Err(self.nowhere());
        }
        if ["dataset_dict.json", "state.json"].iter().any(|file| self.path.join(file).is_file()) {
            return Err(self.saved());
        }
        let found = self.of_the_hub()?;
        let mut kinds: Vec<Option<Container>> = found.iter().map(|file| Container::of(file)).collect();
        kinds.dedup();
        match kinds[..] {
            [Some(_)] => Ok(found),
            [] => Err(self.wrong(format!("split {:?} has no files", self.split))),
            _ => {
                let names: Vec<String> = found.iter().map(|file| self.inside(file)).collect();
                Err(self.wrong(format!(
                    "split {:?} mixes formats ({}); read one of them with jsonl(\"…\") or parquet(\"…\")",
                    self.split,
                    short(&names)
                )))
            }
        }
    }

    /// What `save_to_disk` wrote.
    fn saved(&self) -> Error {
        let dict = self.path.join("dataset_dict.json").is_file();
        let split = if dict { format!("[{:?}]", self.split) } else { String::new() };
        let name = self.path.display();
        self.wrong(format!(
            "was written by `save_to_disk`, as Arrow, which is not read; write it as Parquet in Python: \
             `datasets.load_from_disk(\"{name}\"){split}.to_parquet(\"{name}-parquet/{}.parquet\")`",
            self.split
        ))
    }

    fn of_the_hub(&self) -> Result<Vec<PathBuf>, Error> {
        let card = fs::read_to_string(self.path.join("README.md")).unwrap_or_default();
        let configurations = card::configurations(&card);
        if let Some(configuration) = self.configuration(&configurations)? {
            return self.listed(configuration);
        }
        let mut all = vec![];
        walk(self.path, &mut all).map_err(|error| Error::file(self.path, "could not be listed", &error))?;
        all.sort();
        let mut splits: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for file in &all {
            if let Some(split) = split_of(&self.inside(file)) {
                splits.entry(split).or_default().push(file.clone());
            }
        }
        if splits.is_empty() && !all.is_empty() {
            splits.insert("train".to_owned(), all);
        }
        if splits.is_empty() {
            let what = "holds no .parquet, .jsonl, .json or .txt file; was everything downloaded?";
            return Err(self.wrong(what.to_owned()));
        }
        let names: Vec<&str> = splits.keys().map(String::as_str).collect();
        let missing = self.no_split(&names);
        splits.remove(self.split).ok_or(missing)
    }

    /// The configuration that is asked for, or the only or usual one; nothing where README.md names no files.
    fn configuration<'c>(&self, all: &'c [Configuration]) -> Result<Option<&'c Configuration>, Error> {
        let names: Vec<&str> = all.iter().map(|configuration| configuration.name.as_str()).collect();
        let by_name = |name: &str| all.iter().find(|configuration| configuration.name == name);
        let found = match (self.config, all) {
            ("", [] | [_]) => all.first(),
            ("", _) => match all.iter().find(|configuration| configuration.usual).or(by_name("default")) {
                Some(usual) => Some(usual),
                None => {
                    return Err(self.wrong(format!(
                        "has the configurations {}; name one with `config = {:?}`",
                        short(&names),
                        names[0]
                    )));
                }
            },
            (name, _) => match by_name(name) {
                Some(found) => Some(found),
                None if all.is_empty() => {
                    return Err(
                        self.wrong(format!("its README.md names no configuration {name:?}; name the folder itself"))
                    );
                }
                None => return Err(self.wrong(format!("has no configuration {name:?}, but {}", short(&names)))),
            },
        };
        Ok(found.filter(|configuration| !configuration.files.is_empty()))
    }

    /// The files that README.md lists for the split.
    fn listed(&self, configuration: &Configuration) -> Result<Vec<PathBuf>, Error> {
        let mut names: Vec<&str> = configuration.files.iter().map(|(split, _)| split.as_str()).collect();
        names.dedup();
        if !names.contains(&self.split) {
            return Err(self.no_split(&names));
        }
        let mut found = vec![];
        for (_, pattern) in configuration.files.iter().filter(|(split, _)| split == self.split) {
            let folder = glob::Pattern::escape(&self.path.display().to_string());
            found.extend(files(&format!("{folder}/{pattern}"))?);
        }
        Ok(found)
    }

    fn inside(&self, file: &Path) -> String {
        file.strip_prefix(self.path).unwrap_or(file).display().to_string()
    }

    fn no_split(&self, names: &[&str]) -> Error {
        self.wrong(format!("has no split {:?}, but {}; name one with `split = \"…\"`", self.split, short(names)))
    }

    fn wrong(&self, reason: String) -> Error {
        Error::File { path: self.path.to_owned(), reason }
    }

    fn nowhere(&self) -> Error {
        let name = self.path.display();
        let here = std::env::current_dir()
            .map_or_else(|_| "the working directory".to_owned(), |dir| dir.display().to_string());
        self.wrong(format!(
            "is no directory; it is relative to {here}. Nothing is downloaded: `hf download --repo-type dataset {name} --local-dir \
             {name}` fetches a dataset of the Hub"
        ))
    }
}

/// Files of formats that are read, hidden ones left out.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(['.', '_']) {
            continue;
        }
        // The repository's own files are no examples.
        let about = ["dataset_infos.json", "dataset_info.json", "README.txt", "LICENSE.txt"].contains(&&*name)
            || name.ends_with(".md");
        if path.is_dir() {
            walk(&path, found)?;
        } else if Container::of(&path).is_some() && !about {
            found.push(path);
        }
    }
    Ok(())
}

/// Which split a file is of, by its path inside the directory: `data/train-00000-of-00002.parquet`, `test.jsonl`,
/// `dev/a.json`.
fn split_of(path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let parts: Vec<&str> = name.split(['-', '.']).collect();
    let number = |part: &str| part.len() == 5 && part.bytes().all(|digit| digit.is_ascii_digit());
    // Any name may stand before the numbers of shards.
    if let [split, at, "of", count, ..] = parts[..]
        && number(at)
        && number(count)
    {
        return Some(split.to_owned());
    }
    let words = |part: &str| {
        part.split(|letter: char| !letter.is_ascii_alphabetic()).map(str::to_lowercase).collect::<Vec<_>>()
    };
    let words: Vec<String> = path.split('/').rev().flat_map(words).collect();
    let means = |word: &String| SPLITS.iter().find(|(_, known)| known.contains(&word.as_str()));
    words.iter().find_map(means).map(|(split, _)| (*split).to_owned())
}

/// The first few of many names.
fn short<N: AsRef<str>>(names: &[N]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("{:?}", name.as_ref())).collect();
    let rest = names.len().saturating_sub(8);
    shown.join(", ") + &if rest > 0 { format!(" and {rest} more") } else { String::new() }
}

#[cfg(test)]
mod tests;
