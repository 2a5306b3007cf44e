//! Both spellings of factors.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope(short = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], long = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5]),
    }
}

recipe! {
    pub FromFile {
        model: tiny,
        context: 256 -> 2K,
        rope: longrope("configs/factors.json"),
    }
}

fn main() {}
