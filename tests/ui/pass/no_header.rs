//! Without a header the type is called `Recipe`; the last comma may be left out.

use context_recipe::recipe;

recipe! {
    model: tiny,
    context: 256 -> 2K,
    rope: yarn(8, beta_fast = 32, beta_slow = 1, attention_factor = 1.2, truncate = false)
}

fn main() {
    let _ = Recipe::PLAN;
}
