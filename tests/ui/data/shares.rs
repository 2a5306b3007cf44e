//! Shares sum to the whole.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [jsonl("a/*.jsonl") * 90%, passkey * 20%],
    }
}

fn main() {}
