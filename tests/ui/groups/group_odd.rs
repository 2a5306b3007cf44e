//! Half of the heads shift by half a group.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: shifted_groups(group = 32767/32768),
        train: [extend(steps = 100)],
    }
}

fn main() {}
