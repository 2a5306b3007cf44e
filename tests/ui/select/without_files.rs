//! Text that is read whole in any case.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: longrecipe,
        select: impactful,
        data: [passkey, chat("a/*.jsonl")],
        train: [extend(steps = 100)],
    }
}

fn main() {}
