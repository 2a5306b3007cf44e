//! A group is a share of the target.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: shifted_groups(3/2),
        train: [extend(steps = 100)],
    }
}

fn main() {}
