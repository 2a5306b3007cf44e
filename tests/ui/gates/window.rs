//! A streaming head misses something.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 256)],
    }
}

fn main() {}
