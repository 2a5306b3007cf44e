//! A streaming head sees its own token.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 0)],
    }
}

fn main() {}
