//! A word that gates may be.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = lerned),
        data: [passkey],
        train: [gates(sink = 4, recent = 16)],
    }
}

fn main() {}
