//! Memory always carries a unit.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        device: cuda(80),
    }
}

fn main() {}
