//! Whatever stands between the braces: the macro never panics, and answers in Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

use super::{expand, tokens};
use crate::words;

const RECIPES: [&str; 4] = [
    "/// Docs.\npub Full { model: llama2_7b, context: 4K -> 128K, rope: interpolate(32), \
     attention: hybrid(full = 1/3, window = 4096, sink = 4), adapt: qlora(rank = 32, alpha = 16, train = [embed, norm]), \
     data: [jsonl(\"c/*.jsonl\") * 90%, passkey * 10%], train: [extend(steps = 1000, length = 128K, lr = 2e-5, warmup = 20)], \
     eval: [perplexity(4K, 32K, 128K), passkey(4K)], device: cuda(80GB, deterministic = true) }",
    "model: llama { layers = 4, hidden = 256, heads = 4, kv_heads = 2, head_dim = 64, ffn = 512, vocab = 1_000, context = 2K, \
     rope_theta = 1e4, norm_eps = 1e-5, tied = true, qkv_bias = true, qk_norm = false }, context: 2K -> 16K, rope: yarn(8, beta_fast = 32, truncate = false), \
     attention: window(512, 4), eval: [perplexity(2K)], allow: [native_context], device: cpu(16GiB)",
    "pub(crate) Small { model: tiny, context: 256 -> 2K, rope: llama3(8, 1, 4), adapt: lora(rank = 32, targets = [q, v]), optimizer: adamw_8bit, \
     data: [text(\"a\") * 1/2, passkey], train: [extend(tokens = 2e6, betas = (0.9, 0.95), schedule = cosine, recompute = none), \
     replay(steps = 5, data = [text(\"b\", upsample = 32K, times = 3) * 50%, chat(\"c\"), parquet(\"d\", field = \"e\"), dataset(\"f\", split = \"g\", config = \"h\")], documents = joined), merge(base = 1/2, form = linear), \
     anneal(tokens = 5_000, scale = 8)] }",
    "model: hf(\"src/tests/config.json\"), context: 2K, rope: none, attention: full, adapt: full",
];

/// xorshift64*: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[test]
fn random_token_trees_never_panic() {
    let mut random = Random(1);
    for _ in 0..1500 {
        let depth = random.below(5);
        judge(stream(&mut random, depth));
    }
}

#[test]
fn mutated_recipes_never_panic() {
    let mut random = Random(2);
    let recipes: Vec<TokenStream> = RECIPES.iter().map(|recipe| tokens(recipe)).collect();
    for _ in 0..1500 {
        let mut recipe = recipes[random.below(recipes.len())].clone();
        for _ in 0..=random.below(3) {
            recipe = mutate(&mut random, recipe);
        }
        judge(recipe);
    }
}

#[test]
fn a_tower_of_brackets_does_not_exhaust_the_stack() {
    let mut tower = TokenStream::new();
    for _ in 0..1000 {
        tower = TokenTree::from(Group::new(Delimiter::Bracket, tower)).into();
    }
    let key = tokens("model: tiny, context: 256, train:");
    judge(key.into_iter().chain(tower).collect());
}

/// The recipes that mutations start from are right, or the fuzzer would only ever see the first error.
#[test]
fn the_seeds_are_recipes() {
    for recipe in RECIPES {
        assert_eq!(super::messages(recipe), Vec::<String>::new(), "{recipe}");
    }
}

/// `expand` catches panics, so a panic is told by its message.
fn judge(input: TokenStream) {
    let text = input.to_string();
    let output = catch_unwind(AssertUnwindSafe(|| expand(input))).unwrap_or_else(|_| panic!("panicked on: {text}"));
    assert!(!output.to_string().contains("recipe! panicked"), "panicked on: {text}");
    let file =
        syn::parse2::<syn::File>(output.clone()).unwrap_or_else(|error| panic!("{error} in:\n{output}\nfor: {text}"));
    let types = file.items.iter().filter(|item| matches!(item, syn::Item::Struct(_))).count();
    assert_eq!(types, 1, "one type comes out of: {text}");
}

fn stream(random: &mut Random, depth: usize) -> TokenStream {
    (0..random.below(12)).map(|_| tree(random, depth)).collect()
}

fn tree(random: &mut Random, depth: usize) -> TokenTree {
    let vocabulary =
        ["pub", "Name", "r", "model", "llama", "tiny", "extend", "self", "true", "hf", "K", "_", "crate", "as"];
    let literals = [
        "4K",
        "128K",
        "1M",
        "80GB",
        "80GiB",
        "1e999",
        "2e-5",
        "0",
        "1",
        "0x10",
        "99999999999999999999999",
        "1_0",
        "'a'",
        "b\"x\"",
        "\"text\"",
        "1.5K",
        "0.0",
        "3usize",
        "c\"x\"",
        "b'a'",
        "18446744073709551615",
        "\"\"",
    ];
    match random.below(if depth == 0 { 4 } else { 5 }) {
        0 => Ident::new(random.pick(words::KEYS), Span::call_site()).into(),
        1 => Ident::new(random.pick(&vocabulary), Span::call_site()).into(),
        2 => random.pick(&literals).parse::<Literal>().expect("a literal").into(),
        3 => {
            let spacing = if random.below(2) == 0 { Spacing::Joint } else { Spacing::Alone };
            Punct::new(
                random.pick(&[':', ',', '=', '-', '>', '*', '%', '/', '#', '!', '+', '<', '.', '&', '?']),
                spacing,
            )
            .into()
        }
        _ => {
            let delimiters = [Delimiter::Parenthesis, Delimiter::Brace, Delimiter::Bracket, Delimiter::None];
            Group::new(random.pick(&delimiters), stream(random, depth - 1)).into()
        }
    }
}

/// Removes, doubles, swaps, replaces or inserts one token, here or inside a group.
fn mutate(random: &mut Random, input: TokenStream) -> TokenStream {
    let mut trees: Vec<TokenTree> = input.into_iter().collect();
    if trees.is_empty() {
        return stream(random, 1);
    }
    let at = random.below(trees.len());
    if let TokenTree::Group(group) = &trees[at]
        && random.below(8) > 0
    {
        trees[at] = Group::new(group.delimiter(), mutate(random, group.stream())).into();
        return trees.into_iter().collect();
    }
    match random.below(5) {
        0 => drop(trees.remove(at)),
        1 => trees.insert(at, trees[at].clone()),
        2 => {
            let other = random.below(trees.len());
            trees.swap(at, other);
        }
        3 => trees[at] = tree(random, 2),
        _ => trees.insert(at, tree(random, 2)),
    }
    trees.into_iter().collect()
}
