//! Writing GGUF, version 3, as llama.cpp's own converter lays it out.
//!
//! Linear weights take the asked number format; norms and biases stay F32, as llama.cpp wants them. Rows of q and k are put
//! in llama.cpp's order for the architecture `llama`, which rotates neighbours; Qwen's stay.

mod draft;
mod keys;
mod vocabulary;

use std::fs;
use std::path::Path;

use kernels::q8_0::{self, BLOCK};
use recipe_core::{HfConfig, Llama, RopePlan};

use self::draft::Meta;
use self::keys::Architecture;
use super::names::to_gguf;
use crate::hub::dtype::Dtype;
use crate::hub::error::Error;
use crate::hub::export::{Rounding, compare};
use crate::hub::read::Header;
use crate::hub::staging::{Staged, parent};
use crate::hub::tokenizer::{Special, Tokenizer};
use crate::hub::weights::View;
use crate::hub::write::{check_values, ordered};

/// The number format of a GGUF file's linear weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufType {
    /// As in memory.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of f32.
    Bf16,
    /// Blocks of 32 values of 8 bits each with a common step; F16 where rows are no multiple of 32.
    Q8_0,
}

/// How a GGUF file is written.
#[derive(Clone, Copy, Debug)]
pub struct GgufOptions<'a> {
    /// The number format of linear weights.
    pub kind: GgufType,
    /// `general.name`.
    pub name: &'a str,
    /// The tokenizer whose vocabulary goes into the file.
    pub tokenizer: Option<&'a Tokenizer>,
}

/// Writes a model as one GGUF file, whole or not at all, and reads it back before it takes its place. Gives what the file
/// cannot say of the model, a sentence each.
///
/// # Errors
/// [`Error::Config`] for a configuration that describes no model of this crate; [`Error::Tensor`] for a tensor that it does
/// not describe, or with values that the format cannot hold; [`Error::Io`].
pub fn write_gguf<'t>(
    path: &Path,
    config: &HfConfig,
    tensors: impl IntoIterator<Item = View<'t>>,
    options: &GgufOptions<'_>,
) -> Result<Vec<String>, Error> {
    let model = config.llama().map_err(|source| Error::Config { path: path.to_path_buf(), source })?;
    let tensors = ordered(path, &model, tensors)?;
    check_values(path, &tensors, options.kind.narrowest())?;
    let mut notes = Vec::new();
    let mut draft = keys::draft(&model, options, &mut notes);
    let written = match options.tokenizer {
        Some(tokenizer) => vocabulary::add(&mut draft, tokenizer, model.vocab, &mut notes)?,
        None => false,
    };
    if !written {
        draft.set("tokenizer.ggml.model", Meta::Text("none".into()));
        notes.push("The file has no vocabulary: programs have to be given token ids, and most want text.".into());
    }
    for &view in &tensors {
        draft.push(to_gguf(view.0), view, options.kind.of(view), turned(view.0, &model));
    }
    fs::create_dir_all(parent(path)).map_err(Error::io("create", parent(path)))?;
    let staged = Staged::beside(path);
    draft.save(staged.path()).map_err(Error::io("write", path))?;
    let header = Header::open(staged.path())?;
    read_back(&header, &model, &tensors, options.kind)?;
    if let (Some(ours), true) = (options.tokenizer, written) {
        notes.extend(same_ids(ours, &header)?);
    }
    staged.put(path)?;
    Ok(notes)
}

/// Half of a head's rows, where llama.cpp wants them in another order.
fn turned(name: &str, model: &Llama) -> Option<usize> {
    let turned = name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight");
    (turned && Architecture::of(model) == Architecture::Llama).then_some(model.head_dim / 2)
}

/// Tensors, shape and rotary law, as this crate reads them.
fn read_back(header: &Header, model: &Llama, tensors: &[View<'_>], kind: GgufType) -> Result<(), Error> {
    let path = &header.source.path;
    Error::all(path, header.mismatches())?;
    for &view in tensors {
        compare(path, view, &header.plain(view.0)?.data, kind.of(view).rounding())?;
    }
    let (expected, _) = keys::expressed(model);
    let read = RopePlan::native(&header.model);
    if !same_law(&expected, &read, model.context) {
        return Err(Error::Damaged {
            path: path.clone(),
            what: "the rotary law".into(),
            expected: format!("{expected:?}"),
            got: format!("{read:?}"),
            advice: "This is a mistake of the program; export as `--format hf` and convert that".into(),
        });
    }
    Ok(())
}

/// To the precision of the file's f32, at the native and at the extended length.
fn same_law(a: &RopePlan, b: &RopePlan, context: usize) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs();
    let at = |length: usize| {
        let (a, b) = (a.inv_freq(length), b.inv_freq(length));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| close(*a, *b))
    };
    close(a.attention_factor(), b.attention_factor()) && at(1) && at(context)
}

/// Text of several kinds, so that a vocabulary that was taken over wrongly shows.
const PROBE: &str = "The quick brown fox (aged 1234567) doesn't  jump:\n\tover 3.14 naïve Züge — 你好, мир! <s> \u{1F999} x=f(y);\r\n\n  End";

/// A note where the vocabulary in the file cuts a text otherwise than the tokenizer that it was made of.
fn same_ids(ours: &Tokenizer, header: &Header) -> Result<Option<String>, Error> {
    let theirs = header.tokenizer()?;
    let (a, b) = (ours.encode(PROBE, Special::Add)?, theirs.encode(PROBE, Special::Add)?);
    Ok((a != b)
        .then(|| "The vocabulary in the file cuts some texts into other tokens than tokenizer.json does.".into()))
}

impl GgufType {
    /// Its name, as llama.cpp's users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// `ggml_type`.
    fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
            Self::Bf16 => 30,
        }
    }

    /// `llama_ftype`, what most tensors are.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }

    /// What a tensor takes in a file of this kind.
    fn of(self, (_, shape, _): View<'_>) -> Self {
        match (self, shape) {
            (Self::Q8_0, [_, columns]) if !columns.is_multiple_of(BLOCK) => Self::F16,
            (kind, [_, _]) => kind,
            _ => Self::F32,
        }
    }

    fn rounding(self) -> Rounding {
        match self {
            Self::F32 => Rounding::Nearest(Dtype::F32),
            Self::F16 => Rounding::Nearest(Dtype::F16),
            Self::Bf16 => Rounding::Nearest(Dtype::BF16),
            Self::Q8_0 => Rounding::Block,
        }
    }

    /// What every value has to fit.
    fn narrowest(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 | Self::Q8_0 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// Bytes of so many values.
    fn bytes(self, values: usize) -> usize {
        match self {
            Self::F32 => values * 4,
            Self::F16 | Self::Bf16 => values * 2,
            Self::Q8_0 => q8_0::bytes_of(values),
        }
    }

    fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => Dtype::F32.encode(values, out),
            Self::F16 => Dtype::F16.encode(values, out),
            Self::Bf16 => Dtype::BF16.encode(values, out),
            Self::Q8_0 => {
                let start = out.len();
                out.resize(start + q8_0::bytes_of(values.len()), 0);
                q8_0::pack(values, &mut out[start..]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
