//! Constants are not known yet when a recipe is read.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(self::SCALE),
    }
}

pub const SCALE: f64 = 8.0;

fn main() {}
