//! Weights stay while gates learn.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 16, weight_decay = 0.1)],
    }
}

fn main() {}
