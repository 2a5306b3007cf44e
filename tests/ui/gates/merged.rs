//! A merge changes the weights that gates belong to.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 16), merge(base = 50%)],
    }
}

fn main() {}
