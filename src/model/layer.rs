//! Layers and how they are put together: a width that does not fit is a compile error in this crate's words.

use dfdx::tensor::{Cpu, Tape};

use super::error::Error;
use super::tape::Hidden;
use super::view::View;

/// Something that takes rows of `WIDTH` features.
///
/// Implement it for a layer of your own; everything in [`Llama`](super::Llama) implements it too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take {WIDTH} features per token",
    label = "gets activations that are {WIDTH} wide",
    note = "give this layer {WIDTH} inputs, or put a `Linear<{WIDTH}, …>` in front of it that makes what it takes"
)]
pub trait Layer<const WIDTH: usize> {
    /// What comes out; for most layers [`Hidden`] of some width.
    type Output<T: Tape<f32, Cpu>>;

    /// Runs the layer on `x` `[T, WIDTH]`.
    fn apply<T: Tape<f32, Cpu>>(&self, x: Hidden<WIDTH, T>, view: &View) -> Result<Self::Output<T>, Error>;
}

/// Sends activations through layers, one after the other: `x.through(&block, &view)?.through(&head, &view)?`.
pub trait Through<const WIDTH: usize, T: Tape<f32, Cpu>> {
    /// What `layer` makes of these activations.
    fn through<L: Layer<WIDTH>>(self, layer: &L, view: &View) -> Result<L::Output<T>, Error>;
}

impl<const WIDTH: usize, T: Tape<f32, Cpu>> Through<WIDTH, T> for Hidden<WIDTH, T> {
    fn through<L: Layer<WIDTH>>(self, layer: &L, view: &View) -> Result<L::Output<T>, Error> {
        layer.apply(self, view)
    }
}

/// Makes a [`Layer`] a dfdx `Module` that takes the activations and the view as a pair.
macro_rules! module {
    ([$($generics:tt)*] $layer:ty, $width:ident) => {
        impl<$($generics)*> dfdx::nn::NonMutableModule for $layer {}

        impl<$($generics)*, Tp: dfdx::tensor::Tape<f32, Cpu>> dfdx::nn::Module<(Hidden<$width, Tp>, &View)> for $layer {
            type Output = <Self as Layer<$width>>::Output<Tp>;
            type Error = Error;

            fn try_forward(&self, (x, view): (Hidden<$width, Tp>, &View)) -> Result<Self::Output, Error> {
                self.apply(x, view)
            }
        }
    };
}
pub(super) use module;
