//! A dropout leaves something.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        adapt: lora(rank = 8, dropout = 100%),
        data: [text("a/*.txt")],
        train: [extend(steps = 10)],
    }
}

fn main() {}
