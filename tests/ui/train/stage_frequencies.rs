//! Legal numbers may still give no frequency.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 1000, theta = 1e300, scale = 1e300), extend(steps = 10)],
    }
}

fn main() {}
