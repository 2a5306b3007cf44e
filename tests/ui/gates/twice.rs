//! One stage learns gates.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [gates(sink = 4, recent = 16), gates(steps = 10, sink = 4, recent = 16)],
    }
}

fn main() {}
