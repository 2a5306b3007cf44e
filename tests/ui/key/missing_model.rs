//! A recipe extends a model.

use context_recipe::recipe;

recipe! {
    pub Case {
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
