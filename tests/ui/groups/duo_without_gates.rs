//! Somebody says which heads retrieve.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(sparsity = 25%),
    }
}

fn main() {}
