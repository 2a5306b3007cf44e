//! The file is there.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope("configs/no_factors.json"),
    }
}

fn main() {}
