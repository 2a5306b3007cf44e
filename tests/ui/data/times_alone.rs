//! Something says which documents are long.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [jsonl("a/*.jsonl", times = 3)],
    }
}

fn main() {}
