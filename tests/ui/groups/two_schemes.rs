//! Two words say where tokens stand.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        attention: dual_chunk,
        positions: random,
        train: [extend(steps = 100)],
    }
}

fn main() {}
