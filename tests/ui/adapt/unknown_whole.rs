//! What learns in full beside the adapters.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        adapt: lora(rank = 8, train = [embed, norms]),
        train: [extend(steps = 10)],
    }
}

fn main() {}
