//! One safetensors file, read at offsets: the header when it is opened, each tensor's bytes when they are asked for.
//!
//! The file is not mapped: a mapped file that shrinks kills the process. What the header promises is held against the
//! file's length before anything is allocated.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use super::error::Error;
use super::weights::Tensor;

/// The format's own limit on a header's length.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes read at a time, a multiple of every element size.
const CHUNK: usize = 1 << 20;

/// Appends the values of some bytes.
type Decoder = fn(&[u8], &mut Vec<f32>);

/// An open safetensors file.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where the data begins, from the start of the file.
    data: u64,
    /// In the order of their bytes.
    entries: Vec<Entry>,
    metadata: BTreeMap<String, String>,
}

/// A tensor as its header describes it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) info: TensorInfo,
}

impl TensorFile {
    /// Opens a file and checks its header: its length, every dtype, shape and offset.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`], and [`Error::Damaged`] when the header contradicts itself or the file's length.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
        if !metadata.is_file() {
            return Err(damaged(path, "what has this name", "a file", "something else".into()));
        }
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let length = metadata.len();
        let header = read_header(path, &mut file, length)?;
        let data = 8 + header.len() as u64;
        let (entries, metadata) = parse_header(path, &header)?;
        check_offsets(path, &entries, length - data)?;
        Ok(Self { path: path.to_path_buf(), file, data, entries, metadata })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in the order of their bytes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The shape of a tensor, outermost dimension first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.info.shape.as_slice())
    }

    /// The file's `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// A tensor of F32, F16 or BF16, whatever its values.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a name that the file lacks, [`Error::Unsupported`] for another dtype, [`Error::Io`].
    pub fn f32(&self, name: &str) -> Result<Tensor, Error> {
        let entry = self.entry(name)?;
        let mut data = Vec::with_capacity(entry.info.shape.iter().product());
        self.stream(name, &mut |values| {
            data.extend_from_slice(values);
            Ok(())
        })?;
        Ok(Tensor { shape: entry.info.shape.clone(), data })
    }

    /// A tensor of U8: its shape and its bytes.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a name that the file lacks, [`Error::Unsupported`] for another dtype, [`Error::Io`].
    pub fn u8(&self, name: &str) -> Result<(Vec<usize>, Vec<u8>), Error> {
        let TensorInfo { dtype, shape, .. } = &self.entry(name)?.info;
        match dtype {
            Dtype::U8 => Ok((shape.clone(), self.bytes(name)?)),
            other => Err(Error::Unsupported {
                path: self.path.clone(),
                what: format!("dtype {other} of tensor {name}"),
                advice: "A tensor of U8 belongs here".into(),
            }),
        }
    }

    /// A tensor's bytes as they lie in the file, little-endian.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a name that the file lacks, [`Error::Io`].
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (begin, end) = self.entry(name)?.info.data_offsets;
        let mut bytes = vec![0; end - begin];
        self.seek(begin)?;
        (&self.file).read_exact(&mut bytes).map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Hands a tensor's values on in order, as f32, a part at a time.
    pub(super) fn stream(&self, name: &str, visit: &mut dyn FnMut(&[f32]) -> Result<(), Error>) -> Result<(), Error> {
        let info = &self.entry(name)?.info;
        let decode = self.decoder(name, info.dtype)?;
        let (begin, end) = info.data_offsets;
        self.seek(begin)?;
        let mut left = end - begin;
        let mut bytes = vec![0; CHUNK.min(left)];
        let mut values = Vec::new();
        while left > 0 {
            let part = &mut bytes[..CHUNK.min(left)];
            (&self.file).read_exact(part).map_err(Error::io("read", &self.path))?;
            values.clear();
            decode(part, &mut values);
            visit(&values)?;
            left -= part.len();
        }
        Ok(())
    }

    /// How many bytes a tensor takes in the file.
    pub(super) fn byte_len(&self, name: &str) -> Option<usize> {
        let (begin, end) = self.entry(name).ok()?.info.data_offsets;
        Some(end - begin)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| Error::Tensor {
            path: self.path.clone(),
            tensor: name.to_string(),
            expected: "a tensor of that name".into(),
            got: "none".into(),
            advice: "Fetch the file again, or fix the name".into(),
        })
    }

    fn decoder(&self, name: &str, dtype: Dtype) -> Result<Decoder, Error> {
        match dtype {
            Dtype::F32 => Ok(decode_f32),
            Dtype::F16 => Ok(decode_f16),
            Dtype::BF16 => Ok(decode_bf16),
            other => Err(Error::Unsupported {
                path: self.path.clone(),
                what: format!("dtype {other} of tensor {name}"),
                advice: "Use the model in F32, F16 or BF16, in bitsandbytes' NF4, or as a GGUF file".into(),
            }),
        }
    }

    fn seek(&self, offset: usize) -> Result<(), Error> {
        let position = SeekFrom::Start(self.data + offset as u64);
        (&self.file).seek(position).map(drop).map_err(Error::io("read", &self.path))
    }
}

fn decode_f32(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)));
}

fn decode_f16(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks().0.iter().map(|&two| half::f16::from_le_bytes(two).to_f32()));
}

fn decode_bf16(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks().0.iter().map(|&two| half::bf16::from_le_bytes(two).to_f32()));
}

/// The JSON text between the 8 bytes of its length and the data.
fn read_header(path: &Path, file: &mut File, length: u64) -> Result<Vec<u8>, Error> {
    if length < 8 {
        let got = format!("{length} bytes");
        return Err(damaged(path, "the whole file", "8 bytes of header length and more", got));
    }
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(Error::io("read", path))?;
    let size = u64::from_le_bytes(size);
    let room = (length - 8).min(MAX_HEADER);
    if size > room {
        let got = format!("a header of {size} bytes");
        return Err(damaged(path, "the header's length", format!("at most {room} bytes"), got));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(Error::io("read", path))?;
    Ok(header)
}

fn parse_header(path: &Path, header: &[u8]) -> Result<(Vec<Entry>, BTreeMap<String, String>), Error> {
    let mut fields: Map<String, Value> = serde_json::from_slice(header).map_err(Error::json(path))?;
    let metadata = match fields.shift_remove("__metadata__") {
        Some(value) => serde_json::from_value(value).map_err(Error::json(path))?,
        None => BTreeMap::new(),
    };
    let mut entries = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let info = serde_json::from_value(value.clone()).map_err(|reason| {
            let expected = "a known dtype, a shape and two data_offsets";
            damaged(path, format!("the header of tensor {name}"), expected, format!("{value} ({reason})"))
        })?;
        entries.push(Entry { name, info });
    }
    entries.sort_by_key(|entry| entry.info.data_offsets);
    Ok((entries, metadata))
}

/// Every tensor is as long as its shape says, and together they fill the data without a gap, an overlap or a rest.
fn check_offsets(path: &Path, entries: &[Entry], length: u64) -> Result<(), Error> {
    let mut reached = 0;
    for Entry { name, info } in entries {
        let (begin, end) = info.data_offsets;
        let promised = byte_len(info);
        if end.checked_sub(begin).is_none_or(|held| Some(held) != promised) {
            let expected = match promised {
                Some(bytes) => format!("{bytes} bytes for {} {:?}", info.dtype, info.shape),
                None => format!("a shape that fits in memory, not {:?}", info.shape),
            };
            return Err(damaged(path, format!("tensor {name}"), expected, format!("bytes {begin} to {end}")));
        }
        if begin != reached {
            let expected = format!("its data at byte {reached}, where the one before ends");
            return Err(damaged(path, format!("tensor {name}"), expected, format!("byte {begin}")));
        }
        reached = end;
        if reached as u64 > length {
            let expected = format!("its data up to byte {reached}");
            return Err(damaged(path, format!("tensor {name}"), expected, format!("{length} bytes of data in all")));
        }
    }
    if reached as u64 != length {
        let expected = format!("{reached} bytes of data, the sum of all tensors");
        return Err(damaged(path, "the whole file", expected, format!("{length} bytes")));
    }
    Ok(())
}

fn byte_len(info: &TensorInfo) -> Option<usize> {
    let values = info.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    Some(values.checked_mul(info.dtype.bitsize())?.div_ceil(8))
}

fn damaged(path: &Path, what: impl Into<String>, expected: impl Into<String>, got: String) -> Error {
    Error::Damaged {
        path: path.to_path_buf(),
        what: what.into(),
        expected: expected.into(),
        got,
        advice: "Fetch the file again".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header and this many zero bytes of data behind it.
    fn file(header: &str, data: usize) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn fault(header: &str, data: usize) -> String {
        let (_dir, path) = file(header, data);
        TensorFile::open(&path).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_file_opens_in_the_order_of_its_bytes() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
        let (_dir, path) = file(header, 12);
        let tensors = TensorFile::open(&path).unwrap();
        assert_eq!(tensors.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(tensors.shape("b"), Some(&[1, 2][..]));
        assert_eq!(tensors.metadata()["format"], "pt");
        assert_eq!(tensors.f32("a").unwrap().data, [0.0, 0.0]);
        assert!(tensors.f32("c").unwrap_err().to_string().contains("tensor c: expected a tensor of that name"));
    }

    #[test]
    fn a_header_that_lies_is_named() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let cases = [
            (one("F32", "[4]", "[0,16]"), 12, "tensor a: expected its data up to byte 16, got 12 bytes"),
            (one("F32", "[4]", "[0,16]"), 17, "expected 16 bytes of data, the sum of all tensors, got 17 bytes"),
            (one("F32", "[4]", "[0,12]"), 12, "tensor a: expected 16 bytes for F32 [4], got bytes 0 to 12"),
            (one("F32", "[4]", "[16,0]"), 16, "got bytes 16 to 0"),
            (one("F32", "[4]", "[4,20]"), 20, "expected its data at byte 0"),
            (one("F33", "[4]", "[0,16]"), 16, "the header of tensor a"),
            (one("F32", "[4294967296,4294967296,4294967296]", "[0,16]"), 16, "a shape that fits in memory"),
            ("{\"a\":".to_string(), 16, "malformed"),
            ("[]".to_string(), 16, "malformed"),
        ];
        for (header, data, expected) in cases {
            let message = fault(&header, data);
            assert!(message.contains(expected), "{header}: {message}");
            assert!(message.contains("a.safetensors"), "{message}");
        }
    }

    #[test]
    fn a_header_longer_than_its_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        for (bytes, expected) in [
            (u64::MAX.to_le_bytes().to_vec(), "at most 0 bytes"),
            (b"short".to_vec(), "got 5 bytes"),
            (Vec::new(), "got 0 bytes"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let message = TensorFile::open(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_tensor_of_integers_is_bytes_but_no_weights() {
        let (_dir, path) = file(r#"{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#, 16);
        let tensors = TensorFile::open(&path).unwrap();
        assert_eq!(tensors.bytes("a").unwrap(), [0; 16]);
        assert!(tensors.f32("a").unwrap_err().to_string().contains("dtype I64 of tensor a"));
    }
}
