//! What recipes become: the generated Rust, as `cargo expand` shows it.

use super::{expand, messages, tokens, with};

fn expanded(recipe: &str) -> String {
    let file = syn::parse2(expand(tokens(recipe))).expect("an expansion is Rust");
    prettyplease::unparse(&file)
}

#[test]
fn the_readme_recipe() {
    insta::assert_snapshot!(expanded(
        r#"
        /// Llama-2 7B, 4K to 128K, on one 80 GB GPU.
        pub Llama2_128k {
            model: llama2_7b,
            context: 4K -> 128K,
            rope: interpolate(32),
            attention: hybrid(full = 1/3, window = 4096, sink = 4),
            adapt: qlora(rank = 32, alpha = 16, train = [embed, norm]),
            data: [jsonl("corpus/*.jsonl") * 90%, passkey * 10%],
            train: [extend(steps = 1000, length = 128K, lr = 2e-5, warmup = 20)],
            eval: [perplexity(4K, 32K, 128K), passkey(4K, 32K, 128K)],
            device: cuda(80GB),
        }
        "#
    ));
}

#[test]
fn a_recipe_without_a_header() {
    insta::assert_snapshot!(expanded(
        "model: tiny, context: 256 -> 2K, rope: yarn(8), attention: window(128, sink = 4)"
    ));
}

#[test]
fn a_wrong_recipe_and_its_stub() {
    insta::assert_snapshot!(expanded(
        "pub(crate) Wrong { model: tiny, context: 256 -> 2K, rope: yarn(4), device: cpu(8) }"
    ));
}

#[test]
fn a_config_file_is_tracked() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/config.json");
    let expansion = expand(tokens("model: hf(\"src/tests/config.json\"), context: 2K")).to_string();
    let tracked = quote::quote!(
        const _: &[u8] = ::core::include_bytes!(#config);
    )
    .to_string();
    assert!(expansion.contains(&tracked), "{expansion}");
    assert!(expansion.contains("kv_heads : 2"), "{expansion}");
}

#[test]
fn the_order_of_keys_and_a_last_comma_change_nothing() {
    let one = expanded("pub A { rope: none, context: 8K, model: llama3_8b, }");
    let other = expanded("pub A { model: llama3_8b, context: 8K, rope: none }");
    assert_eq!(one, other);
}

/// The neutral recipe behind every stub must itself have no fault.
#[test]
fn every_wrong_recipe_still_has_its_type() {
    for recipe in [
        "pub Wrong { }",
        "pub Wrong",
        "pub Wrong { ] ]".replace("] ]", "}").as_str(),
        &with("rope: 8").replace("Case", "Wrong"),
    ] {
        let expanded = expanded(recipe);
        assert!(expanded.contains("pub struct Wrong;"), "{recipe}");
        assert!(expanded.contains("impl ::context_recipe::Recipe for Wrong"), "{recipe}");
    }
}

#[test]
fn guesses_never_speak() {
    // Whatever is broken, it is told once, and nothing is said about what stands in for it.
    for (entries, mistakes) in [
        ("rope: yarn(\"8\")", 1),
        ("rope: yarn(scale = 8, 9)", 1),
        ("attention: hybrid(full = x, window = y, block = z)", 3),
        ("attention: pattern", 1),
        ("adapt: lora(rank = \"8\")", 1),
        ("adapt: lora(rank = 8, targets = [x, y])", 2),
        ("train: [extend(steps = \"8\", length = 4k)]", 2),
        ("train: [extend(1000)]", 1),
        ("train: [shrink(1000)]", 1),
        ("train: [shrink(1000), merge]", 1),
        ("train: [merge(base = x)]", 2),
        ("train: [extend(steps = 10, theta = x, scale = y)]", 2),
        ("train: [extend(steps = 10, data = text(\"a\"))]", 1),
        ("train: [extend(steps = 10, data = [text(8) * 50%, passkey * 50%])]", 1),
        ("train: [extend(steps = 10, data = [books * 50%, passkey * 40%])]", 1),
        ("data: [text(8) * 50%, passkey * 50%]", 1),
        ("data: [txt(\"a\") * 50%, passkey * 40%]", 2),
        ("data: [books * 50%, passkey * 40%]", 1),
        ("data: [passkey * half, text(\"a\") * 40%]", 1),
        ("eval: [perplexity(\"4K\")]", 1),
        ("eval: [perplexity(4K, x, y)]", 2),
        ("device: cuda(80)", 1),
        ("device: tpux(80GB)", 1),
    ] {
        let found = messages(&with(&format!("rope: ntk(16), {entries}").replace("rope: ntk(16), rope", "rope")));
        assert_eq!(found.len(), mistakes, "{entries}: {found:#?}");
    }
    for wrong in ["context: x -> y", "context: 4K -> \"32K\"", "context: -1", "context: [4K, 8K]"] {
        let recipe =
            format!("model: llama2_7b, {wrong}, rope: interpolate(8), train: [extend(steps = 9, length = 8K)]");
        let found = messages(&recipe);
        assert_eq!(found.len(), if wrong.contains("x ->") { 2 } else { 1 }, "{wrong}: {found:#?}");
    }
    let found = messages("model: llamma, context: 4K -> 32K, rope: interpolate(8), adapt: lora(rank = 9_000)");
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = messages("model: llama { layers = 4 }, context: 4K -> 32K, rope: interpolate(8)");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn what_was_meant_is_checked_on() {
    let found = messages("model: lama2_7b, context: 8K -> 32K, rop: interpolatte(2), eval: [perplexty(64K)]");
    let starts = ["unknown word for `model`", "the model's native context is 4K", "unknown key `rop`"];
    let starts =
        [&starts[..], &["unknown word for `rope`", "scale 2", "unknown word for `eval`", "length 64K"]].concat();
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (text, start) in found.iter().zip(starts) {
        assert!(text.starts_with(start), "{text} should start with {start}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = messages(
        "pub Six { modle: llama2_7b, context: 4K -> 128K, rope: interpolate(16), attention: window(5000), \
         train: [extend(steps = 1K, length = 256K)], eval: [perplexity(512K)], device: cuda(80) }",
    );
    let starts = ["unknown key `modle`", "scale 16", "window 5000", "`1K`", "length 256K", "length 512K", "`80`"];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (text, start) in found.iter().zip(starts) {
        assert!(text.starts_with(start), "{text} should start with {start}");
    }
}
