//! An open gate costs something.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 16, reg = -0.05)],
    }
}

fn main() {}
