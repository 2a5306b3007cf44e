//! No distance leaves the trained window.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        attention: dual_chunk(chunk = 4096, local = 1024),
    }
}

fn main() {}
