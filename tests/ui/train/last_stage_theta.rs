//! The last weights learn under the rope that they run under.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: theta(1e6),
        train: [extend(steps = 1000), extend(steps = 10, theta = 5e6)],
    }
}

fn main() {}
