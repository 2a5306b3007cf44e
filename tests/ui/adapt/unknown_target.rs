//! A projection that is a slip.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        adapt: lora(rank = 8, targets = [q, k, gatee]),
        train: [extend(steps = 10)],
    }
}

fn main() {}
