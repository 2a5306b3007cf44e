//! The program takes the local window off the chunk.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        attention: dual_chunk(chunk = 1024, local = 2048, form = code),
    }
}

fn main() {}
