//! Working memory of one task: aligned to cache lines, kept by its thread from call to call.

use std::cell::Cell;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static LINES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Calls `job` with `N` slices of the given lengths. Their contents are whatever an earlier task left.
pub(crate) fn with_scratch<const N: usize, R>(lens: [usize; N], job: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    let lines: usize = lens.iter().map(|len| len.div_ceil(16)).sum();
    // Taken out and put back: a nested call would get its own memory.
    let mut memory = LINES.take();
    if memory.len() < lines {
        memory.resize(lines, Line([0.0; 16]));
    }
    let mut rest = flat(&mut memory);
    let slices = lens.map(|len| {
        let (slice, tail) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(16));
        rest = tail;
        &mut slice[..len]
    });
    let result = job(slices);
    LINES.set(memory);
    result
}

fn flat(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: `Line` is `repr(C)` around sixteen floats without padding, so the memory is `16 · len` floats.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 16) }
}
