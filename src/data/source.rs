//! Files of text, read piece by piece. A text file is one document; a JSONL file holds one in each line, Parquet in each row.

#[cfg(feature = "parquet")]
mod columns;
mod compressed;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(super) use self::compressed::{Compression, compression_of, ending, text_of};
use self::compressed::{Opened, broken};
use super::digest::Digest;
use super::error::Error;

/// How a file holds its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// It is one.
    Text,
    /// In a field of each line.
    Jsonl { field: String },
    /// In a column.
    Parquet { field: String },
    /// As its name says: text, lines, or a column.
    Dataset { field: String },
    /// Conversations, in lines or a column as its name says.
    Chat { field: String },
}

/// Where in a file the documents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Whole,
    Lines,
    Parquet,
}

impl Container {
    /// By the end of a name; nothing where it says neither.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match ending(Compression::of(path).1).as_str() {
            "txt" | "text" | "md" => Some(Self::Whole),
            "jsonl" | "json" | "ndjson" => Some(Self::Lines),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// What the end of a name says of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A directory.
    Directory,
    /// Parquet files.
    Parquet,
    /// JSON lines, compressed or not.
    Lines,
    /// Anything else.
    Text,
}

/// How a name on the command line is read.
pub fn format_of(name: &Path) -> Named {
    match Container::of(name) {
        _ if name.is_dir() => Named::Directory,
        Some(Container::Parquet) => Named::Parquet,
        Some(Container::Lines) => Named::Lines,
        Some(Container::Whole) | None => Named::Text,
    }
}

impl Format {
    fn container(&self, path: &Path) -> Container {
        match self {
            Self::Text => Container::Whole,
            Self::Jsonl { .. } => Container::Lines,
            Self::Parquet { .. } => Container::Parquet,
            Self::Dataset { .. } => Container::of(path).unwrap_or(Container::Lines),
            Self::Chat { .. } => {
                Container::of(path).filter(|found| *found != Container::Whole).unwrap_or(Container::Lines)
            }
        }
    }

    fn field(&self) -> &str {
        match self {
            Self::Text => "",
            Self::Jsonl { field } | Self::Parquet { field } | Self::Dataset { field } | Self::Chat { field } => field,
        }
    }

    /// Whether documents are conversations.
    pub(super) fn is_chat(&self) -> bool {
        matches!(self, Self::Chat { .. })
    }
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
    /// Bytes of the file that are read so far.
    pub(super) at: &'a Cell<u64>,
}

/// Where pieces go.
type Visit<'v> = &'v mut dyn FnMut(Piece<'_>) -> Result<(), Error>;

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

/// All of a text file, decompressed.
///
/// # Errors
/// It is not there, damaged, or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let (mut bytes, at) = (vec![], Cell::new(0));
    Opened::new(path, &at)?.text().read_to_end(&mut bytes).map_err(|error| broken(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to() as u64;
        Error::Utf8 { path: path.to_owned(), offset }
    })
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::file(path, "could not be read", error)
}

impl Reader<'_> {
    /// Hands every piece to `visit`, holding one chunk (or one line, or some rows) in memory; returns the digest of the file
    /// as it was read.
    pub(super) fn read(&self, visit: Visit<'_>) -> Result<[u8; 16], Error> {
        let container = self.format.container(self.path);
        if container == Container::Parquet {
            self.rows(visit)?;
            return digest(self.path);
        }
        let mut file = Opened::new(self.path, self.at)?;
        match container {
            Container::Whole => self.text(&mut file.text(), visit)?,
            Container::Lines | Container::Parquet => self.lines(&mut file.text(), visit)?,
        }
        file.finish()
    }

    fn text(&self, file: &mut dyn Read, visit: Visit<'_>) -> Result<(), Error> {
        let (mut held, mut offset) = (Vec::new(), 0);
        loop {
            let part = file.take(CHUNK as u64).read_to_end(&mut held);
            let last = part.map_err(|error| broken(self.path, &error))? < CHUNK;
            let end = if last { held.len() } else { self.cut(&held) };
            let text = self.utf8(&held[..end], offset)?;
            let text = if offset == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
            if !text.is_empty() {
                visit(Piece::Text(text))?;
            }
            held.drain(..end);
            offset += end;
            if last {
                return visit(Piece::End);
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

    fn lines(&self, file: &mut dyn Read, visit: Visit<'_>) -> Result<(), Error> {
        let mut file = BufReader::with_capacity(CHUNK, file);
        let (mut line, mut offset) = (Vec::new(), 0);
        for number in 1.. {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(|error| broken(self.path, &error))? == 0 {
                break;
            }
            let text = self.utf8(&line, offset)?;
            offset += line.len();
            if !text.trim().is_empty() {
                self.line(text, number, visit)?;
            }
        }
        Ok(())
    }

    fn wrong(&self, line: usize, reason: String) -> Error {
        Error::Json { path: self.path.to_owned(), line, reason }
    }

    fn line(&self, line: &str, number: usize, visit: Visit<'_>) -> Result<(), Error> {
        let (text, field) = (line.trim_start_matches('\u{feff}'), self.format.field());
        if number == 1 && text.starts_with('[') {
            let reason = "a list begins here; write each of its objects as a line, for instance with `jq -c '.[]'`";
            return Err(self.wrong(number, reason.to_owned()));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| self.wrong(number, error.to_string()))?;
        let Value::Object(object) = &value else {
            let reason = format!("a line is an object like {{\"{field}\": \"…\"}}, got {}", kind(&value));
            return Err(self.wrong(number, reason));
        };
        match object.get(field) {
            Some(value) => self.value(value, number, visit),
            None => Err(self.wrong(number, missing(field, object.keys().map(String::as_str), "the line"))),
        }
    }

    /// A document: a text or a conversation.
    fn value(&self, value: &Value, number: usize, visit: Visit<'_>) -> Result<(), Error> {
        let (field, chat) = (self.format.field(), self.format.is_chat());
        match value {
            Value::Array(messages) if chat => {
                check_messages(messages).map_err(|reason| self.wrong(number, reason))?;
                visit(Piece::Chat(messages, number))?;
                visit(Piece::End)
            }
            Value::String(text) if !chat => self.document(text, visit),
            other => {
                let expected = if chat { "a list of messages" } else { "text" };
                let instead = match other {
                    Value::Array(_) => "; conversations are read with chat(\"…\")",
                    _ => "",
                };
                Err(self.wrong(number, format!("`{field}` is {}, expected {expected}{instead}", kind(other))))
            }
        }
    }

    /// A document in pieces.
    fn document(&self, mut text: &str, visit: Visit<'_>) -> Result<(), Error> {
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

#[cfg(not(feature = "parquet"))]
impl Reader<'_> {
    fn rows(&self, _: Visit<'_>) -> Result<(), Error> {
        let reason = "Parquet needs the feature `parquet`: build with `cargo run --features parquet …`, or write \
                      `features = [\"parquet\"]` at context-recipe in Cargo.toml";
        Err(Error::File { path: self.path.to_owned(), reason: reason.to_owned() })
    }
}

/// What to say where a field is not there.
fn missing<'f>(field: &str, names: impl Iterator<Item = &'f str>, place: &str) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    let has = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    format!("no field `{field}`; {place} has {has}; name another with `field = \"…\"`")
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
