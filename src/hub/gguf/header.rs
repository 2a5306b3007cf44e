//! The head of a GGUF file, versions 2 and 3: metadata and the list of tensors. Nothing here knows what a key means.
//!
//! Layout (ggml's `docs/gguf.md`): magic, version, counts, key–value pairs, tensor descriptions, padding to
//! `general.alignment`, data. All little-endian. Counts are held against the bytes that are left before anything is
//! allocated.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::quant::{Kind, READ};
use crate::hub::error::Error;

/// Most elements in one metadata list; the largest vocabularies have some 300 thousand.
const MAX_LIST: u64 = 1 << 24;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value. Numbers lose their width, nothing else.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    /// An f32 becomes the f64 of its shortest decimal form: 1e-5 stays 1e-5.
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// A tensor as the file describes it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Outermost dimension first, the reverse of the file's order.
    pub(super) shape: Vec<usize>,
    /// From the start of the file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// Metadata and tensors of a file.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: Vec<Described>,
}

impl Head {
    /// Reads the head and checks that every tensor lies inside the file and none inside another.
    pub(super) fn read(path: &Path, file: &File) -> Result<Self, Error> {
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let mut cursor = Cursor { path, from: BufReader::new(file), length, at: 0 };
        cursor.magic()?;
        let (tensor_count, pair_count) = (cursor.u64("the tensor count")?, cursor.u64("the metadata count")?);
        let mut metadata = BTreeMap::new();
        for _ in 0..pair_count {
            let key = cursor.text("a metadata key")?;
            let kind = cursor.u32(&key)?;
            let value = cursor.value(&key, kind)?;
            metadata.insert(key, value);
        }
        let raw = (0..tensor_count).map(|_| cursor.described()).collect::<Result<Vec<_>, _>>()?;
        let alignment = alignment(path, &metadata)?;
        let data = cursor.at.next_multiple_of(alignment);
        Ok(Self { metadata, tensors: placed(path, raw, alignment, data..length)? })
    }
}

/// A tensor's description before its format and place are checked.
struct Raw {
    name: String,
    /// Innermost dimension first.
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

struct Cursor<'a> {
    path: &'a Path,
    from: BufReader<&'a File>,
    length: u64,
    at: u64,
}

impl Cursor<'_> {
    fn magic(&mut self) -> Result<(), Error> {
        let magic = self.bytes("the magic number", 4)?;
        if magic != b"GGUF" {
            return Err(self.damaged("the magic number", "GGUF", format!("{:?}", String::from_utf8_lossy(&magic))));
        }
        match self.u32("the version")? {
            2 | 3 => Ok(()),
            other => Err(Error::Unsupported {
                path: self.path.to_path_buf(),
                what: match other.swap_bytes() {
                    2 | 3 => "GGUF in big-endian order".to_string(),
                    _ => format!("GGUF version {other}"),
                },
                advice: "Convert the model again with a current llama.cpp (versions 2 and 3, little-endian)".into(),
            }),
        }
    }

    fn described(&mut self) -> Result<Raw, Error> {
        let name = self.text("a tensor's name")?;
        let rank = self.u32(&name)?;
        if !(1..=4).contains(&rank) {
            return Err(self.damaged(format!("tensor {name}"), "1 to 4 dimensions", format!("{rank}")));
        }
        let dimensions = (0..rank).map(|_| self.u64(&name)).collect::<Result<_, _>>()?;
        Ok(Raw { dimensions, kind: self.u32(&name)?, offset: self.u64(&name)?, name })
    }

    /// A value of one of the thirteen `gguf_metadata_value_type`s.
    fn value(&mut self, key: &str, kind: u32) -> Result<Value, Error> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>(key)?[0])),
            1 => Value::Signed(i64::from(self.array::<1>(key)?[0] as i8)),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array(key)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array(key)?))),
            4 => Value::Unsigned(u64::from(self.u32(key)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array(key)?))),
            6 => Value::Float(shortest(f32::from_le_bytes(self.array(key)?))),
            7 => Value::Bool(self.array::<1>(key)?[0] != 0),
            8 => Value::Text(self.text(key)?),
            9 => self.list(key)?,
            10 => Value::Unsigned(self.u64(key)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(key)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(key)?)),
            other => return Err(self.damaged(key, "a value type from 0 to 12", format!("{other}"))),
        })
    }

    fn list(&mut self, key: &str) -> Result<Value, Error> {
        let kind = self.u32(key)?;
        if kind == 9 {
            return Err(self.damaged(key, "a list of plain values", "a list of lists".into()));
        }
        let count = self.u64(key)?;
        let most = (self.length - self.at).min(MAX_LIST);
        if count > most {
            return Err(self.damaged(key, format!("a list of at most {most} values"), format!("{count}")));
        }
        Ok(Value::List((0..count).map(|_| self.value(key, kind)).collect::<Result<_, _>>()?))
    }

    fn text(&mut self, what: &str) -> Result<String, Error> {
        let length = self.u64(what)?;
        let bytes = self.bytes(what, length)?;
        String::from_utf8(bytes).map_err(|reason| self.damaged(what, "UTF-8 text", reason.to_string()))
    }

    fn u32(&mut self, what: &str) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        self.room(what, N as u64)?;
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(Error::io("read", self.path))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn bytes(&mut self, what: &str, count: u64) -> Result<Vec<u8>, Error> {
        self.room(what, count)?;
        let mut bytes = vec![0; count as usize];
        self.from.read_exact(&mut bytes).map_err(Error::io("read", self.path))?;
        self.at += count;
        Ok(bytes)
    }

    fn room(&self, what: &str, count: u64) -> Result<(), Error> {
        let left = self.length - self.at;
        if count > left {
            return Err(self.damaged(what, format!("{count} more bytes"), format!("{left} until the end of the file")));
        }
        Ok(())
    }

    fn damaged(&self, what: impl Into<String>, expected: impl Into<String>, got: String) -> Error {
        damaged(self.path, what, expected, got)
    }
}

fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn alignment(path: &Path, metadata: &BTreeMap<String, Value>) -> Result<u64, Error> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(alignment)) if alignment.is_power_of_two() && *alignment <= 1 << 20 => Ok(*alignment),
        Some(other) => Err(damaged(path, "general.alignment", "a power of two", format!("{other:?}"))),
    }
}

/// Checks formats, sizes and places; `data` is the part of the file that holds them.
fn placed(path: &Path, raw: Vec<Raw>, alignment: u64, data: Range<u64>) -> Result<Vec<Described>, Error> {
    refuse_foreign(path, &raw)?;
    refuse_twins(path, &raw)?;
    let mut tensors = Vec::with_capacity(raw.len());
    for Raw { name, dimensions, kind, offset } in raw {
        let Ok(kind) = Kind::of(kind) else { continue };
        let bytes = byte_len(&dimensions, kind).ok_or_else(|| {
            let expected = format!("rows of whole {} blocks of {}", kind.name(), kind.block_len());
            damaged(path, format!("tensor {name}"), expected, format!("dimensions {dimensions:?}"))
        })?;
        if !offset.is_multiple_of(alignment) {
            let expected = format!("its data at a multiple of {alignment} bytes");
            return Err(damaged(path, format!("tensor {name}"), expected, format!("byte {offset} of the data")));
        }
        let end = data.start.checked_add(offset).and_then(|begin| begin.checked_add(bytes));
        if end.is_none_or(|end| end > data.end) {
            let expected = format!("{bytes} bytes at byte {offset} of the data");
            let got = format!("a file of {} bytes whose data begins at {}", data.end, data.start);
            return Err(damaged(path, format!("tensor {name}"), expected, got));
        }
        let shape = dimensions.iter().rev().map(|&size| size as usize).collect();
        tensors.push(Described { name, kind, shape, offset: data.start + offset, bytes });
    }
    refuse_overlap(path, &tensors)?;
    Ok(tensors)
}

/// One error that names every format that is not read, with a tensor of each.
fn refuse_foreign(path: &Path, raw: &[Raw]) -> Result<(), Error> {
    let mut foreign: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for tensor in raw {
        if let Err(name) = Kind::of(tensor.kind) {
            foreign.entry(name).or_default().push(&tensor.name);
        }
    }
    if foreign.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = foreign
        .iter()
        .map(|(format, tensors)| match tensors.len() {
            1 => format!("{format} (tensor {})", tensors[0]),
            count => format!("{format} (tensor {} and {} more)", tensors[0], count - 1),
        })
        .collect();
    Err(Error::Unsupported {
        path: path.to_path_buf(),
        what: format!("tensor format {}", named.join(", ")),
        advice: format!("Use the model in {READ}").into(),
    })
}

fn refuse_twins(path: &Path, raw: &[Raw]) -> Result<(), Error> {
    let mut names = HashSet::new();
    match raw.iter().find(|tensor| !names.insert(&tensor.name)) {
        None => Ok(()),
        Some(twin) => Err(damaged(path, format!("tensor {}", twin.name), "it once", "it twice".into())),
    }
}

fn byte_len(dimensions: &[u64], kind: Kind) -> Option<u64> {
    let row = *dimensions.first()?;
    let values = dimensions.iter().try_fold(1_u64, |product, &size| product.checked_mul(size))?;
    let block = kind.block_len() as u64;
    if row == 0 || !row.is_multiple_of(block) {
        return None;
    }
    (values / block).checked_mul(kind.block_bytes() as u64)
}

fn refuse_overlap(path: &Path, tensors: &[Described]) -> Result<(), Error> {
    let mut order: Vec<&Described> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        let end = pair[0].offset + pair[0].bytes;
        if pair[1].offset < end {
            let expected = format!("its data at byte {end} or later, where {} ends", pair[0].name);
            return Err(damaged(
                path,
                format!("tensor {}", pair[1].name),
                expected,
                format!("byte {}", pair[1].offset),
            ));
        }
    }
    Ok(())
}

fn damaged(path: &Path, what: impl Into<String>, expected: impl Into<String>, got: String) -> Error {
    Error::Damaged {
        path: PathBuf::from(path),
        what: what.into(),
        expected: expected.into(),
        got,
        advice: "Fetch the file again".into(),
    }
}
