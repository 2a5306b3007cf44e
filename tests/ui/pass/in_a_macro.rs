//! Recipes may be written by another macro.

use context_recipe::recipe;

macro_rules! at_scale {
    ($name:ident, $scale:literal, $share:expr, $target:tt) => {
        recipe! {
            pub $name { model: llama2_7b, context: 4K -> $target, rope: interpolate($scale), attention: hybrid(full = $share, window = 1K) }
        }
    };
}

at_scale!(Eight, 8, 12, 32K);
at_scale!(Sixteen, 16, 0.5, 64K);

fn main() {
    let _ = (Eight::PLAN, Sixteen::PLAN);
}
