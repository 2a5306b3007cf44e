//! A frequency is divided by a factor.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope(short = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], long = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -8]),
    }
}

fn main() {}
