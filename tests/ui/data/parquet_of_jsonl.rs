//! JSON lines are no Parquet, compressed or not.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [parquet("corpus/*.jsonl.gz", field = "body")],
    }
}

fn main() {}
