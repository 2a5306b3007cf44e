//! The memory of one pass: every buffer that the layers share, allocated once for the longest batch so far, as
//! [`recipe_core::workspace`] lists them.

use kernels::device::Device;
use recipe_core::Plan;
use recipe_core::workspace::{self as planned, Slot};
pub(crate) use recipe_core::workspace::Purpose;

use super::Error;

pub(crate) type Workspace<D> = planned::Workspace<<D as Device>::Buffer>;
pub(crate) type Activations<D> = planned::Activations<<D as Device>::Buffer>;
pub(crate) type Kept<D> = planned::Kept<<D as Device>::Buffer>;
pub(crate) type Scratch<D> = planned::Scratch<<D as Device>::Buffer>;
pub(crate) type Gated<D> = planned::Gated<<D as Device>::Buffer>;
pub(crate) type Remap<D> = planned::Remap<<D as Device>::Buffer>;
pub(crate) type Mlp<D> = planned::Mlp<<D as Device>::Buffer>;
pub(crate) type Adapting<D> = planned::Adapting<<D as Device>::Buffer>;
pub(crate) type BackwardScratch<D> = planned::Backward<<D as Device>::Buffer>;

/// The workspace of passes over up to `rows` rows.
pub(crate) fn workspace<D: Device>(
    device: &D,
    plan: &Plan,
    rows: usize,
    purpose: Purpose,
) -> Result<Workspace<D>, Error> {
    plan.workspace(rows, purpose, &mut |Slot { len, exact, .. }| {
        Ok(if exact { device.zeros_f32(len)? } else { device.zeros(len)? })
    })
}
