//! Weights that bitsandbytes quantised to NF4 (Dettmers et al. 2023), as transformers saves them.
//!
//! Beside `NAME`, which holds two codes per byte with the first in the high half, stand `NAME.quant_map` (16 values),
//! `NAME.absmax` (a scale per block) and `NAME.quant_state.bitsandbytes__nf4` (JSON: shape, block size, number format).
//! With double quantisation the scales are codes, too: `NAME.nested_quant_map` (256 values), `NAME.nested_absmax`, and
//! an offset in the JSON. A value is quant_map[code] · absmax, rounded to the number format that was quantised.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use recipe_core::HfConfig;
use serde::Deserialize;
use serde_json::Value;

use super::directory::Directory;
use super::error::Error;
use super::tensor_file::TensorFile;
use super::weights::Tensor;

const STATE: &str = ".quant_state.bitsandbytes__";
const PARTS: [&str; 4] = [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"];
const INSTEAD: &str = "Use the model in F32, F16 or BF16, in bitsandbytes' NF4, or as a GGUF file";
const AGAIN: &str = "Fetch the file again, or save the model again with transformers";

/// A weight in 4 bits, whose values are still on disk.
#[derive(Debug)]
pub(super) struct Quantised {
    name: String,
    state: State,
    round: Round,
}

/// What is no tensor of a weight's quantisation.
#[derive(Debug, Deserialize)]
struct State {
    blocksize: usize,
    dtype: String,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

/// To the number format that was quantised.
type Round = fn(f32) -> f32;

/// Refuses a model that is quantised in another way, and takes the setting out: what is read is plain.
pub(super) fn settle(config: &mut HfConfig, path: &Path) -> Result<(), Error> {
    let Some(settings) = config.remove("quantization_config").filter(|value| !value.is_null()) else { return Ok(()) };
    let says = |key: &str| settings[key] == Value::Bool(true);
    // Early files have no quant_method, and the default of bnb_4bit_quant_type is fp4.
    let method = settings["quant_method"].as_str();
    let method = method.or_else(|| (says("load_in_4bit") || says("load_in_8bit")).then_some("bitsandbytes"));
    let kind = settings["bnb_4bit_quant_type"].as_str().unwrap_or("fp4");
    let what = match method {
        Some("bitsandbytes") if says("load_in_8bit") => "bitsandbytes' int8 (load_in_8bit)".to_string(),
        Some("bitsandbytes") if kind == "nf4" => return Ok(()),
        Some("bitsandbytes") => format!("bitsandbytes' {kind} (bnb_4bit_quant_type)"),
        other => format!("quantisation by {:?} (quant_method)", other.unwrap_or("nothing known")),
    };
    Err(Error::Unsupported { path: path.to_path_buf(), what, advice: INSTEAD.into() })
}

/// The weight that a tensor's name says it is a part of.
pub(super) fn owner(name: &str) -> Option<&str> {
    let state = name.split_once(STATE).map(|(weight, _)| weight);
    state.or_else(|| PARTS.iter().find_map(|part| name.strip_suffix(part)))
}

/// Every weight in 4 bits, by name.
pub(super) fn find(files: &Directory) -> Result<BTreeMap<String, Quantised>, Error> {
    let states = files.names().filter_map(|name| Some((name, name.split_once(STATE)?)));
    states.map(|(name, (weight, kind))| Ok((weight.to_string(), Quantised::open(files, name, weight, kind)?))).collect()
}

impl Quantised {
    /// Reads the JSON and checks that every part is there and as long as it says.
    fn open(files: &Directory, state_name: &str, weight: &str, kind: &str) -> Result<Self, Error> {
        let (file, bytes) = bytes(files, state_name)?;
        let refuse =
            |what: String| Err(Error::Unsupported { path: file.path().to_path_buf(), what, advice: INSTEAD.into() });
        if kind != "nf4" {
            return refuse(format!("bitsandbytes' {kind} of tensor {weight}"));
        }
        let state: State = serde_json::from_slice(&bytes).map_err(|reason| {
            let expected = "JSON with blocksize, dtype and shape".to_string();
            wrong(file.path(), state_name, expected, format!("{:?} ({reason})", String::from_utf8_lossy(&bytes)))
        })?;
        let round: Round = match state.dtype.as_str() {
            "float32" => |value| value,
            "float16" => |value| f16::from_f32(value).to_f32(),
            "bfloat16" => |value| bf16::from_f32(value).to_f32(),
            other => return refuse(format!("NF4 of {other} values, in tensor {weight},")),
        };
        let quantised = Self { name: weight.to_string(), state, round };
        quantised.check(files, file.path())?;
        Ok(quantised)
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.state.shape
    }

    /// All values, as bitsandbytes gives them.
    pub(super) fn read(&self, files: &Directory) -> Result<Tensor, Error> {
        let (_, packed) = bytes(files, &self.name)?;
        let (map, scales) = (self.floats(files, ".quant_map")?, self.scales(files)?);
        let length = self.state.shape.iter().product();
        let mut data = Vec::with_capacity(length);
        for (bytes, scale) in packed.chunks(self.state.blocksize / 2).zip(scales) {
            let codes = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
            data.extend(codes.map(|code| (self.round)(map[usize::from(code)] * scale)));
        }
        // An odd number of values leaves half a byte.
        data.truncate(length);
        Ok(Tensor { shape: self.state.shape.clone(), data })
    }

    /// A scale per block.
    fn scales(&self, files: &Directory) -> Result<Vec<f32>, Error> {
        let Some((block, offset)) = self.nested() else { return self.floats(files, ".absmax") };
        let (_, codes) = bytes(files, &self.part(".absmax"))?;
        let (map, outer) = (self.floats(files, ".nested_quant_map")?, self.floats(files, ".nested_absmax")?);
        let scaled =
            codes.chunks(block).zip(outer).flat_map(|(codes, outer)| codes.iter().map(move |code| (*code, outer)));
        Ok(scaled.map(|(code, outer)| map[usize::from(code)] * outer + offset).collect())
    }

    /// Double quantisation's block size and offset.
    fn nested(&self) -> Option<(usize, f32)> {
        Some((self.state.nested_blocksize?, self.state.nested_offset.unwrap_or(0.0)))
    }

    fn check(&self, files: &Directory, path: &Path) -> Result<(), Error> {
        let State { blocksize, shape, .. } = &self.state;
        let length =
            shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)).filter(|length| *length > 0);
        let sizes = [Some(*blocksize), self.nested().map(|(block, _)| block)];
        let sound = |size: &usize| *size > 0 && size.is_multiple_of(2);
        let (Some(length), true) = (length, sizes.iter().flatten().all(sound)) else {
            let got = format!("{shape:?} in blocks of {:?}", sizes.into_iter().flatten().collect::<Vec<_>>());
            return Err(wrong(path, &self.part(&format!("{STATE}nf4")), "a shape and even block sizes".into(), got));
        };
        let blocks = length.div_ceil(*blocksize);
        self.expect(files, "", length.div_ceil(2))?;
        self.expect(files, ".quant_map", 16 * 4)?;
        match self.nested() {
            None => self.expect(files, ".absmax", blocks * 4),
            Some((block, _)) => {
                self.expect(files, ".absmax", blocks)?;
                self.expect(files, ".nested_quant_map", 256 * 4)?;
                self.expect(files, ".nested_absmax", blocks.div_ceil(block) * 4)
            }
        }
    }

    /// A part is there and has so many bytes. The packed codes may be stored as any number format, so only bytes count.
    fn expect(&self, files: &Directory, part: &str, length: usize) -> Result<(), Error> {
        let name = self.part(part);
        let file = holder(files, &name)?;
        let held = file.byte_len(&name);
        match held == Some(length) {
            true => Ok(()),
            false => {
                let expected = format!("{length} bytes for {:?} in NF4", self.state.shape);
                Err(wrong(file.path(), &name, expected, format!("{} bytes", held.unwrap_or(0))))
            }
        }
    }

    /// A part that is a list of f32.
    fn floats(&self, files: &Directory, part: &str) -> Result<Vec<f32>, Error> {
        let name = self.part(part);
        Ok(holder(files, &name)?.f32(&name)?.data)
    }

    fn part(&self, part: &str) -> String {
        format!("{}{part}", self.name)
    }
}

fn bytes<'a>(files: &'a Directory, name: &str) -> Result<(&'a TensorFile, Vec<u8>), Error> {
    let file = holder(files, name)?;
    Ok((file, file.bytes(name)?))
}

fn holder<'a>(files: &'a Directory, name: &str) -> Result<&'a TensorFile, Error> {
    files
        .holder(name)
        .ok_or_else(|| wrong(files.path(), name, "it beside the other parts of this weight".into(), "none".into()))
}

fn wrong(path: &Path, tensor: &str, expected: String, got: String) -> Error {
    Error::Tensor { path: path.to_path_buf(), tensor: tensor.to_string(), expected, got, advice: AGAIN.into() }
}
