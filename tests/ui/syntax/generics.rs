//! A recipe takes no parameters.

use context_recipe::recipe;

recipe! {
    pub Case<T> { model: llama2_7b, context: 4K -> 32K, rope: interpolate(8) }
}

fn main() {}
