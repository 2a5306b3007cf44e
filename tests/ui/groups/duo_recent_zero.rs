//! A streaming head sees its own token.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo("configs/gates.json", recent = 0),
    }
}

fn main() {}
