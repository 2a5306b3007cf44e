//! Factors are numbers.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope(short = [1, two], long = [1]),
    }
}

fn main() {}
