//! A block of another width put behind a narrower one.
use context_recipe::model::dfdx::tensor::NoneTape;
use context_recipe::model::{Block, Embedding, Error, Hidden, Through, View};

fn stack(
    embedding: &Embedding<512, 64>,
    narrow: &Block<64, 64, 32, 160>,
    wide: &Block<128, 128, 64, 384>,
    view: &View,
) -> Result<Hidden<128>, Error> {
    embedding.look_up(view, NoneTape)?.through(narrow, view)?.through(wide, view)
}

fn main() {
    let _ = stack;
}
