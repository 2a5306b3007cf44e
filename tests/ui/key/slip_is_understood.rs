//! What follows a slip is still checked.

use context_recipe::recipe;

recipe! {
    pub Case {
        context: 4K -> 32K,
        rope: interpolate(8),
        modle: llama2_7b,
        eval: [perplexity(64K)],
    }
}

fn main() {}
