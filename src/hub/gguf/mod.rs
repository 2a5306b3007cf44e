//! GGUF files (llama.cpp's format), read as if they were Hugging Face checkpoints: names, shapes, order of rows; and written.

mod config;
mod header;
mod k_quants;
mod keys;
mod names;
mod quant;
mod vocabulary;
mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use recipe_core::{HfConfig, Llama};

use self::header::{Described, Head};
use self::keys::Keys;
pub use self::write::{GgufOptions, GgufType, write_gguf};
use super::error::Error;
use super::layout::{EMBEDDING, HEAD};
use super::listed::Listed;
use super::tokenizer::Tokenizer;
use super::weights::Tensor;

/// Bytes read at a time, about.
const CHUNK: usize = 1 << 20;
/// Llama 3's rope factors, which Hugging Face keeps in the configuration.
const FACTORS: &str = "rope_freqs.weight";
/// LongRoPE's, beyond the original window and up to it.
const LONG_FACTORS: &str = "rope_factors_long.weight";
const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// The tables of rotary factors in a file.
#[derive(Debug, Default)]
struct Factors {
    llama3: Option<Vec<f32>>,
    long: Option<Vec<f32>>,
    short: Option<Vec<f32>>,
}

/// An open GGUF file.
#[derive(Debug)]
pub(super) struct Gguf {
    path: PathBuf,
    file: File,
    head: Head,
}

impl Gguf {
    /// Opens a file and checks its head against its length.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let head = Head::read(path, &file)?;
        Ok(Self { path: path.to_path_buf(), file, head })
    }

    /// The configuration that the metadata describe; the embedding is tied when the file has no `output.weight`.
    pub(super) fn config(&self) -> Result<HfConfig, Error> {
        let embedding = self.find(EMBEDDING).ok_or_else(|| {
            self.keys().wrong("tensor token_embd.weight", "an embedding [vocab_size, hidden_size]", "nothing")
        })?;
        let table = |name: &str| {
            let tensor = self.head.tensors.iter().find(|tensor| tensor.name == name);
            tensor.map(|tensor| self.values(tensor)).transpose()
        };
        let factors = Factors { llama3: table(FACTORS)?, long: table(LONG_FACTORS)?, short: table(SHORT_FACTORS)? };
        let tied = self.find(HEAD).is_none();
        config::config(self.keys(), tied, embedding.shape.first().copied().unwrap_or(0), &factors)
    }

    /// The tokenizer in the metadata; none when there is no vocabulary.
    pub(super) fn tokenizer(&self) -> Result<Option<Tokenizer>, Error> {
        vocabulary::tokenizer(self.keys())
    }

    /// All tensors under Hugging Face's names.
    pub(super) fn listed(&self) -> Vec<Listed> {
        let tables = [FACTORS, LONG_FACTORS, SHORT_FACTORS];
        let weights = self.head.tensors.iter().filter(|tensor| !tables.contains(&tensor.name.as_str()));
        weights
            .map(|tensor| Listed {
                name: names::to_hf(&tensor.name),
                shape: tensor.shape.clone(),
                dtype: tensor.kind.name().to_string(),
                file: self.path.clone(),
            })
            .collect()
    }

    /// A tensor by its Hugging Face name, with rows in Hugging Face's order.
    pub(super) fn tensor(&self, name: &str, model: &Llama) -> Result<Tensor, Error> {
        let tensor = self.find(name).ok_or_else(|| self.keys().wrong(name, "a tensor", "nothing"))?;
        let mut data = self.values(tensor)?;
        let columns = tensor.shape.get(1).copied().unwrap_or(1);
        // Qwen's are rotated as Hugging Face does, and stored as they are.
        let turned = name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight");
        if turned && !model.qkv_bias && !model.qk_norm {
            unpermute(&mut data, model.head_dim, columns);
        }
        Ok(Tensor { shape: tensor.shape.clone(), data })
    }

    fn keys(&self) -> Keys<'_> {
        Keys { path: &self.path, head: &self.head }
    }

    fn find(&self, name: &str) -> Option<&Described> {
        self.head.tensors.iter().find(|tensor| names::to_hf(&tensor.name) == name)
    }

    fn values(&self, tensor: &Described) -> Result<Vec<f32>, Error> {
        let Described { kind, offset, bytes, .. } = *tensor;
        (&self.file).seek(SeekFrom::Start(offset)).map_err(Error::io("read", &self.path))?;
        let mut left = bytes as usize;
        let mut out = Vec::with_capacity(left / kind.block_bytes() * kind.block_len());
        let mut buffer = vec![0; left.min(CHUNK / kind.block_bytes() * kind.block_bytes())];
        while left > 0 {
            let size = buffer.len().min(left);
            let part = &mut buffer[..size];
            (&self.file).read_exact(part).map_err(Error::io("read", &self.path))?;
            kind.decode(part, &mut out);
            left -= part.len();
        }
        Ok(out)
    }
}

/// Undoes `LlamaModel.permute` of `convert_hf_to_gguf.py`, head by head: llama.cpp rotates neighbours, Hugging Face
/// rotates row i of a head with row i + head_dim/2, so the file's row 2i + s is Hugging Face's row s · head_dim/2 +
/// i.
fn unpermute(data: &mut [f32], head_dim: usize, columns: usize) {
    let half = head_dim / 2;
    let mut head = vec![0.0; head_dim * columns];
    for rows in data.chunks_exact_mut(head_dim * columns) {
        head.copy_from_slice(rows);
        for (row, values) in head.chunks_exact(columns).enumerate() {
            let target = (row % 2 * half + row / 2) * columns;
            rows[target..target + columns].copy_from_slice(values);
        }
    }
}
