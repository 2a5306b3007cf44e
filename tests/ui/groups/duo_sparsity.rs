//! A share of all heads.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo("configs/gates.json", sparsity = 150%),
    }
}

fn main() {}
