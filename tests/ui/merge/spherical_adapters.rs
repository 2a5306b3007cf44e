//! Adapters hold no point of an arc.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        adapt: lora(rank = 8),
        train: [extend(steps = 10), merge(form = spherical)],
    }
}

fn main() {}
