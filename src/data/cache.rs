//! Token ids of one file on disk, under the digest of its content, its format and the tokenizer.
//!
//! Little-endian: magic 8, version u32, zero u32, key 16; token ids u32 each; the end of each document u64 each, counted
//! in tokens; numbers of characters, of documents without a token, of documents and of tokens u64; digest 16 of everything
//! before it.
//!
//! A file appears under its name only when it is whole (written aside, flushed, renamed). What cannot be verified is made
//! again. One process at a time makes a file, the others wait for it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::digest::{Digest, hex};
use super::error::Error;

const MAGIC: [u8; 8] = *b"ctxtoken";
const VERSION: u32 = 2;
const HEAD: u64 = 32;
const FOOT: u64 = 48;

/// What a cached file was made from.
pub(super) type Key = [u8; 16];

/// A verified file of token ids.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    file: Mutex<File>,
    ends: Vec<u64>,
    /// What it was made from.
    pub(super) key: Key,
    /// Characters of the text.
    pub(super) characters: u64,
    /// Documents without a token, which are left out.
    pub(super) empty: u64,
}

impl TokenFile {
    /// The cached tokens of `key`, made by `write` if there are none or they are damaged.
    pub(super) fn obtain(
        dir: &Path,
        key: &Key,
        write: impl FnOnce(&mut TokenWriter) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
        let path = dir.join(format!("{}.tokens", hex(key)));
        if let Some(ready) = Self::open(&path, key) {
            return Ok(ready);
        }
        let lock = lock(&path.with_extension("lock"));
        if let Some(ready) = Self::open(&path, key).filter(|_| lock.is_some()) {
            return Ok(ready);
        }
        // Without a lock (some network file systems) two processes must not share the unfinished file.
        let aside = if lock.is_some() { "part".to_owned() } else { format!("{}.part", std::process::id()) };
        let aside = path.with_extension(aside);
        let made = TokenWriter::make(&aside, key, write)
            .and_then(|()| fs::rename(&aside, &path).map_err(|error| unwritable(&path, &error)));
        if let Err(error) = made {
            // The reason is reported; a left-over is overwritten by the next attempt.
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        Self::open(&path, key).ok_or_else(|| Error::File {
            path,
            reason: "was written and cannot be read back; is the disk full or failing?".to_owned(),
        })
    }

    /// A whole and undamaged file, or nothing.
    fn open(path: &Path, key: &Key) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        let [characters, empty, documents, tokens] = foot(&mut file, length)?;
        verify(&mut file, length, key)?;
        let ends = read_ends(&mut file, documents, tokens)?;
        Some(Self { path: path.to_owned(), file: Mutex::new(file), ends, key: *key, characters, empty })
    }

    /// For each document, the token behind its last.
    pub(super) fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// Appends tokens `first..first + count` of the file.
    pub(super) fn read(&self, first: u64, count: usize, tokens: &mut Vec<u32>) -> Result<(), Error> {
        let mut bytes = vec![0; count * 4];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(HEAD + first * 4)).and_then(|_| file.read_exact(&mut bytes)).map_err(|error| {
            Error::file(&self.path, "the token cache could not be read; start again to rebuild it", &error)
        })?;
        tokens.extend(bytes.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])));
        Ok(())
    }
}

/// Characters, documents without a token, documents, tokens.
fn foot(file: &mut File, length: u64) -> Option<[u64; 4]> {
    file.seek(SeekFrom::Start(length.checked_sub(FOOT)?)).ok()?;
    let [characters, empty, documents, tokens] = [read_u64(file)?, read_u64(file)?, read_u64(file)?, read_u64(file)?];
    let body = tokens.checked_mul(4)?.checked_add(documents.checked_mul(8)?)?;
    (body.checked_add(HEAD + FOOT)? == length).then_some([characters, empty, documents, tokens])
}

/// Reads the whole file once: damage is found here, not in the middle of training.
fn verify(file: &mut File, length: u64, key: &Key) -> Option<()> {
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut digest = Digest::new();
    let mut buffer = vec![0; 1 << 20];
    let mut start = [0; HEAD as usize];
    file.read_exact(&mut start).ok()?;
    digest.update(&start);
    let mut left = length.checked_sub(HEAD + 16)?;
    while left > 0 {
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..count]).ok()?;
        digest.update(&buffer[..count]);
        left -= count as u64;
    }
    let mut written = [0; 16];
    file.read_exact(&mut written).ok()?;
    (start == head(key) && digest.finish() == written).then_some(())
}

fn read_ends(file: &mut File, documents: u64, tokens: u64) -> Option<Vec<u64>> {
    file.seek(SeekFrom::Start(HEAD + tokens * 4)).ok()?;
    let mut bytes = vec![0; usize::try_from(documents * 8).ok()?];
    file.read_exact(&mut bytes).ok()?;
    let ends: Vec<u64> =
        bytes.chunks_exact(8).map(|end| u64::from_le_bytes(std::array::from_fn(|at| end[at]))).collect();
    let whole = ends.is_sorted() && ends.last().copied().unwrap_or(0) == tokens;
    whole.then_some(ends)
}

fn read_u64(file: &mut File) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn head(key: &Key) -> [u8; HEAD as usize] {
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..].copy_from_slice(key);
    head
}

/// Held until dropped, also by a process that is killed; nothing where the file system has no locks.
fn lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
    file.lock().ok()?;
    Some(file)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::file(path, "the token cache could not be written", error)
}

/// Writes documents one after another.
pub(super) struct TokenWriter {
    file: BufWriter<File>,
    digest: Digest,
    tokens: u64,
    ends: Vec<u64>,
    characters: u64,
    empty: u64,
}

impl TokenWriter {
    fn make(path: &Path, key: &Key, write: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        let (file, ends) = (BufWriter::new(file), Vec::new());
        let mut writer = Self { file, digest: Digest::new(), tokens: 0, ends, characters: 0, empty: 0 };
        let io = |error: std::io::Error| unwritable(path, &error);
        writer.put(&head(key)).map_err(io)?;
        write(&mut writer)?;
        writer.finish().map_err(io)
    }

    /// More tokens of the current document.
    pub(super) fn tokens(&mut self, ids: &[u32]) -> std::io::Result<()> {
        self.tokens += ids.len() as u64;
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.put(&bytes)
    }

    /// The current document ends; one without tokens is left out.
    pub(super) fn end(&mut self) {
        match self.ends.last().copied().unwrap_or(0) < self.tokens {
            true => self.ends.push(self.tokens),
            false => self.empty += 1,
        }
    }

    /// What the tokens were made from is so much longer.
    pub(super) fn characters(&mut self, count: usize) {
        self.characters += count as u64;
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish(mut self) -> std::io::Result<()> {
        let ends = std::mem::take(&mut self.ends);
        let foot = [self.characters, self.empty, ends.len() as u64, self.tokens];
        for count in ends.iter().copied().chain(foot) {
            self.put(&count.to_le_bytes())?;
        }
        let digest = self.digest.clone().finish();
        self.file.write_all(&digest)?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests;
