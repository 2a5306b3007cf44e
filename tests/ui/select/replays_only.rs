//! A replay reads all of its text.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        select: impactful,
        data: [text("a/*.txt")],
        train: [replay(steps = 100, data = [text("b/*.txt")])],
    }
}

fn main() {}
