//! A number where a way of holding a tensor belongs.
use context_recipe::model::{Adapt, Adapted, Frozen, Llama, Trained};

#[derive(Clone, Debug)]
struct Mine;

impl Adapt for Mine {
    type Embed = Trained;
    type Norm = Trained;
    type Q = Adapted;
    type K = u32;
    type V = Adapted;
    type O = Frozen;
    type Gate = Frozen;
    type Up = Frozen;
    type Down = Frozen;
    type Head = Frozen;
}

fn main() {
    let _: Option<Llama<6, 512, 128, 128, 64, 384, 8, false, Mine>> = None;
}
