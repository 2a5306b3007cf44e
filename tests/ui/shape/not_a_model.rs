//! Something that is no model where the run time wants one.
use context_recipe::model::{Linear, TypedModel};

fn rehearse<M: TypedModel>() {}

fn main() {
    rehearse::<Linear<128, 512>>();
}
