//! Layer inputs leave a GPU's memory, not the CPU's.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10, offload = true)],
    }
}

fn main() {}
