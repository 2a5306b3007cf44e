//! Standard input as a file: it can be read once, and an epoch, a damaged cache or a resumed run read it again. So it is
//! written into the cache folder first, and whoever finds it there reads that.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::Error;
use super::source::{Compression, compression_of, text_of};

/// What stands for standard input where a file or glob is asked for.
pub const NAME: &str = "-";

/// Names of the file; its end tells how it is read.
const STEM: &str = "stdin";

/// Bytes of a first line that is looked at.
const LINE: u64 = 1 << 20;

/// Standard input, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Where.
    pub path: PathBuf,
    /// Whether each line is a JSON object.
    pub lines: bool,
    /// Whether an earlier process kept it.
    pub before: bool,
    /// Its bytes.
    pub bytes: u64,
}

/// Standard input as a file in `cache`: the one that is there, or what is piped in now.
///
/// # Errors
/// Nothing is piped in, or it is empty; the folder cannot be written.
pub fn spooled(cache: &Path) -> Result<Spooled, Error> {
    let input = io::stdin();
    if let Some(found) = kept(cache) {
        return Ok(found);
    }
    if input.is_terminal() {
        return Err(wrong("nothing is piped in; write `… < corpus.jsonl` or `zcat *.gz | …`"));
    }
    spool(&mut input.lock(), cache)
}

fn kept(cache: &Path) -> Option<Spooled> {
    let all = fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path());
    let mut ours = all.filter(|path| {
        name(path).is_some_and(|name| name.starts_with(&format!("{STEM}.")) && !name.ends_with(".part"))
    });
    let path = ours.next()?;
    let bytes = path.metadata().ok()?.len();
    let lines = name(&path)?.contains(".jsonl");
    Some(Spooled { path, lines, before: true, bytes })
}

fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// Writes all of `input` into `cache`, under a name that says what it is.
fn spool(input: &mut dyn Read, cache: &Path) -> Result<Spooled, Error> {
    let aside = cache.join(format!("{STEM}.part"));
    let failed = |error: io::Error| Error::file(&aside, "standard input could not be kept here", &error);
    fs::create_dir_all(cache).map_err(failed)?;
    let mut file = File::create(&aside).map_err(failed)?;
    let bytes = io::copy(input, &mut file).and_then(|bytes| file.sync_all().map(|()| bytes)).map_err(failed)?;
    if bytes == 0 {
        return Err(wrong("it is empty; pipe text or JSON lines in"));
    }
    let compression = compression_of(&aside)?;
    let lines = first_is_object(&aside, compression)?;
    let end = match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    };
    let path = cache.join(format!("{STEM}.{}{end}", if lines { "jsonl" } else { "txt" }));
    fs::rename(&aside, &path).map_err(failed)?;
    Ok(Spooled { path, lines, before: false, bytes })
}

/// Whether the first line is a JSON object: no prose is. One that is longer than is looked at counts when it begins as one.
fn first_is_object(path: &Path, compression: Compression) -> Result<bool, Error> {
    let (at, mut line) = (Cell::new(0), vec![]);
    let mut file = text_of(path, compression, &at)?;
    let mut text = BufReader::new(file.text()).take(LINE);
    let unreadable = |error: io::Error| Error::file(path, "standard input could not be read", &error);
    while line.trim_ascii().is_empty() {
        if text.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(false);
        }
    }
    let long = line.len() as u64 == LINE;
    let begins = line.trim_ascii_start().starts_with(b"{\"");
    Ok(if long { begins } else { matches!(serde_json::from_slice(&line), Ok(Value::Object(_))) })
}

fn wrong(reason: &str) -> Error {
    Error::File { path: PathBuf::from("standard input"), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
