//! A Parquet file is no text.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [text("corpus/*.parquet")],
    }
}

fn main() {}
