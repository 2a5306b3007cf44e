//! Gates are learned for the finished weights.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 16), extend(steps = 10)],
    }
}

fn main() {}
