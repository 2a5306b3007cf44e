//! The memory of one pass: every buffer that the layers share, allocated once for the longest batch so far, as
//! [`recipe_core::workspace`] lists them.

use kernels::device::{Device, Slot};
use recipe_core::Plan;
use recipe_core::workspace as planned;
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

/// The workspace of passes over up to `rows` rows, in one piece of memory.
pub(crate) fn workspace<D: Device>(
    device: &D,
    plan: &Plan,
    rows: usize,
    purpose: Purpose,
) -> Result<Workspace<D>, Error> {
    let slots: Vec<Slot> =
        plan.slots(rows, purpose).iter().map(|slot| Slot { len: slot.len, exact: slot.exact }).collect();
    let mut buffers = device.arena(&slots)?.into_iter();
    plan.workspace(rows, purpose, &mut |_| buffers.next().ok_or(Error::Empty))
}
