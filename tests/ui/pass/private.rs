//! A recipe may be private.

use context_recipe::recipe;

recipe! {
    Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {
    let _ = <Case as context_recipe::Recipe>::PLAN;
}
