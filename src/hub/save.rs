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
    let tensors: Vec<View<'t>> = tensors.into_iter().collect();
    check_lengths(path, &tensors)?;
    let staged = Staged::beside(path);
    write_file(staged.path(), &tensors, dtype, metadata).map_err(Error::io("write", path))?;
    staged.put(path)
}

/// Every shape is its data's length.
pub(super) fn check_lengths(path: &Path, tensors: &[View<'_>]) -> Result<(), Error> {
    for (name, shape, data) in tensors {
        if shape.iter().product::<usize>() != data.len() {
            return Err(Error::Tensor {
                path: path.to_path_buf(),
                tensor: name.to_string(),
                expected: format!("as many values as {shape:?} has"),
                got: format!("{} values", data.len()),
                advice: "Give the shape that the values have".into(),
            });
        }
    }
    Ok(())
}

/// Writes and syncs a file that nobody reads yet.
pub(super) fn write_file(
    path: &Path,
    tensors: &[View<'_>],
    dtype: Dtype,
    metadata: &[(&str, &str)],
) -> std::io::Result<()> {
    let file = File::create(path)?;
    write_to(BufWriter::new(&file), tensors, dtype, metadata)?;
    file.sync_all()
}

fn write_to(mut out: impl Write, tensors: &[View<'_>], dtype: Dtype, metadata: &[(&str, &str)]) -> std::io::Result<()> {
    let header = header(tensors, dtype, metadata);
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
    out.flush()
}

/// The JSON header, filled up with spaces so that the data begins at a multiple of 8.
fn header(tensors: &[View<'_>], dtype: Dtype, metadata: &[(&str, &str)]) -> String {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        let strings = metadata.iter().map(|(key, value)| (key.to_string(), Value::from(*value)));
        fields.insert("__metadata__".into(), Value::Object(strings.collect()));
    }
    let mut begin = 0;
    for (name, shape, data) in tensors {
        let end = begin + data.len() * dtype.bytes();
        fields.insert(name.to_string(), json!({ "dtype": dtype.tag(), "shape": shape, "data_offsets": [begin, end] }));
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
        write_to(&mut whole, &tensors, Dtype::F32, &[]).unwrap();
        for room in 0..whole.len() {
            let error = write_to(Small(room), &tensors, Dtype::F32, &[]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{room}");
        }
    }
}
