//! Gates come from a file or are learned.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo("configs/gates.json", recent = 16),
        data: [passkey],
        train: [gates(sink = 4, recent = 16)],
    }
}

fn main() {}
