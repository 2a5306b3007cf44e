//! Gates are of heads that may stream.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: full,
        data: [passkey],
        train: [extend(steps = 10), gates(sink = 4, recent = 16)],
    }
}

fn main() {}
