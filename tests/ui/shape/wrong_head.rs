//! A head for 64 features on a model that gives 128.
use context_recipe::model::dfdx::tensor::NoneTape;
use context_recipe::model::{Error, Input, Linear, Llama, Through};

type Model = Llama<6, 512, 128, 128, 64, 384>;

fn classify(model: &Model, head: &Linear<64, 10>, input: &Input<'_>) -> Result<(), Error> {
    let view = model.view(input)?;
    let features = model.hidden(&view, NoneTape)?;
    let _scores = features.through(head, &view)?;
    Ok(())
}

fn main() {
    let _ = classify;
}
