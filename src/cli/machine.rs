//! Where a command runs: on the device of the recipe, or on the one that the command line names.

use kernels::device::Cpu;
use recipe_core::{Device, Plan};

use super::args::DeviceArg;
use crate::{Error, Result};

/// Makes a device for one engine.
pub(super) type Open<'a, D> = &'a dyn Fn() -> Result<D>;

/// A machine whose devices may hold some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Cpu {
        limit: u64,
    },
    #[cfg(feature = "cuda")]
    Gpu {
        limit: u64,
        deterministic: bool,
    },
}

/// Runs `$job` with `$open` as the machine's [`Open`].
macro_rules! on_machine {
    ($machine:expr, $open:ident => $job:expr) => {
        match $machine {
            $crate::cli::machine::Machine::Cpu { limit } => {
                let $open: $crate::cli::machine::Open<'_, _> = &|| Ok($crate::cli::machine::cpu(limit));
                $job
            }
            #[cfg(feature = "cuda")]
            $crate::cli::machine::Machine::Gpu { limit, deterministic } => {
                let $open: $crate::cli::machine::Open<'_, _> =
                    &|| Ok($crate::gpu::open(limit)?.deterministic(deterministic));
                $job
            }
        }
    };
}
pub(super) use on_machine;

pub(super) fn cpu(limit: u64) -> Cpu {
    Cpu::with_limit(limit)
}

/// The plan for the machine that it will run on, and that machine.
///
/// A recipe for a GPU runs on the CPU where there is none, and why is said on stderr; where the command line asks for a GPU, there
/// has to be one.
pub(super) fn chosen(plan: &Plan, asked: Option<DeviceArg>) -> Result<(Plan, Machine)> {
    let on_cpu = |memory| (Plan { device: Device::Cpu { memory }, ..plan.clone() }, Machine::Cpu { limit: memory });
    let wanted = match (asked, plan.device) {
        (None | Some(DeviceArg::Cpu), Device::Cpu { memory }) => return Ok(on_cpu(memory)),
        (Some(DeviceArg::Cpu), Device::Cuda { .. }) => return Ok(on_cpu(u64::MAX)),
        (_, device @ Device::Cuda { .. }) => device,
        (Some(DeviceArg::Cuda), Device::Cpu { .. }) => Device::cuda(u64::MAX),
    };
    match (gpu(plan, wanted), asked) {
        (Ok(found), _) => Ok(found),
        (Err(reason), None) => {
            tell!("note: the recipe says `device: {}`, and {reason}. This runs on the CPU, in f32", plan.device);
            Ok(on_cpu(u64::MAX))
        }
        (Err(reason), Some(_)) => Err(Error::usage(format!("--device cuda: {reason}"))),
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: &Plan, _: Device) -> std::result::Result<(Plan, Machine), String> {
    Err("this program was built without the feature `cuda`; build it with `--features cuda`, a default feature"
        .to_owned())
}

/// Opened once to know that it can be.
#[cfg(feature = "cuda")]
fn gpu(plan: &Plan, device: Device) -> std::result::Result<(Plan, Machine), String> {
    if let Some(reason) = crate::gpu::unsupported(&plan.model) {
        return Err(format!("the model does not run on a GPU here, since {reason}"));
    }
    let limit = device.memory();
    drop(crate::gpu::open(limit).map_err(|error| error.to_string())?);
    Ok((Plan { device, ..plan.clone() }, Machine::Gpu { limit, deterministic: device.repeats() }))
}
