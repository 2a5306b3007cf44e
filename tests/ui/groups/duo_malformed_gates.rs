//! A file of gates holds numbers.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = "configs/gates_with_words.tsv", sparsity = 50%),
    }
}

fn main() {}
