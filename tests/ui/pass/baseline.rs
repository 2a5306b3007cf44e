//! Nothing changes but the attention.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama3_8b,
        context: 8K,
        rope: none,
        attention: window(4K, 4),
    }
}

fn main() {}
