//! The usual window is longer than this model's own.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(steps = 10)],
    }
}

fn main() {}
