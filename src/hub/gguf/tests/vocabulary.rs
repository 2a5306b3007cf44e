//! Tokenizers.

use super::*;
use crate::hub::Special;

fn with_vocabulary(model: &str, tokens: &[&str], kinds: &[u32]) -> Draft {
    let mut draft = Draft::new();
    draft.put("token_embd.weight", &[32, tokens.len() as u64], F32, floats(&vec![0.0; 32 * tokens.len()]));
    draft.set("tokenizer.ggml.model", text(model));
    draft.set("tokenizer.ggml.tokens", texts(tokens));
    let kinds: Vec<Meta> = kinds.iter().map(|kind| Meta(5, kind.to_le_bytes().to_vec())).collect();
    draft.set("tokenizer.ggml.token_type", list(&kinds));
    draft
}

/// <unk> <s> </s>, bytes of "é" and line feed, then pieces whose scores fall with their ids, as in Llama 2.
fn sentence_pieces() -> Draft {
    let tokens =
        ["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "ab", "▁a", "▁ab", "▁", "a", "b", "c", "<tool>"];
    let kinds = [2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4];
    let mut draft = with_vocabulary("llama", &tokens, &kinds);
    let scores: Vec<Meta> = (0..tokens.len()).map(|id| float(if id < 6 { 0.0 } else { 6.0 - id as f32 })).collect();
    draft.set("tokenizer.ggml.scores", list(&scores));
    for (name, id) in [("bos", 1), ("eos", 2), ("unknown", 0)] {
        draft.set(&format!("tokenizer.ggml.{name}_token_id"), number(id));
    }
    draft
}

#[test]
fn sentence_pieces_merge_by_score_and_fall_back_to_bytes() {
    let tokenizer = sentence_pieces().tokenizer();
    let encode = |text: &str| tokenizer.encode(text, Special::Add).unwrap();
    // "ab" has a better score than "▁a", then "▁" and "ab" make "▁ab".
    assert_eq!(encode("ab"), [1, 8]);
    assert_eq!(encode("a ab"), [1, 7, 8]);
    assert_eq!(encode("aé\n"), [1, 7, 4, 5, 3]);
    assert_eq!(encode("c<tool>c"), [1, 9, 12, 13, 9, 12]);
    assert_eq!(tokenizer.encode("ab", Special::Omit).unwrap(), [8]);
    assert_eq!(tokenizer.decode(&encode("a ab é")).unwrap(), "a ab é");
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.vocab_size()), (Some(1), Some(2), 14));
    let plain = sentence_pieces()
        .with("tokenizer.ggml.add_space_prefix", flag(false))
        .with("tokenizer.ggml.add_bos_token", flag(false))
        .with("tokenizer.ggml.add_eos_token", flag(true))
        .tokenizer();
    assert_eq!(plain.encode("ab", Special::Add).unwrap(), [6, 2]);
    assert_eq!(plain.decode(&[8, 8]).unwrap(), " ab ab");
}

/// Byte-level pieces; "Ġ" is a space.
fn byte_pairs(pre: &str) -> Draft {
    let tokens = ["1", "2", "3", "4", "a", "b", "Ġ", "12", "123", "Ġa", "ab", "<|begin|>", "34"];
    let kinds = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1];
    let mut draft = with_vocabulary("gpt2", &tokens, &kinds);
    draft.set("tokenizer.ggml.pre", text(pre));
    draft.set("tokenizer.ggml.merges", texts(&["1 2", "12 3", "3 4", "Ġ a", "a b"]));
    draft.set("tokenizer.ggml.bos_token_id", number(11));
    draft
}

#[test]
fn pre_tokenizers_cut_digits_as_their_models_were_trained() {
    let llama3 = byte_pairs("llama-bpe").tokenizer();
    let encode = |text: &str| llama3.encode(text, Special::Add).unwrap();
    assert_eq!(encode("1234 ab"), [11, 8, 3, 9, 5], "three digits at a time");
    assert_eq!(encode("a<|begin|>a"), [11, 4, 11, 4]);
    assert_eq!(llama3.decode(&encode("1234 ab")).unwrap(), "1234 ab");
    let smollm = byte_pairs("smollm").tokenizer();
    assert_eq!(smollm.encode("1234 ab", Special::Add).unwrap(), [0, 1, 2, 3, 9, 5], "each digit alone, no bos");
    let qwen = byte_pairs("qwen2").tokenizer();
    assert_eq!(qwen.encode("1234 ab", Special::Add).unwrap(), [0, 1, 2, 3, 9, 5], "each digit alone, no bos");
    assert_eq!(qwen.bos(), None, "nor at the head of a document, though the file names an id");
}

/// Qwen's tokenizer composes characters first; the others read them as they are. "é" is "Ã©" in GPT-2's bytes.
#[test]
fn qwen_reads_composed_characters() {
    let tokenizer = |pre| {
        let mut draft = with_vocabulary("gpt2", &["e", "Ã", "©", "Ã©", "Ì", "ģ", "!", "!Ġ"], &[1; 8]);
        draft.set("tokenizer.ggml.pre", text(pre));
        draft.set("tokenizer.ggml.merges", texts(&["Ã ©"]));
        draft.tokenizer()
    };
    let encode = |pre, text| tokenizer(pre).encode(text, Special::Add).unwrap();
    assert_eq!(encode("qwen2", "\u{e9}!"), [3, 6]);
    assert_eq!(encode("qwen2", "e\u{301}!"), [3, 6]);
    assert_eq!(encode("smollm", "e\u{301}!"), [0, 4, 5, 6]);
}

#[test]
fn tokenizers_that_are_not_read_are_named() {
    assert!(byte_pairs("gpt-4o").refusal().contains("pre-tokenizer \"gpt-4o\" is not supported"));
    assert!(with_vocabulary("bert", &["a"], &[1]).refusal().contains("tokenizer model \"bert\" is not supported"));
    let short = sentence_pieces().with("tokenizer.ggml.scores", list(&[float(0.0)]));
    assert!(short.refusal().contains("tokenizer.ggml.scores: expected 14 values, one per token, got 1"));
    let twins = with_vocabulary("gpt2", &["a", "b", "a"], &[1, 1, 1]);
    assert!(twins.refusal().contains("\"a\" for 0 and 2"));
    let outside = byte_pairs("smollm").with("tokenizer.ggml.bos_token_id", number(13));
    assert!(outside.refusal().contains("an id below 13, got 13"), "{}", outside.refusal());
    let bare = Draft::new().open();
    assert!(bare.tokenizer().unwrap_err().to_string().contains("a GGUF file without a vocabulary"));
}
