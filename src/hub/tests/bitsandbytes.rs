//! Checkpoints in bitsandbytes' 4 bits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::{configured, refusal, says, tiny};
use crate::hub::{Checkpoint, Header, Options, TensorFile, write};

const GATE: &str = "model.layers.0.mlp.gate_proj.weight";
const STATE: &str = "quant_state.bitsandbytes__nf4";

fn nf4() -> PathBuf {
    tiny().with_file_name("tiny_nf4")
}

/// Number format, shape and bytes by name.
type Parts = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A copy whose tensors a test has changed.
fn changed(change: impl FnOnce(&mut Parts)) -> TempDir {
    let bytes = fs::read(nf4().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let copy = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut parts: Parts = file.tensors().into_iter().map(|(name, view)| (name, copy(view))).collect();
    change(&mut parts);
    let dir = tempfile::tempdir().unwrap();
    fs::copy(nf4().join("config.json"), dir.path().join("config.json")).unwrap();
    write_parts(&dir.path().join("model.safetensors"), &parts);
    dir
}

fn write_parts(path: &Path, parts: &Parts) {
    let views = parts
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn state(parts: &mut Parts, text: &str) {
    parts.insert(format!("{GATE}.{STATE}"), (Dtype::U8, vec![text.len()], text.as_bytes().to_vec()));
}

#[test]
fn weights_are_what_bitsandbytes_makes_of_them() {
    let read = Checkpoint::open(&nf4()).unwrap();
    let expected = TensorFile::open(&tiny().with_file_name("tiny_nf4_dequantized.safetensors")).unwrap();
    for name in expected.names() {
        assert_eq!(read.weights.get(name), Some(&expected.f32(name).unwrap()), "{name}");
    }
    assert_eq!(expected.names().count(), 2);
    let header = Header::open(&nf4()).unwrap();
    assert_eq!(header.tensors.len(), 12);
    assert_eq!(header.tensors.iter().filter(|tensor| tensor.dtype == "NF4").count(), 7);
}

/// The file of the quantiser's own tests, with one level of scales and with two, as a weight of a checkpoint.
#[test]
fn one_level_of_scales_and_two() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/tests/fixtures/nf4.safetensors");
    let file = TensorFile::open(&path).unwrap();
    let nested =
        |offset: f32| format!(r#", "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": {offset}"#);
    let cases = [
        ("packed", "dequantized", vec![(".absmax", "absmax")], String::new()),
        (
            "double.packed",
            "double.dequantized",
            vec![
                (".absmax", "double.absmax_u8"),
                (".nested_absmax", "double.state2_absmax"),
                (".nested_quant_map", "double.state2_code"),
            ],
            nested(file.f32("double.offset").unwrap().data[0]),
        ),
    ];
    for (packed, expected, scales, more) in cases {
        let dir = changed(|parts| {
            parts.retain(|name, _| !name.starts_with(&format!("{GATE}.")));
            for (part, name) in [("", packed), (".quant_map", "code")].into_iter().chain(scales) {
                let bytes = file.bytes(name).unwrap();
                let (dtype, width) = if matches!(part, "" | ".absmax") && !(part == ".absmax" && packed == "packed") {
                    (Dtype::U8, 1)
                } else {
                    (Dtype::F32, 4)
                };
                parts.insert(format!("{GATE}{part}"), (dtype, vec![bytes.len() / width], bytes));
            }
            state(
                parts,
                &format!(r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [8, 128]{more}}}"#),
            );
        });
        // The model has another shape there, so its parts are read alone.
        let found = super::super::directory::Directory::open(dir.path()).unwrap().tensor(dir.path(), GATE).unwrap();
        assert_eq!(found, file.f32(expected).unwrap(), "{packed}");
    }
}

/// Shards are cut by tensor, so that one weight's parts may lie in two files.
#[test]
fn parts_in_two_shards() {
    let dir = changed(|_| ());
    let bytes = fs::read(dir.path().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut shards = [Parts::new(), Parts::new()];
    let mut index = serde_json::Map::new();
    for (place, (name, view)) in file.tensors().into_iter().enumerate() {
        index.insert(name.clone(), format!("{}.safetensors", place % 2).into());
        shards[place % 2].insert(name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    }
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    for (place, parts) in shards.iter().enumerate() {
        write_parts(&dir.path().join(format!("{place}.safetensors")), parts);
    }
    let index = serde_json::json!({ "weight_map": index });
    fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_eq!(Checkpoint::open(dir.path()).unwrap().weights, Checkpoint::open(&nf4()).unwrap().weights);
}

#[test]
fn a_checkpoint_that_is_read_is_written_plain() {
    let read = Checkpoint::open(&nf4()).unwrap();
    assert!(read.config.get("quantization_config").is_none());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&out, &read.config, read.weights.views(), &Options::default()).unwrap();
    assert_eq!(Checkpoint::open(&out).unwrap().weights, read.weights, "NF4 of bfloat16 values");
}

#[test]
fn other_quantisations_are_named() {
    let cases = [
        ("\"bnb_4bit_quant_type\": \"nf4\"", "\"bnb_4bit_quant_type\": \"fp4\"", "bitsandbytes' fp4"),
        ("\"bnb_4bit_quant_type\": \"nf4\",", "", "bitsandbytes' fp4"),
        (
            "\"load_in_8bit\": false,\n    \"quant_method\"",
            "\"load_in_8bit\": true,\n    \"quant_method\"",
            "bitsandbytes' int8",
        ),
        ("\"quant_method\": \"bitsandbytes\"", "\"quant_method\": \"gptq\"", "quantisation by \"gptq\" (quant_method)"),
    ];
    for (old, new, expected) in cases {
        let dir = changed(|_| ());
        configured(&dir, old, new);
        says(&refusal(&dir), &["config.json", expected, "is not supported", "bitsandbytes' NF4, or as a GGUF file"]);
    }
    let fp4 = changed(|parts| {
        let blob = parts.remove(&format!("{GATE}.{STATE}")).unwrap();
        parts.insert(format!("{GATE}.quant_state.bitsandbytes__fp4"), blob);
    });
    says(&refusal(&fp4), &["model.safetensors", &format!("bitsandbytes' fp4 of tensor {GATE}")]);
}

#[test]
fn parts_that_contradict_each_other() {
    let whole =
        |text: &str| format!(r#"{{"quant_type": "nf4", {text}, "nested_blocksize": 256, "nested_offset": 0.05}}"#);
    let blobs = [
        ("{\"blocksize\": ".to_string(), "JSON with blocksize, dtype and shape"),
        (whole(r#""blocksize": 0, "dtype": "bfloat16", "shape": [272, 64]"#), "a shape and even block sizes"),
        (whole(r#""blocksize": 64, "dtype": "bfloat16", "shape": [4294967296, 4294967296, 4]"#), "a shape and even"),
        (whole(r#""blocksize": 64, "dtype": "int8", "shape": [272, 64]"#), "NF4 of int8 values"),
        (
            whole(r#""blocksize": 64, "dtype": "bfloat16", "shape": [271, 64]"#),
            "expected 8672 bytes for [271, 64] in NF4, got 8704 bytes",
        ),
        (
            whole(r#""blocksize": 64, "dtype": "bfloat16", "shape": [64, 272]"#),
            "expected shape [272, 64], as config.json says, got [64, 272]",
        ),
    ];
    for (blob, expected) in blobs {
        says(&refusal(&changed(|parts| state(parts, &blob))), &["model.safetensors", GATE, expected]);
    }
    for part in ["absmax", "quant_map", "nested_absmax", "nested_quant_map"] {
        let name = format!("{GATE}.{part}");
        let short = changed(|parts| {
            let (dtype, shape, bytes) = parts.get_mut(&name).unwrap();
            bytes.truncate(bytes.len() - if *dtype == Dtype::U8 { 1 } else { 4 });
            shape[0] -= 1;
        });
        says(&refusal(&short), &[&format!("tensor {name}: expected"), "Fetch the file again"]);
        let absent = changed(|parts| drop(parts.remove(&name)));
        says(&refusal(&absent), &[&format!("tensor {name}: expected it beside the other parts")]);
    }
    let lost = changed(|parts| drop(parts.remove(GATE)));
    says(&refusal(&lost), &[&format!("tensor {GATE}: expected it beside the other parts of this weight, got none")]);
    let stateless = changed(|parts| drop(parts.remove(&format!("{GATE}.{STATE}"))));
    says(
        &refusal(&stateless),
        &[&format!("tensor {GATE}.absmax: expected no such tensor"), "quantised in a way that is not read"],
    );
}
