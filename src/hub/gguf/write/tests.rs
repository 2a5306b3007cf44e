//! What is written is read again; the bytes that this crate's reader cannot judge are counted by hand.

use std::path::PathBuf;

use recipe_core::{Scaling, presets};
use serde_json::json;

use super::*;
use crate::hub::{Checkpoint, Tensor, Weights, layout};

/// Two layers, heads of 8, columns of 32 where they are inputs of the model's width.
fn shape() -> Llama {
    Llama {
        layers: 2,
        hidden: 32,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        ffn: 48,
        vocab: 300,
        context: 512,
        rope_theta: 1e4,
        norm_eps: 1e-5,
        ..presets::named("tiny").unwrap()
    }
}

fn weights(model: &Llama) -> Weights {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let tensor = |shape: Vec<usize>, next: &mut dyn FnMut() -> f32| {
        let data = (0..shape.iter().product()).map(|_| next()).collect();
        Tensor { shape, data }
    };
    layout(model).into_iter().map(|(name, shape)| (name, tensor(shape, &mut next))).collect()
}

fn written(model: &Llama, kind: GgufType, tokenizer: Option<&Tokenizer>) -> (tempfile::TempDir, PathBuf, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new").join("a.gguf");
    let options = GgufOptions { kind, name: "Test", tokenizer };
    let notes = write_gguf(&path, &HfConfig::of(model), weights(model).views(), &options).unwrap();
    (dir, path, notes)
}

#[test]
fn every_family_and_format_reads_back() {
    let llama = shape();
    let families = [
        llama.clone(),
        Llama { tied: !llama.tied, ..llama.clone() },
        Llama { qkv_bias: true, ..llama.clone() },
        Llama { qk_norm: true, ..llama.clone() },
    ];
    for model in families {
        for kind in [GgufType::F32, GgufType::F16, GgufType::Bf16, GgufType::Q8_0] {
            let (_dir, path, _) = written(&model, kind, None);
            let read = Checkpoint::open(&path).unwrap();
            assert_eq!(read.model, model, "{kind:?}");
            for (name, tensor) in weights(&model).iter() {
                let got = read.weights.get(name).unwrap();
                assert_eq!(got.shape, tensor.shape);
                let step = match kind {
                    _ if tensor.shape.len() == 1 => 0.0,
                    GgufType::F32 => 0.0,
                    GgufType::F16 => 2f32.powi(-12),
                    GgufType::Bf16 => 2f32.powi(-9),
                    GgufType::Q8_0 => 0.5 / 127.0,
                };
                let worst = got.data.iter().zip(&tensor.data).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(worst <= step, "{name} {kind:?}: {worst}");
            }
        }
    }
}

fn scaled(scaling: Scaling) -> Llama {
    Llama { rope_scaling: scaling, ..shape() }
}

fn yarn((beta_fast, beta_slow): (f64, f64), truncate: bool) -> Scaling {
    Scaling::Yarn { factor: 8.0, original: 64, beta_fast, beta_slow, attention_factor: 1.3, truncate }
}

fn longrope() -> Scaling {
    let (short, long) = (vec![1.0, 1.0, 1.1, 1.2].into(), vec![1.0, 2.0, 5.5, 8.0].into());
    Scaling::LongRope { short, long, factor: 8.0, original: 64, attention_factor: 1.25 }
}

#[test]
fn every_law_that_llama_cpp_has_reads_back() {
    let llama3 = |low, high| Scaling::Llama3 { factor: 8.0, low, high, original: 96 };
    for scaling in [
        Scaling::Default,
        Scaling::Linear { factor: 8.0 },
        yarn((32.0, 1.0), true),
        longrope(),
        llama3(1.0, 4.0),
        llama3(2.0, 5.0),
    ] {
        let model = scaled(scaling);
        let (_dir, path, notes) = written(&model, GgufType::F32, None);
        let read = Checkpoint::open(&path).unwrap();
        let said: Vec<_> = notes.iter().filter(|note| !note.contains("no vocabulary")).collect();
        assert!(said.is_empty(), "{said:?}");
        assert!(
            same_law(&RopePlan::native(&model), &RopePlan::native(&read.model), 512),
            "{:?}",
            read.model.rope_scaling
        );
    }
}

#[test]
fn a_law_that_llama_cpp_lacks_is_said() {
    let said = |model: &Llama| written(model, GgufType::F32, None).2.join(" ");
    assert!(said(&scaled(Scaling::Dynamic { factor: 2.0, original: 512 })).contains("no dynamic rope"));
    assert!(said(&scaled(yarn((32.0, 1.0), false))).contains("rounded to whole pairs"));
    assert!(said(&scaled(yarn((16.0, 2.0), true))).contains("--yarn-beta-fast"));
    let qwen = |scaling| Llama { qkv_bias: true, ..scaled(scaling) };
    assert!(said(&qwen(longrope())).contains("no factors per frequency for Qwen"));
    assert!(!said(&qwen(yarn((32.0, 1.0), true))).contains("Qwen"));
}

/// Heads of 8: the second row of the file is the fifth of Hugging Face's.
#[test]
fn rows_of_q_are_interleaved_for_llama_alone() {
    for (model, second) in [(shape(), 4), (Llama { qk_norm: true, ..shape() }, 1)] {
        let (_dir, path, _) = written(&model, GgufType::F32, None);
        let name = "model.layers.1.self_attn.q_proj.weight";
        let weights = weights(&model);
        let row = &weights.get(name).unwrap().data[second * 32..(second + 1) * 32];
        let first = &weights.get(name).unwrap().data[..32];
        let wanted: Vec<u8> = [first, row].concat().iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.windows(wanted.len()).any(|window| window == wanted));
    }
}

fn byte_level(pre: serde_json::Value, ignore_merges: bool) -> Tokenizer {
    let bytes: serde_json::Map<String, serde_json::Value> =
        ('!'..='~').chain(['Ġ', 'Ċ', 'Ã', '¯']).zip(0..).map(|(letter, id)| (letter.to_string(), json!(id))).collect();
    let mut vocab = bytes;
    for (word, id) in ["th", "the", "Ġthe", "<s>"].into_iter().zip(247..) {
        vocab.insert(word.into(), json!(id));
    }
    let text = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": pre,
        "added_tokens": [{ "id": 250, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true }],
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [250], "tokens": ["<s>"] } } },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocab, "merges": [["t", "h"], ["th", "e"], ["Ġ", "the"]] },
    });
    Tokenizer::from_json(text.to_string().as_bytes()).unwrap()
}

fn level(regex: bool) -> serde_json::Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex })
}

#[test]
fn a_byte_level_vocabulary_cuts_text_as_before() {
    let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
    let both = |first: serde_json::Value, regex| json!({ "type": "Sequence", "pretokenizers": [first, level(regex)] });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let cases = [
        ("llama-bpe", byte_level(both(split(crate::hub::tokenizer::LLAMA3), false), true)),
        ("qwen2", byte_level(both(split(crate::hub::tokenizer::QWEN2), false), false)),
        ("smollm", byte_level(both(digits, true), false)),
        ("gpt-2", byte_level(level(true), false)),
    ];
    for (pre, tokenizer) in cases {
        let (_dir, path, notes) = written(&shape(), GgufType::F32, Some(&tokenizer));
        assert_eq!(notes, Vec::<String>::new(), "{pre}");
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.windows(pre.len()).any(|window| window == pre.as_bytes()), "{pre}");
        let read = Header::open(&path).unwrap();
        let ids = |tokenizer: &Tokenizer| tokenizer.encode("the other the, 12 the", Special::Add).unwrap();
        assert_eq!(ids(read.tokenizer().unwrap()), ids(&tokenizer), "{pre}");
        assert_eq!(read.tokenizer().unwrap().vocab_size(), 300, "rows without a token are filled");
    }
}

#[test]
fn a_vocabulary_that_gguf_lacks_is_left_out_and_one_that_is_near_is_said() {
    let words = |kind: &str| json!({ "type": kind });
    let (_dir, path, notes) = written(&shape(), GgufType::F32, Some(&byte_level(words("Whitespace"), false)));
    assert!(
        notes.iter().any(|note| note.contains("not written as GGUF"))
            && notes.iter().any(|note| note.contains("no vocabulary"))
    );
    assert!(Header::open(&path).unwrap().tokenizer.is_none());
    let (_dir, _, notes) = written(&shape(), GgufType::F32, Some(&byte_level(level(true), true)));
    assert!(notes[0].contains("Llama 3's rule"), "{notes:?}");
}

fn pieces() -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    let mut put = |word: String| {
        let id = vocab.len();
        vocab.insert(word, json!(id));
    };
    ["<unk>", "<s>", "</s>"].into_iter().for_each(|word| put(word.into()));
    (0..=255).for_each(|byte| put(format!("<0x{byte:02X}>")));
    ["▁t", "er", "▁the", "▁ther", "▁", "t", "h", "e", "r", "he"].into_iter().for_each(|word| put(word.into()));
    let special = |id: usize, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true })
    };
    let text = json!({
        "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" }] },
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [{ "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] },
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": [["▁", "t"], ["e", "r"], ["▁t", "he"], ["▁the", "r"], ["h", "e"]] },
    });
    Tokenizer::from_json(text.to_string().as_bytes()).unwrap()
}

#[test]
fn a_sentencepiece_vocabulary_cuts_text_as_before() {
    let tokenizer = pieces();
    let (_dir, path, notes) = written(&shape(), GgufType::F32, Some(&tokenizer));
    assert_eq!(notes, Vec::<String>::new());
    let read = Header::open(&path).unwrap();
    for text in ["the there her", "there", "ééé thee", ""] {
        let ids = |tokenizer: &Tokenizer| tokenizer.encode(text, Special::Add).unwrap();
        assert_eq!(ids(read.tokenizer().unwrap()), ids(&tokenizer), "{text:?}");
    }
}

#[test]
fn what_does_not_fit_leaves_no_file() {
    let model = shape();
    let mut wrong = weights(&model);
    wrong.get_mut("model.norm.weight").unwrap().data[3] = 1e6;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let options = GgufOptions { kind: GgufType::Q8_0, name: "Test", tokenizer: None };
    let refused = write_gguf(&path, &HfConfig::of(&model), wrong.views(), &options).unwrap_err().to_string();
    assert!(refused.contains("model.norm.weight"), "{refused}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
