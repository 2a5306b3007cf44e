//! What is generated is documented, so that a crate which insists on it can hold recipes.

#![deny(missing_docs, unreachable_pub, warnings)]

use context_recipe::recipe;

recipe! { pub Bare { model: llama2_13b, context: 4K -> 8K, rope: theta(5e5), adapt: full, device: cpu } }

fn main() {
    let _ = Bare::PLAN;
}
