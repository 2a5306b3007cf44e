//! Metadata and tensors.

use half::{bf16, f16};
use recipe_core::Scaling;

use super::*;

#[test]
fn metadata_become_a_configuration() {
    let read = Draft::new().open();
    let model = &read.model;
    assert_eq!((model.layers, model.hidden, model.heads, model.kv_heads, model.head_dim), (1, 32, 2, 1, 16));
    assert_eq!((model.ffn, model.vocab, model.context, model.tied), (32, 4, 64, true));
    assert_eq!((model.norm_eps, model.rope_theta, &model.rope_scaling), (1e-5, 500_000.0, &Scaling::Default));
    let mut untied = Draft::new();
    untied.put("output.weight", &[32, 4], F32, floats(&[0.5; 128]));
    untied.version = 2;
    let read = untied.open();
    assert!(!read.model.tied && read.weights.get("lm_head.weight").unwrap().data == [0.5; 128]);
}

/// Every format holds the same values, which each of them holds exactly.
#[test]
fn all_formats_are_read() {
    let values: Vec<f32> = (0..128).map(|place| ((place * 7) % 16) as f32 * 0.5 - 4.0).collect();
    let blocks = |head: &[f32], codes: &dyn Fn(&[f32]) -> Vec<u8>| -> Vec<u8> {
        let head: Vec<u8> = head.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        values.chunks(32).flat_map(|block| [head.clone(), codes(block)].concat()).collect()
    };
    let nibbles = |block: &[f32]| {
        let code = |value: f32| ((value + 4.0) * 2.0) as u8;
        (0..16).map(|j| code(block[j]) | code(block[j + 16]) << 4).collect::<Vec<u8>>()
    };
    let cases = [
        (F32, floats(&values)),
        (F16, values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()),
        (BF16, values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()),
        (Q8_0, blocks(&[0.25], &|block| block.iter().map(|value| (value * 4.0) as i8 as u8).collect())),
        (Q4_0, blocks(&[0.5], &nibbles)),
        (Q4_1, blocks(&[0.5, -4.0], &nibbles)),
    ];
    for (kind, bytes) in cases {
        let mut draft = Draft::new();
        draft.put("token_embd.weight", &[32, 4], kind, bytes);
        let embedding = draft.open().weights.get("model.embed_tokens.weight").unwrap().clone();
        assert_eq!(embedding.shape, [4, 32]);
        assert_eq!(embedding.data, values, "type {kind}");
    }
}

/// Super-blocks of d = 1/2 and dmin = 0 whose scales and quants are all 1, beside the other tensors' F32.
#[test]
fn a_table_of_k_quants_is_read() {
    let half = f16::from_f32(0.5).to_le_bytes();
    let block = [&half[..], &[0, 0], &[1; 4], &[0; 4], &[1; 4], &[0x11; 128]].concat();
    let mut draft = Draft::new();
    draft.put("token_embd.weight", &[256, 4], Q4_K, block.repeat(4));
    let (_dir, path) = draft.with("llama.embedding_length", number(256)).save();
    let read = Header::open(&path).unwrap();
    let listed = read.tensors.iter().find(|tensor| tensor.name == "model.embed_tokens.weight").unwrap();
    assert_eq!((listed.dtype.as_str(), listed.shape.as_slice()), ("Q4_K", &[4, 256][..]));
    let file = super::super::Gguf::open(&path).unwrap();
    assert_eq!(file.tensor("model.embed_tokens.weight", &read.model).unwrap().data, [0.5; 1024]);
}

/// `LlamaModel.permute` of `convert_hf_to_gguf.py`: reshape(heads, 2, half, columns).swapaxes(1, 2).
fn permute(rows: &[f32], heads: usize, half: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for head in 0..heads {
        for (i, s) in (0..half).flat_map(|i| [(i, 0), (i, 1)]) {
            let row = (head * 2 + s) * half + i;
            out.extend(&rows[row * columns..(row + 1) * columns]);
        }
    }
    out
}

#[test]
fn rows_come_back_in_hugging_faces_order() {
    let query: Vec<f32> = (0..1024).map(|place| place as f32).collect();
    let key = &query[..512];
    let mut draft = Draft::new();
    draft.put("blk.0.attn_q.weight", &[32, 32], F32, floats(&permute(&query, 2, 8, 32)));
    draft.put("blk.0.attn_k.weight", &[32, 16], F32, floats(&permute(key, 1, 8, 32)));
    draft.put("blk.0.attn_v.weight", &[32, 16], F32, floats(key));
    let weights = draft.open().weights;
    let data = |name: &str| &weights.get(&format!("model.layers.0.self_attn.{name}.weight")).unwrap().data;
    assert_eq!((data("q_proj"), data("k_proj").as_slice(), data("v_proj").as_slice()), (&query, key, key));
}

/// The converter leaves Qwen's rows as they are.
#[test]
fn qwens_keep_their_rows_and_have_tensors_of_their_own() {
    let query: Vec<f32> = (0..1024).map(|place| place as f32).collect();
    let qwen = |architecture: &str| {
        let mut draft = Draft::new().with("general.architecture", text(architecture));
        for (key, _) in &mut draft.metadata {
            *key = key.replace("llama.", &format!("{architecture}."));
        }
        draft.put("blk.0.attn_q.weight", &[32, 32], F32, floats(&query));
        draft
    };
    let mut draft = qwen("qwen2");
    for (name, width) in [("attn_q", 32), ("attn_k", 16), ("attn_v", 16)] {
        draft.put(&format!("blk.0.{name}.bias"), &[width], F32, floats(&query[..width as usize]));
    }
    let read = draft.open();
    assert_eq!((read.model.qkv_bias, read.model.qk_norm, read.model.rope_theta), (true, false, 500_000.0));
    assert_eq!(read.config.get("architectures").unwrap()[0], "Qwen2ForCausalLM");
    let data = |name: &str| &read.weights.get(&format!("model.layers.0.self_attn.{name}")).unwrap().data;
    assert_eq!((data("q_proj.weight"), &data("k_proj.bias")[..]), (&query, &query[..16]));
    let mut draft = qwen("qwen3");
    for name in ["attn_q_norm", "attn_k_norm"] {
        draft.put(&format!("blk.0.{name}.weight"), &[16], F32, floats(&query[..16]));
    }
    let read = draft.with("qwen3.attention.key_length", number(16)).open();
    assert_eq!((read.model.qkv_bias, read.model.qk_norm, read.model.head_dim), (false, true, 16));
    assert_eq!(read.weights.get("model.layers.0.self_attn.k_norm.weight").unwrap().data, query[..16]);
    assert_eq!(read.weights.get("model.layers.0.self_attn.q_proj.weight").unwrap().data, query);
    assert!(qwen("qwen2").refusal().contains("q_proj.bias"));
}

#[test]
fn rope_scaling_is_translated() {
    let scaling = |pairs: &[(&str, Meta)]| {
        let mut draft = Draft::new();
        pairs.iter().for_each(|(key, value)| draft.set(&format!("llama.rope.scaling.{key}"), value.clone()));
        draft.open().model.rope_scaling
    };
    assert_eq!(scaling(&[("type", text("none")), ("factor", float(4.0))]), Scaling::Default);
    assert_eq!(scaling(&[("factor", float(4.0))]), Scaling::Linear { factor: 4.0 });
    let yarn = [("type", text("yarn")), ("factor", float(4.0)), ("original_context_length", number(16))];
    let expected = |attention_factor| Scaling::Yarn {
        factor: 4.0,
        original: 16,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor,
        truncate: true,
    };
    let own = 0.1 * 4.0_f64.ln() + 1.0;
    assert_eq!(scaling(&yarn), expected(own));
    let louder = [yarn.as_slice(), &[("attn_factor", float(0.5))]].concat();
    assert_eq!(scaling(&louder), expected(0.5 * own));
    let longrope = Draft::new().with("llama.rope.scaling.type", text("longrope"));
    assert!(longrope.refusal().contains("llama.rope.scaling.original_context_length"));
    let longrope = longrope.with("llama.rope.scaling.original_context_length", number(32));
    assert!(longrope.refusal().contains("tensor rope_factors_long.weight: expected a factor for each pair"));
    let other = Draft::new().with("llama.rope.scaling.type", text("su")).with("llama.rope.scaling.factor", float(2.0));
    assert!(other.refusal().contains("rope scaling \"su\""));
}

#[test]
fn llama_3s_factors_are_recognised() {
    // theta 500000, head_dim 16, factor 8, low 1, high 4, original 8192: wavelengths 2π·500000^(i/8) are 6.28, 32.4,
    // 167, 861, 4443, 22911, …; the fifth lies between 2048 and 8192.
    let smooth = (8192.0 / (std::f64::consts::TAU * 500_000_f64.sqrt()) - 1.0) / 3.0;
    let fifth = (1.0 / ((1.0 - smooth) / 8.0 + smooth)) as f32;
    let table = |fifth: f32| floats(&[1.0, 1.0, 1.0, 1.0, fifth, 8.0, 8.0, 8.0]);
    let mut draft = Draft::new();
    draft.put("rope_freqs.weight", &[8], F32, table(fifth));
    let expected = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 };
    assert_eq!(draft.open().model.rope_scaling, expected);
    draft.put("rope_freqs.weight", &[8], F32, table(fifth * 1.1));
    assert!(draft.refusal().contains("tensor rope_freqs.weight that is not Llama 3's"));
}

#[test]
fn formats_and_architectures_that_are_not_read_are_named() {
    let mut draft = Draft::new();
    draft.put("blk.0.ffn_up.weight", &[32, 32], 21, vec![0; 576]);
    draft.put("blk.0.ffn_down.weight", &[32, 32], 21, vec![0; 576]);
    draft.put("blk.0.attn_q.weight", &[32, 32], 20, vec![0; 576]);
    let message = draft.refusal();
    assert!(
        message.contains("IQ3_S (tensor blk.0.ffn_up.weight and 1 more), IQ4_NL (tensor blk.0.attn_q.weight)")
            && message.contains("Use the model in F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1 or Q2_K to Q6_K"),
        "{message}"
    );
    let cases = [
        ("general.architecture", text("gemma2"), "architecture \"gemma2\""),
        ("llama.expert_count", number(8), "a mixture of 8 experts"),
        ("split.count", number(3), "one of 3 parts"),
        ("llama.rope.dimension_count", number(8), "llama.rope.dimension_count 8 beside a head_dim of 16"),
        (
            "llama.attention.head_count_kv",
            list(&[number(1), number(2)]),
            "a different llama.attention.head_count_kv per layer",
        ),
        ("general.alignment", number(3), "general.alignment: expected a power of two"),
        ("llama.block_count", text("one"), "llama.block_count: expected a count, got \"one\""),
        (
            "llama.block_count",
            number(2),
            "tensor model.layers.1.input_layernorm.weight: expected shape [32], got nothing",
        ),
        ("llama.vocab_size", number(5), "tensor model.embed_tokens.weight: expected shape [5, 32]"),
    ];
    for (key, value, expected) in cases {
        let message = Draft::new().with(key, value).refusal();
        assert!(message.contains(expected) && message.contains("a.gguf"), "{message}");
    }
    let mut old = Draft::new();
    for (version, expected) in [(1, "GGUF version 1"), (3_u32.swap_bytes(), "GGUF in big-endian order")] {
        old.version = version;
        assert!(old.refusal().contains(expected));
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = Draft::new().with("tokenizer.ggml.tokens", texts(&["a", "b"])).bytes();
    for length in (4..bytes.len() - 32).step_by(211) {
        let (_dir, path) = saved(&bytes[..length]);
        let message = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(message.contains("a.gguf is damaged"), "{length}: {message}");
    }
}

#[test]
fn heads_that_lie_are_refused() {
    let endless = |kind: u32| Meta(9, [kind.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat());
    let cases = [
        (endless(8), "a list of at most"),
        (endless(9), "a list of plain values"),
        (Meta(13, Vec::new()), "a value type from 0 to 12"),
        (Meta(8, [4_u64.to_le_bytes().as_slice(), &[0xFF; 4]].concat()), "expected UTF-8 text"),
    ];
    for (value, expected) in cases {
        let message = Draft::new().with("key", value).refusal();
        assert!(message.contains("key") && message.contains(expected), "{message}");
    }
    let mut draft = Draft::new();
    draft.put("blk.0.ffn_up.weight", &[24, 32], Q8_0, vec![0; 816]);
    assert!(draft.refusal().contains("tensor blk.0.ffn_up.weight: expected rows of whole Q8_0 blocks of 32"));
    draft.put("blk.0.ffn_up.weight", &[32, 32], Q4_K, vec![0; 576]);
    assert!(draft.refusal().contains("tensor blk.0.ffn_up.weight: expected rows of whole Q4_K blocks of 256"));
    draft.put("blk.0.ffn_up.weight", &[1 << 40, 1 << 40], F32, Vec::new());
    assert!(draft.refusal().contains("tensor blk.0.ffn_up.weight: expected rows"));
    draft.put("blk.0.ffn_up.weight", &[32, 32], F32, Vec::new());
    draft.put("blk.0.ffn_zzz.weight", &[32, 64], F32, vec![0; 8192]);
    assert!(draft.refusal().contains("where blk.0.ffn_up.weight ends"));
    let mut crooked = Draft::new().bytes();
    let name = crooked.windows(17).position(|bytes| bytes == b"token_embd.weight").unwrap();
    crooked[name + 17 + 4 + 16 + 4] = 8;
    let (_dir, path) = saved(&crooked);
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(message.contains("tensor token_embd.weight: expected its data at a multiple of 32 bytes, got byte 8"));
    let mut short = Draft::new();
    short.put("blk.0.ffn_up.weight", &[256, 4], Q4_K, vec![0; 500]);
    assert!(short.refusal().contains("tensor blk.0.ffn_up.weight: expected 576 bytes at byte"));
    let mut twins = Draft::new();
    twins.tensors.push(twins.tensors[0].clone());
    assert!(twins.refusal().contains("tensor token_embd.weight: expected it once, got it twice"));
    let mut nan = Draft::new();
    nan.put("output_norm.weight", &[32], F32, floats(&[f32::NAN; 32]));
    assert!(nan.refusal().contains("tensor model.norm.weight: expected finite values"));
}
