//! The range between the betas has a width.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: yarn(8, beta_fast = 1, beta_slow = 32),
    }
}

fn main() {}
