//! The gates are this model's.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256,
        attention: duo("configs/gates_of_another.json"),
    }
}

fn main() {}
