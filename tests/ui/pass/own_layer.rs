//! A layer and a head of one's own on the model's features.
use context_recipe::model::dfdx::tensor::{Cpu, NoneTape, Tape};
use context_recipe::model::dfdx::tensor_ops::TryMul;
use context_recipe::model::{Error, Hidden, Input, Layer, Linear, Llama, Through, View};

type Model = Llama<6, 512, 128, 128, 64, 384>;

struct Halve;

impl<const C: usize> Layer<C> for Halve {
    type Output<T: Tape<f32, Cpu>> = Hidden<C, T>;

    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<C, T>, _: &View) -> Result<Hidden<C, T>, Error> {
        Ok(x.try_mul(0.5)?)
    }
}

fn classify(model: &Model, head: &Linear<128, 10>, input: &Input<'_>) -> Result<Hidden<10>, Error> {
    let view = model.view(input)?;
    model.hidden(&view, NoneTape)?.through(&Halve, &view)?.through(head, &view)
}

fn main() {
    let _ = classify;
}
