//! Groups cut a sequence into whole pieces.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: shifted_groups(group = 1/4),
        train: [extend(steps = 100, length = 12K)],
    }
}

fn main() {}
