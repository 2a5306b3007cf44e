//! Somebody learns the gates.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo(gates = learned),
        data: [passkey],
        train: [extend(steps = 10)],
    }
}

fn main() {}
