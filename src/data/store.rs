//! One source of text, tokenised: documents by number, read from the cache.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cache::{Key, TokenFile, TokenWriter};
use super::digest::Digest;
use super::encoder::Encoder;
use super::error::Error;
use super::source::{Format, Piece, Reader, digest};

/// Bytes of text that are tokenised together, on all cores.
const TOGETHER: usize = 4 << 20;

/// What is being tokenised; nothing is reported for files that the cache holds.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The file.
    pub path: &'a Path,
    /// Bytes of it that are done.
    pub done: u64,
    /// Bytes of it in all.
    pub bytes: u64,
}

/// All documents of some files.
#[derive(Debug)]
pub(super) struct Store {
    files: Vec<TokenFile>,
    /// For each file, the number of documents in it and before it.
    counts: Vec<usize>,
    /// Tokens, specials not counted.
    pub(super) tokens: u64,
}

impl Store {
    /// Tokenises what the cache does not hold yet.
    pub(super) fn open(
        paths: &[PathBuf],
        format: &Format,
        encoder: &Encoder,
        cache: &Path,
        report: &mut dyn FnMut(Reading<'_>),
    ) -> Result<Self, Error> {
        let tokenizer = encoder.digest()?;
        let mut store = Self { files: Vec::new(), counts: Vec::new(), tokens: 0 };
        for path in paths {
            let file = tokenized(path, format, encoder, &tokenizer, cache, report)?;
            store.counts.push(store.documents() + file.ends().len());
            store.tokens += file.ends().last().copied().unwrap_or(0);
            store.files.push(file);
        }
        Ok(store)
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// Characters of the text.
    pub(super) fn characters(&self) -> u64 {
        self.files.iter().map(|file| file.characters).sum()
    }

    /// Documents without a token, which are left out.
    pub(super) fn empty(&self) -> u64 {
        self.files.iter().map(|file| file.empty).sum()
    }

    /// How many documents there are.
    pub(super) fn documents(&self) -> usize {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Digests of the files' content, format and tokenizer, in the order in which they are read.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.files.iter().map(|file| file.key)
    }

    /// Tokens of a document, specials not counted.
    pub(super) fn length(&self, document: usize) -> u64 {
        let (_, first, last) = self.place(document);
        last - first
    }

    /// Appends tokens `from..from + count` of a document.
    pub(super) fn read(&self, document: usize, from: u64, count: usize, tokens: &mut Vec<u32>) -> Result<(), Error> {
        let (file, first, _) = self.place(document);
        file.read(first + from, count, tokens)
    }

    fn place(&self, document: usize) -> (&TokenFile, u64, u64) {
        let file = self.counts.partition_point(|&count| count <= document);
        let inside = document - file.checked_sub(1).map_or(0, |before| self.counts[before]);
        let ends = self.files[file].ends();
        let first = inside.checked_sub(1).map_or(0, |before| ends[before]);
        (&self.files[file], first, ends[inside])
    }
}

fn tokenized(
    path: &Path,
    format: &Format,
    encoder: &Encoder,
    tokenizer: &Key,
    cache: &Path,
    report: &mut dyn FnMut(Reading<'_>),
) -> Result<TokenFile, Error> {
    let content = digest(path)?;
    let field = match format {
        Format::Text => b"text".as_slice(),
        Format::Jsonl { field } => &[b"jsonl ", field.as_bytes()].concat(),
        Format::Parquet { field } => &[b"parquet ", field.as_bytes()].concat(),
        Format::Dataset { field } => &[b"dataset ", field.as_bytes()].concat(),
        Format::Chat { field } => {
            let rules = encoder.template().map_or("", |template| &template.rules);
            &[b"chat ", field.as_bytes(), b" ", rules.as_bytes()].concat()
        }
    };
    let key = Digest::of(&[&content, tokenizer, field]);
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    let at = Cell::new(0);
    TokenFile::obtain(cache, &key, |writer| {
        let mut tokenizing = Tokenizing {
            encoder,
            writer,
            path,
            at: &at,
            bytes,
            texts: Vec::new(),
            ends: Vec::new(),
            held: 0,
            chat: format.is_chat(),
            report,
        };
        let reader = Reader { path, format, cut: encoder.cuts_behind_words(), at: &at };
        let read = reader.read(&mut |piece| tokenizing.piece(piece))?;
        tokenizing.flush()?;
        if read == content {
            return Ok(());
        }
        let reason = "changed while it was being read; start again when nothing writes to it".to_owned();
        Err(Error::File { path: path.to_owned(), reason })
    })
}

/// Gathers texts and tokenises them together.
struct Tokenizing<'a> {
    encoder: &'a Encoder,
    writer: &'a mut TokenWriter,
    path: &'a Path,
    /// Bytes of the file that are read.
    at: &'a Cell<u64>,
    bytes: u64,
    texts: Vec<String>,
    /// After how many texts a document ends.
    ends: Vec<usize>,
    held: usize,
    chat: bool,
    report: &'a mut dyn FnMut(Reading<'_>),
}

impl Tokenizing<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Error> {
        match piece {
            // A conversation is tokenised as it comes, so no text waits before its end.
            Piece::End if self.chat => self.writer.end(),
            Piece::End => self.ends.push(self.texts.len()),
            Piece::Chat(messages, line) => self.conversation(messages, line)?,
            Piece::Text(text) => {
                self.held += text.len();
                self.writer.characters(text.chars().count());
                self.texts.push(text.to_owned());
            }
        }
        if self.held >= TOGETHER { self.flush() } else { Ok(()) }
    }

    fn conversation(&mut self, messages: &[Value], line: usize) -> Result<(), Error> {
        let template = self.encoder.template().ok_or_else(|| Error::NoTemplate { path: self.path.to_owned() })?;
        let refused = |reason| Error::Json { path: self.path.to_owned(), line, reason };
        let ids = self.encoder.conversation(template, messages).map_err(refused)?;
        let aside = |error| Error::file(self.path, "its tokens could not be written to the cache", &error);
        self.writer.tokens(&ids).map_err(aside)?;
        let said = messages.iter().filter_map(|message| message["content"].as_str());
        self.writer.characters(said.map(|text| text.chars().count()).sum());
        self.tell();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let texts = std::mem::take(&mut self.texts);
        let mut ends = std::mem::take(&mut self.ends).into_iter().peekable();
        let place = || format!("a text of {}", self.path.display());
        let encoded = self.encoder.encode_all(texts).map_err(|reason| Error::Tokenizer { what: place(), reason })?;
        let mut end_all = |writer: &mut TokenWriter, done: usize| {
            while ends.next_if(|&end| end <= done).is_some() {
                writer.end();
            }
        };
        end_all(self.writer, 0);
        for (index, ids) in encoded.iter().enumerate() {
            let aside = |error| Error::file(self.path, "its tokens could not be written to the cache", &error);
            self.writer.tokens(ids).map_err(aside)?;
            end_all(self.writer, index + 1);
        }
        self.held = 0;
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        (self.report)(Reading { path: self.path, done: self.at.get().min(self.bytes), bytes: self.bytes });
    }
}

/// Where the token cache lies if nobody says otherwise: `$XDG_CACHE_HOME` or `~/.cache`, else the temporary folder.
pub fn cache_dir() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("context-recipe").join("tokens")
}
