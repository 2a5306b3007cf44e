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
    // Whatever is broken, no message names a number that nobody wrote.
    for entries in [
        "rope: yarn(\"8\")",
        "attention: hybrid(full = x, window = y, block = z)",
        "adapt: lora(rank = \"8\")",
        "train: [extend(steps = \"8\", length = 4k)]",
        "data: [text(8) * 50%, passkey * 50%]",
        "data: [txt * 50%, passkey * 40%]",
        "eval: [perplexity(\"4K\")]",
        "device: cuda(80)",
        "device: tpux(80GB)",
    ] {
        let found = messages(&with(entries));
        assert!(!found.is_empty(), "{entries}");
        let numbers = ["1099511627776", "1000000", "0.5", " 1 ", "0.01", "0.02"];
        assert!(!found.iter().any(|text| numbers.iter().any(|number| text.contains(number))), "{entries}: {found:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = messages(
        "pub Six { modle: llama2_7b, context: 4K -> 128K, rope: interpolate(16), attention: window(5000), \
         train: [extend(steps = 1K, length = 256K)], eval: [perplexity(512K)], device: cuda(80) }",
    );
    let starts = ["unknown key `modle`", "scale 16", "window 5000", "`1K`", "length 262144", "length 524288", "`80`"];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (text, start) in found.iter().zip(starts) {
        assert!(text.starts_with(start), "{text} should start with {start}");
    }
}
