//! Eight bits where every tensor that learns is small.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: smollm2_135m,
        context: 8K,
        adapt: lora(rank = 2),
        optimizer: adamw_8bit,
        train: [extend(steps = 10)],
    }
}

fn main() {}
