//! Writing one safetensors file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::dtype::Dtype;
use super::error::Error;
use super::staging::Staged;
use super::weights::View;

/// Values converted at a time.
const CHUNK: usize = 1 << 18;

/// Writes tensors into one safetensors file, whole or not at all, in the order in which they come.
///
/// # Errors
/// [`Error::Io`]; what was there before is then unchanged. [`Error::Tensor`] when a shape is not its data's length.
pub fn save<'t>(
    path: &Path,
    tensors: impl IntoIterator<Item = View<'t>>,
    dtype: Dtype,
    metadata: &[(&str, &str)],
) -> Result<(), Error> {
    save_with_bytes(path, tensors, &[], dtype, metadata)
}

/// A name, a shape and as many bytes, borrowed.
pub type Bytes<'a> = (&'a str, &'a [usize], &'a [u8]);

/// As [`save`], with tensors of dtype U8 behind the others.
///
/// # Errors
/// Those of [`save`].
pub fn save_with_bytes<'t>(
    path: &Path,
    tensors: impl IntoIterator<Item = View<'t>>,
    bytes: &[Bytes<'_>],
    dtype: Dtype,
    metadata: &[(&str, &str)],
) -> Result<(), Error> {
    let tensors: Vec<View<'t>> = tensors.into_iter().collect();
    check_lengths(path, &tensors)?;
    bytes.iter().try_for_each(|(name, shape, data)| check_length(path, name, shape, data.len()))?;
    let staged = Staged::beside(path);
    write_parts(staged.path(), (&tensors, bytes), dtype, metadata).map_err(Error::io("write", path))?;
    staged.put(path)
}

/// Every shape is its data's length.
pub(super) fn check_lengths(path: &Path, tensors: &[View<'_>]) -> Result<(), Error> {
    tensors.iter().try_for_each(|(name, shape, data)| check_length(path, name, shape, data.len()))
}

fn check_length(path: &Path, name: &str, shape: &[usize], len: usize) -> Result<(), Error> {
    if shape.iter().product::<usize>() == len {
        return Ok(());
    }
    Err(Error::Tensor {
        path: path.to_path_buf(),
        tensor: name.to_string(),
        expected: format!("as many values as {shape:?} has"),
        got: format!("{len} values"),
        advice: "Give the shape that the values have".into(),
    })
}

/// Writes and syncs a file that nobody reads yet.
pub(super) fn write_file(
    path: &Path,
    tensors: &[View<'_>],
    dtype: Dtype,
    metadata: &[(&str, &str)],
) -> std::io::Result<()> {
    write_parts(path, (tensors, &[]), dtype, metadata)
}

/// Numbers, then bytes.
type Parts<'a> = (&'a [View<'a>], &'a [Bytes<'a>]);

fn write_parts(path: &Path, parts: Parts<'_>, dtype: Dtype, metadata: &[(&str, &str)]) -> std::io::Result<()> {
    let file = File::create(path)?;
    write_to(BufWriter::new(&file), parts, dtype, metadata)?;
    file.sync_all()
}

fn write_to(
    mut out: impl Write,
    (tensors, raw): Parts<'_>,
    dtype: Dtype,
    metadata: &[(&str, &str)],
) -> std::io::Result<()> {
    let header = header((tensors, raw), dtype, metadata);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut bytes = Vec::new();
    for (_, _, data) in tensors {
        for part in data.chunks(CHUNK) {
            bytes.clear();
            dtype.encode(part, &mut bytes);
            out.write_all(&bytes)?;
        }
    }
    raw.iter().try_for_each(|(_, _, data)| out.write_all(data))?;
    out.flush()
}

/// The JSON header, filled up with spaces so that the data begins at a multiple of 8.
fn header((tensors, raw): Parts<'_>, dtype: Dtype, metadata: &[(&str, &str)]) -> String {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        let strings = metadata.iter().map(|(key, value)| (key.to_string(), Value::from(*value)));
        fields.insert("__metadata__".into(), Value::Object(strings.collect()));
    }
    let numbers = tensors.iter().map(|(name, shape, data)| (*name, *shape, dtype.tag(), data.len() * dtype.bytes()));
    let raw = raw.iter().map(|(name, shape, data)| (*name, *shape, "U8", data.len()));
    let mut begin = 0;
    for (name, shape, tag, bytes) in numbers.chain(raw) {
        let end = begin + bytes;
        fields.insert(name.to_string(), json!({ "dtype": tag, "shape": shape, "data_offsets": [begin, end] }));
        begin = end;
    }
    let mut text = Value::Object(fields).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::TensorFile;

    #[test]
    fn a_file_reads_back_with_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let (a, b) = ([1.0, -2.5, f32::NAN], [0.1_f32; 4]);
        let tensors: [View<'_>; 2] = [("b", &[2, 2], &b), ("a", &[3], &a)];
        save(&path, tensors, Dtype::F32, &[("format", "pt")]).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(file.metadata()["format"], "pt");
        assert_eq!(file.f32("b").unwrap().data, b);
        assert!(file.f32("a").unwrap().data[2].is_nan());
        safetensors::SafeTensors::deserialize(&std::fs::read(&path).unwrap()).unwrap();
    }

    #[test]
    fn bytes_stand_behind_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let (tensors, bytes): ([View<'_>; 1], [Bytes<'_>; 2]) =
            ([("a", &[1], &[0.5])], [("b", &[3], &[1, 2, 255]), ("c", &[2, 1], &[7, 8])]);
        save_with_bytes(&path, tensors, &bytes, Dtype::F32, &[]).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!((file.f32("a").unwrap().data, file.u8("b").unwrap()), (vec![0.5], (vec![3], vec![1, 2, 255])));
        assert_eq!(file.u8("c").unwrap(), (vec![2, 1], vec![7, 8]));
        assert!(file.u8("a").unwrap_err().to_string().contains("dtype F32 of tensor a"));
        safetensors::SafeTensors::deserialize(&std::fs::read(&path).unwrap()).unwrap();
        let lies = save_with_bytes(&path, tensors, &[("b", &[4], &[1])], Dtype::F32, &[]).unwrap_err();
        assert!(lies.to_string().contains("tensor b: expected as many values as [4] has"), "{lies}");
    }

    #[test]
    fn a_shape_that_lies_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tensors: [View<'_>; 1] = [("a", &[3], &[0.0])];
        let error = save(&dir.path().join("a"), tensors, Dtype::F32, &[]).unwrap_err().to_string();
        assert!(error.contains("tensor a: expected as many values as [3] has, got 1 values"), "{error}");
    }

    /// Takes so many bytes, then says that the disk is full.
    struct Small(usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_ends_in_its_own_error_wherever_it_comes() {
        let tensors: [View<'_>; 1] = [("a", &[8], &[0.5; 8])];
        let mut whole = Vec::new();
        write_to(&mut whole, (&tensors, &[]), Dtype::F32, &[]).unwrap();
        for room in 0..whole.len() {
            let error = write_to(Small(room), (&tensors, &[]), Dtype::F32, &[]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{room}");
        }
    }
}
