//! A recipe that cannot be read still has its name.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope interpolate 4
    }
}

fn main() {
    let _ = Case::PLAN.target;
}
