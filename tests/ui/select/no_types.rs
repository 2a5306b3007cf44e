//! A selection by nothing.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: longrecipe,
        select: impactful(types = []),
        data: [text("a/*.txt")],
        train: [extend(steps = 100)],
    }
}

fn main() {}
