//! A gate is a share.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo("configs/gates_beyond_one.json"),
    }
}

fn main() {}
