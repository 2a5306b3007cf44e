//! Attributes other than doc comments have nothing to stand on.

use context_recipe::recipe;

recipe! {
    #[derive(Clone)]
    pub Case { model: llama2_7b, context: 4K -> 32K, rope: interpolate(8) }
}

fn main() {}
