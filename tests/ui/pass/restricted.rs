//! Visibility is passed on.

use context_recipe::recipe;

recipe! {
    pub(crate) Case { model: smollm2_135m, context: 8K -> 16K, rope: ntk(4) }
}

fn main() {
    let _ = Case::KERNELS;
}
