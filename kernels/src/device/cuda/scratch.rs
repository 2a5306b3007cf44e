//! Memory that ops need while they run, kept for the next one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cuda::driver::{Driver, Result};
use crate::cuda::runtime::{Memory, Region};

/// What an op needs memory for. Those that one op may hold at the same time differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// Partial sums, pieces of a result, what moves.
    Partial,
    /// A matrix that was unpacked.
    Unpacked,
    /// Logits, then their gradients.
    Logits,
    /// Results of rows on their way to the host.
    Results,
    /// The tables of NF4.
    Tables,
    /// The maps of moments in 8 bits.
    Maps,
}

const USES: usize = 6;

/// One memory for each use, as large as was ever asked for. It serves work that was queued before: a stream keeps order, and
/// memory is given back once all its work is done.
#[derive(Debug, Default)]
pub(super) struct Scratch<D: Driver> {
    held: [Mutex<Option<Memory<D>>>; USES],
}

/// Memory of one use, nobody else's while this lives.
pub(super) struct Held<'a, D: Driver> {
    guard: MutexGuard<'a, Option<Memory<D>>>,
    fresh: bool,
}

impl<D: Driver> Scratch<D> {
    pub(super) fn new() -> Self {
        Self { held: std::array::from_fn(|_| Mutex::new(None)) }
    }

    /// At least `bytes` for a use; `allocate` makes them where they are not there.
    pub(super) fn hold(
        &self,
        which: Use,
        bytes: u64,
        allocate: impl FnOnce(u64) -> Result<Memory<D>>,
    ) -> Result<Held<'_, D>> {
        let mut guard = self.held[which as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = guard.as_ref().is_none_or(|memory| memory.bytes() < bytes);
        if fresh {
            // The old one goes first, so that both never count.
            *guard = None;
            *guard = Some(allocate(bytes)?);
        }
        Ok(Held { guard, fresh })
    }
}

impl<D: Driver> Held<'_, D> {
    /// The memory.
    pub(super) fn memory(&self) -> Option<&Memory<D>> {
        self.guard.as_ref()
    }

    /// All of it.
    pub(super) fn all(&self) -> Region<'_> {
        self.guard.as_ref().map_or(Region::NONE, Memory::all)
    }

    /// What lies behind its first `offset` bytes.
    pub(super) fn from(&self, offset: u64) -> Region<'_> {
        self.guard.as_ref().map_or(Region::NONE, |memory| memory.from(offset))
    }

    /// Whether nothing was written to it yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }
}
