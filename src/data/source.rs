//! Files of text, read piece by piece. A text file is one document; a JSONL file holds one in each line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::digest::Digest;
use super::error::Error;

/// How a file holds its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Jsonl { field: String },
    Chat { field: String },
}

/// What a reader hands over: a document is some texts, then its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// The messages of a whole document, and its line.
    Chat(&'a [Value], usize),
    End,
}

/// Bytes that are read at a time.
const CHUNK: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };

/// A file to read.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) format: &'a Format,
    /// Whether a long text may be cut behind a word: tokens are then the same as without the cut.
    pub(super) cut: bool,
}

/// The files that a glob names, sorted, relative to the working directory.
pub(super) fn files(glob: &str) -> Result<Vec<PathBuf>, Error> {
    let pattern = |reason: String| Error::Glob { glob: glob.to_owned(), reason };
    let found = glob::glob(glob).map_err(|error| pattern(error.to_string()))?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| Error::file(error.path(), "could not be listed", error.error()))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let here = std::env::current_dir()
            .map_or_else(|_| "the working directory".to_owned(), |dir| dir.display().to_string());
        return Err(pattern(format!("no file matches it; it is relative to {here}")));
    }
    Ok(files)
}

/// The digest of a file's bytes.
pub(super) fn digest(path: &Path) -> Result<[u8; 16], Error> {
    let mut file = open(path)?;
    let (mut digest, mut buffer) = (Digest::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer).map_err(|error| unreadable(path, &error))? {
            0 => return Ok(digest.finish()),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::file(path, "could not be read", error)
}

impl Reader<'_> {
    /// Hands every piece to `visit`, holding one chunk (or one line) in memory; returns the digest of what was read.
    pub(super) fn read(&self, visit: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>) -> Result<[u8; 16], Error> {
        match self.format {
            Format::Text => self.text(visit),
            Format::Jsonl { field } | Format::Chat { field } => self.lines(field, visit),
        }
    }

    fn text(&self, visit: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>) -> Result<[u8; 16], Error> {
        let mut file = open(self.path)?;
        let (mut digest, mut held, mut offset) = (Digest::new(), Vec::new(), 0);
        loop {
            let before = held.len();
            let read = file
                .by_ref()
                .take(CHUNK as u64)
                .read_to_end(&mut held)
                .map_err(|error| unreadable(self.path, &error))?;
            digest.update(&held[before..]);
            let last = read < CHUNK;
            let end = if last { held.len() } else { self.cut(&held) };
            let text = self.utf8(&held[..end], offset)?;
            let text = if offset == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
            if !text.is_empty() {
                visit(Piece::Text(text))?;
            }
            held.drain(..end);
            offset += end;
            if last {
                visit(Piece::End)?;
                return Ok(digest.finish());
            }
        }
    }

    /// The last place between an ASCII letter and white space; 0 if there is none.
    fn cut(&self, text: &[u8]) -> usize {
        let border = |pair: &[u8]| pair[0].is_ascii_alphabetic() && matches!(pair[1], b' ' | b'\n' | b'\r');
        if self.cut { text.windows(2).rposition(border).map_or(0, |letter| letter + 1) } else { 0 }
    }

    fn utf8<'t>(&self, bytes: &'t [u8], offset: usize) -> Result<&'t str, Error> {
        std::str::from_utf8(bytes).map_err(|error| {
            let offset = offset + error.valid_up_to();
            Error::Utf8 { path: self.path.to_owned(), offset: offset as u64 }
        })
    }

    fn lines(&self, field: &str, visit: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>) -> Result<[u8; 16], Error> {
        let mut file = BufReader::with_capacity(CHUNK, open(self.path)?);
        let (mut digest, mut line, mut offset) = (Digest::new(), Vec::new(), 0);
        for number in 1.. {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(|error| unreadable(self.path, &error))? == 0 {
                break;
            }
            digest.update(&line);
            let text = self.utf8(&line, offset)?;
            offset += line.len();
            if !text.trim().is_empty() {
                self.line(text, number, field, visit)?;
            }
        }
        Ok(digest.finish())
    }

    fn is_chat(&self) -> bool {
        matches!(self.format, Format::Chat { .. })
    }

    fn line(
        &self,
        line: &str,
        number: usize,
        field: &str,
        visit: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wrong = |reason: String| Error::Json { path: self.path.to_owned(), line: number, reason };
        let value: Value =
            serde_json::from_str(line.trim_start_matches('\u{feff}')).map_err(|error| wrong(error.to_string()))?;
        let Value::Object(object) = &value else {
            return Err(wrong(format!("a line is an object like {{\"{field}\": \"…\"}}, got {}", kind(&value))));
        };
        if let (Format::Chat { .. }, Some(Value::Array(messages))) = (self.format, object.get(field)) {
            check_messages(messages).map_err(wrong)?;
            visit(Piece::Chat(messages, number))?;
            return visit(Piece::End);
        }
        let mut text = match object.get(field) {
            Some(Value::String(text)) if !self.is_chat() => text.as_str(),
            Some(other) => {
                let expected = if self.is_chat() { "a list of messages" } else { "text" };
                return Err(wrong(format!("`{field}` is {}, expected {expected}", kind(other))));
            }
            None => {
                let names: Vec<_> = object.keys().map(|key| format!("`{key}`")).collect();
                let has = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
                return Err(wrong(format!(
                    "no field `{field}`; the line has {has}; name another with `field = \"…\"`"
                )));
            }
        };
        while text.len() > CHUNK && self.cut {
            let near = text.floor_char_boundary(CHUNK);
            let end = match self.cut(&text.as_bytes()[..near]) {
                0 => text.len(),
                end => end,
            };
            visit(Piece::Text(&text[..end]))?;
            text = &text[end..];
        }
        if !text.is_empty() {
            visit(Piece::Text(text))?;
        }
        visit(Piece::End)
    }
}

/// Each message has a role and a text.
fn check_messages(messages: &[Value]) -> Result<(), String> {
    let wrong = |message: &&Value| !(message["role"].is_string() && message["content"].is_string());
    match messages.iter().position(|message| wrong(&message)) {
        Some(turn) => Err(format!(
            "message {} is not like {{\"role\": \"user\", \"content\": \"…\"}}, with a text for its content",
            turn + 1
        )),
        None => Ok(()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
