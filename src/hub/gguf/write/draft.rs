//! The bytes of a GGUF file (ggml's `docs/gguf.md`). Nothing here knows what a key means.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use kernels::q8_0::BLOCK;

use super::GgufType;
use crate::hub::weights::View;

const ALIGNMENT: usize = 32;
/// Values encoded at a time, a multiple of every block.
const CHUNK: usize = BLOCK << 13;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meta {
    Count(usize),
    Float(f64),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i32>),
}

/// A file in the making.
#[derive(Debug, Default)]
pub(super) struct Draft<'t> {
    metadata: Vec<(String, Meta)>,
    tensors: Vec<Entry<'t>>,
}

#[derive(Debug)]
struct Entry<'t> {
    name: String,
    shape: Vec<usize>,
    kind: GgufType,
    data: Data<'t>,
}

#[derive(Debug)]
enum Data<'t> {
    Borrowed(&'t [f32]),
    /// Rows of each head are interleaved: row i of the lower half, then row i of the upper half, which is so many rows on.
    Turned(&'t [f32], usize),
    Owned(Vec<f32>),
}

impl<'t> Draft<'t> {
    /// Sets a key.
    pub(super) fn set(&mut self, key: impl Into<String>, value: Meta) {
        let key = key.into();
        self.metadata.retain(|(other, _)| *other != key);
        self.metadata.push((key, value));
    }

    /// Adds a tensor; `half` is half of a head's rows where they are put in llama.cpp's order.
    pub(super) fn push(&mut self, name: String, (_, shape, data): View<'t>, kind: GgufType, half: Option<usize>) {
        let data = match half {
            Some(half) => Data::Turned(data, half),
            None => Data::Borrowed(data),
        };
        self.tensors.push(Entry { name, shape: shape.to_vec(), kind, data });
    }

    /// Adds a list of f32 that stands beside the model's weights.
    pub(super) fn table(&mut self, name: &str, values: Vec<f32>) {
        let shape = vec![values.len()];
        self.tensors.push(Entry { name: name.to_string(), shape, kind: GgufType::F32, data: Data::Owned(values) });
    }

    /// Writes and syncs a file that nobody reads yet.
    pub(super) fn save(&self, path: &Path) -> std::io::Result<()> {
        let file = File::create(path)?;
        self.write(BufWriter::new(&file))?;
        file.sync_all()
    }

    fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        out.write_all(&self.head())?;
        for tensor in &self.tensors {
            let written = tensor.write(&mut out)?;
            out.write_all(&[0; ALIGNMENT][..written.next_multiple_of(ALIGNMENT) - written])?;
        }
        out.flush()
    }

    /// Magic, counts, metadata, descriptions, padding.
    fn head(&self) -> Vec<u8> {
        let mut head = [b"GGUF".as_slice(), &3_u32.to_le_bytes()].concat();
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(key, &mut head);
            value.write(&mut head);
        }
        let mut offset = 0_usize;
        for tensor in &self.tensors {
            string(&tensor.name, &mut head);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|&size| head.extend((size as u64).to_le_bytes()));
            head.extend(tensor.kind.id().to_le_bytes());
            head.extend((offset as u64).to_le_bytes());
            offset += tensor.kind.bytes(tensor.shape.iter().product()).next_multiple_of(ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        head
    }
}

impl Entry<'_> {
    /// Gives the bytes written.
    fn write(&self, out: &mut impl Write) -> std::io::Result<usize> {
        let turned;
        let values = match &self.data {
            Data::Borrowed(values) => values,
            Data::Owned(values) => values.as_slice(),
            Data::Turned(values, half) => {
                turned = interleaved(values, *half, self.shape[1]);
                &turned
            }
        };
        let (mut bytes, mut written) = (Vec::new(), 0);
        for part in values.chunks(CHUNK) {
            bytes.clear();
            self.kind.encode(part, &mut bytes);
            out.write_all(&bytes)?;
            written += bytes.len();
        }
        Ok(written)
    }
}

/// `LlamaModel.permute` of `convert_hf_to_gguf.py`: row s · half + i of a head goes to 2i + s.
fn interleaved(values: &[f32], half: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(2 * half * columns) {
        for row in 0..half {
            for side in [row, row + half] {
                out.extend_from_slice(&head[side * columns..(side + 1) * columns]);
            }
        }
    }
    out
}

impl Meta {
    /// Type number and value.
    fn write(&self, out: &mut Vec<u8>) {
        let list = |kind: u32, count: usize, out: &mut Vec<u8>| {
            out.extend(9_u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::Count(count) => out.extend([4_u32, *count as u32].iter().flat_map(|number| number.to_le_bytes())),
            Self::Float(value) => {
                out.extend(6_u32.to_le_bytes());
                out.extend((*value as f32).to_le_bytes());
            }
            Self::Flag(flag) => {
                out.extend(7_u32.to_le_bytes());
                out.push((*flag).into());
            }
            Self::Text(text) => {
                out.extend(8_u32.to_le_bytes());
                string(text, out);
            }
            Self::Texts(texts) => {
                list(8, texts.len(), out);
                texts.iter().for_each(|text| string(text, out));
            }
            Self::Floats(values) => {
                list(6, values.len(), out);
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Integers(values) => {
                list(5, values.len(), out);
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut draft = Draft::default();
        draft.set("general.architecture", Meta::Text("llama".into()));
        draft.push("a".into(), ("a", &[2, 2], &[0.5; 4]), GgufType::F16, Some(1));
        draft.table("b", vec![1.0; 3]);
        let mut whole = Vec::new();
        draft.write(&mut whole).unwrap();
        assert_eq!(whole.len() % ALIGNMENT, 0);
        for room in 0..whole.len() {
            let error = draft.write(Small(room)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{room}");
        }
    }

    #[test]
    fn a_key_is_set_once() {
        let mut draft = Draft::default();
        draft.set("a", Meta::Flag(false));
        draft.set("a", Meta::Flag(true));
        assert_eq!(draft.metadata, [("a".to_string(), Meta::Flag(true))]);
    }

    #[test]
    fn rows_go_head_by_head() {
        // Two heads of four rows of one column.
        let rows = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(interleaved(&rows, 2, 1), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
