//! Two lists, or a file that holds both.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope(short = [1, 2]),
    }
}

fn main() {}
