//! Groups reach a target or they do not.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        attention: self_extend(group = 4, window = 1024),
    }
}

fn main() {}
