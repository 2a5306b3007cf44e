//! The file holds two lists.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope("configs/factors_without_long.json"),
    }
}

fn main() {}
