//! A run of zeroed memory from the system.

use std::ptr::NonNull;

/// Side of a huge page.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Zeroed memory, given back when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    /// What the system gave.
    whole: NonNull<u8>,
    whole_len: usize,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is only a place; whoever reads or writes it has a part of its own.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(target_os = "linux")]
impl Mapping {
    /// `len` bytes at the border of a huge page; nothing where the system refuses.
    pub(super) fn new(len: usize) -> Option<Mapping> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let whole_len = len.checked_add(HUGE)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of our own, at a place the system chooses.
        let whole = unsafe { mmap_anonymous(std::ptr::null_mut(), whole_len, access, MapFlags::PRIVATE) }.ok()?;
        let whole = NonNull::new(whole.cast::<u8>())?;
        let skipped = whole.addr().get().next_multiple_of(HUGE) - whole.addr().get();
        // SAFETY: less than `HUGE` bytes in, so that `len` bytes are left.
        let start = unsafe { whole.add(skipped) };
        // A system without huge pages refuses, and small ones do.
        // SAFETY: inside the mapping; the advice changes no contents.
        let _ = unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxHugepage) };
        Some(Mapping { whole, whole_len, start, len })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the last tensor in it is gone.
        let _ = unsafe { rustix::mm::munmap(self.whole.as_ptr().cast(), self.whole_len) };
    }
}

#[cfg(not(target_os = "linux"))]
impl Mapping {
    /// `len` bytes at the border of a cache line; nothing where the system refuses.
    pub(super) fn new(len: usize) -> Option<Mapping> {
        let layout = Self::layout(len)?;
        // SAFETY: the layout is not empty.
        let whole = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Mapping { whole, whole_len: layout.size(), start: whole, len })
    }

    fn layout(len: usize) -> Option<std::alloc::Layout> {
        std::alloc::Layout::from_size_align(len.max(1), super::LINE).ok()
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.whole_len) {
            // SAFETY: allocated with this layout, and the last tensor in it is gone.
            unsafe { std::alloc::dealloc(self.whole.as_ptr(), layout) };
        }
    }
}
