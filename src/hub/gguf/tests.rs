//! Files that the tests themselves write, byte by byte.

mod vocabulary;
mod weights;

use std::path::PathBuf;

use tempfile::TempDir;

use crate::hub::{Checkpoint, Header, Tokenizer};

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q4_1: u32 = 3;
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;
const BF16: u32 = 30;

/// A metadata value as bytes, with its type number.
#[derive(Clone)]
struct Meta(u32, Vec<u8>);

fn text(value: &str) -> Meta {
    Meta(8, string(value))
}

fn number(value: u32) -> Meta {
    Meta(4, value.to_le_bytes().to_vec())
}

fn float(value: f32) -> Meta {
    Meta(6, value.to_le_bytes().to_vec())
}

fn flag(value: bool) -> Meta {
    Meta(7, vec![value.into()])
}

fn list(values: &[Meta]) -> Meta {
    let mut bytes = values[0].0.to_le_bytes().to_vec();
    bytes.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(&value.1));
    Meta(9, bytes)
}

fn texts(values: &[&str]) -> Meta {
    list(&values.iter().map(|value| text(value)).collect::<Vec<_>>())
}

fn string(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

/// A file in the making.
#[derive(Clone)]
struct Draft {
    version: u32,
    metadata: Vec<(String, Meta)>,
    /// Name, dimensions innermost first, type, bytes.
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl Draft {
    /// One layer, hidden 32, 2 heads of 16, 1 key head, ffn 32, vocabulary 4, tied; all zeros.
    fn new() -> Self {
        let keys = [("block_count", 1), ("context_length", 64), ("embedding_length", 32), ("feed_forward_length", 32)];
        let mut draft = Self { version: 3, metadata: Vec::new(), tensors: Vec::new() };
        draft.set("general.architecture", text("llama"));
        keys.iter().for_each(|(key, value)| draft.set(&format!("llama.{key}"), number(*value)));
        draft.set("llama.attention.head_count", number(2));
        draft.set("llama.attention.head_count_kv", number(1));
        draft.set("llama.attention.layer_norm_rms_epsilon", float(1e-5));
        draft.set("llama.rope.freq_base", float(500_000.0));
        draft.put("token_embd.weight", &[32, 4], F32, floats(&[0.0; 128]));
        draft.put("output_norm.weight", &[32], F32, floats(&[1.0; 32]));
        for name in ["attn_norm", "ffn_norm"] {
            draft.put(&format!("blk.0.{name}.weight"), &[32], F32, floats(&[1.0; 32]));
        }
        for name in ["attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            draft.put(&format!("blk.0.{name}.weight"), &[32, 32], F32, floats(&[0.0; 1024]));
        }
        for name in ["attn_k", "attn_v"] {
            draft.put(&format!("blk.0.{name}.weight"), &[32, 16], F32, floats(&[0.0; 512]));
        }
        draft
    }

    fn set(&mut self, key: &str, value: Meta) {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.push((key.to_string(), value));
    }

    fn put(&mut self, name: &str, dimensions: &[u64], kind: u32, bytes: Vec<u8>) {
        self.tensors.retain(|(other, ..)| other != name);
        self.tensors.push((name.to_string(), dimensions.to_vec(), kind, bytes));
    }

    fn with(mut self, key: &str, value: Meta) -> Self {
        self.set(key, value);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = [b"GGUF".as_slice(), &self.version.to_le_bytes()].concat();
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, Meta(kind, value)) in &self.metadata {
            head.extend([string(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
        }
        let mut data = Vec::new();
        for (name, dimensions, kind, bytes) in &self.tensors {
            head.extend([string(name), (dimensions.len() as u32).to_le_bytes().to_vec()].concat());
            dimensions.iter().for_each(|size| head.extend(size.to_le_bytes()));
            head.extend([kind.to_le_bytes().to_vec(), (data.len() as u64).to_le_bytes().to_vec()].concat());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        head.resize(head.len().next_multiple_of(32), 0);
        [head, data].concat()
    }

    fn save(&self) -> (TempDir, PathBuf) {
        saved(&self.bytes())
    }

    fn open(&self) -> Checkpoint {
        let (_dir, path) = self.save();
        Checkpoint::open(&path).unwrap()
    }

    fn refusal(&self) -> String {
        let (_dir, path) = self.save();
        Checkpoint::open(&path).unwrap_err().to_string()
    }

    fn tokenizer(&self) -> Tokenizer {
        let (_dir, path) = self.save();
        Header::open(&path).unwrap().tokenizer.unwrap()
    }
}

fn saved(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
