//! A wrong recipe is one error, also where its type is used.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(4),
    }
}

fn takes<R: context_recipe::Recipe>() -> usize {
    R::PLAN.target
}

fn main() {
    let _ = (Case::PLAN.target, Case::REHEARSAL.target, Case::KERNELS.len(), takes::<Case>());
}
