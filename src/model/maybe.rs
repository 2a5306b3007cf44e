//! Fields that a type may leave out.

use dfdx::nn::{ModuleFields, ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

/// Fields for dfdx's `visit_fields` that are there or not; whether they are has to follow from the type alone.
pub(super) struct Maybe<F>(pub(super) Option<F>);

impl<M: TensorCollection<E, D>, E: Dtype, D: Device<E>, F: ModuleFields<M, E, D>> ModuleFields<M, E, D> for Maybe<F> {
    type Options<E2: Dtype, D2: Device<E2>> = Option<F::Options<E2, D2>>;
    type Output<E2: Dtype, D2: Device<E2>> = Option<F::Output<E2, D2>>;

    fn visit_fields<V: ModuleVisitor<M, E, D>>(self, visitor: &mut V) -> Result<Self::Options<V::E2, V::D2>, V::Err> {
        self.0.map(|fields| fields.visit_fields(visitor)).transpose()
    }

    fn handle_options<E2: Dtype, D2: Device<E2>>(options: Self::Options<E2, D2>) -> Option<Self::Output<E2, D2>> {
        match options {
            // Left out by the type, which is no reason not to make the rest.
            None => Some(None),
            Some(options) => F::handle_options(options).map(Some),
        }
    }
}
