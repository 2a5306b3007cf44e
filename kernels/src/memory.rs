//! Memory for large tensors: zeroed, on huge pages where the system has them, cut off mappings that many tensors share.
//!
//! On pages of 4 KiB a processor stops fetching ahead at each border and pays for the address of every page; streams
//! through weights run at little more than half the speed of the memory. Most systems give huge pages only to those who
//! ask (`madvise`), and Rust's allocator does not.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

mod mapping;

use mapping::Mapping;

/// Bytes of a mapping that several tensors share. Only touched pages are held.
const SHARED: usize = 64 << 20;
/// Tensors from this size on have a mapping of their own, which goes when they go.
const LARGE: usize = 16 << 20;
/// Every tensor begins at a multiple of this: a cache line, the widest register.
const LINE: usize = 64;
/// Between two tensors, so that those of equal size do not fall on the same cache sets.
const GAP: usize = 5 * LINE;

/// Hands out zeroed memory.
#[derive(Debug, Default)]
pub struct Arena {
    open: Mutex<Option<Open>>,
}

/// A shared mapping and how much of it is taken.
#[derive(Debug)]
struct Open {
    mapping: Arc<Mapping>,
    taken: usize,
}

/// A kind of number for which zeroed bytes are zero.
///
/// # Safety
/// Every byte pattern is a value, the one of zeros among them, and no value needs more alignment than a cache line.
pub unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: a number of four bytes.
unsafe impl Plain for f32 {}
// SAFETY: a byte.
unsafe impl Plain for u8 {}

/// Zeroed numbers at the time they are handed out.
pub struct Numbers<T = f32> {
    start: NonNull<T>,
    len: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: the numbers belong to this value alone, like a `Vec`'s; the mapping behind them is never read or written itself.
unsafe impl<T: Plain> Send for Numbers<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Plain> Sync for Numbers<T> {}

impl Arena {
    /// An arena without memory.
    pub fn new() -> Arena {
        Arena::default()
    }

    /// `len` zeros; nothing where the system has no memory left.
    pub fn zeros<T: Plain>(&self, len: usize) -> Option<Numbers<T>> {
        let bytes = len.checked_mul(size_of::<T>())?.checked_add(GAP)?;
        if bytes >= LARGE {
            return Some(Numbers::at(&Arc::new(Mapping::new(bytes)?), 0, len));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|open| open.taken + bytes > SHARED) {
            *open = Some(Open { mapping: Arc::new(Mapping::new(SHARED)?), taken: 0 });
        }
        let open = open.as_mut()?;
        let numbers = Numbers::at(&open.mapping, open.taken, len);
        open.taken = (open.taken + bytes).next_multiple_of(LINE);
        Some(numbers)
    }
}

/// Zeros of these lengths in one mapping; nothing where the system has no memory left.
pub fn together<T: Plain>(lens: &[usize]) -> Option<Vec<Numbers<T>>> {
    let mut places = Vec::with_capacity(lens.len());
    let mut end = 0_usize;
    for &len in lens {
        places.push((end, len));
        let bytes = len.checked_mul(size_of::<T>())?.checked_add(GAP)?.checked_next_multiple_of(LINE)?;
        end = end.checked_add(bytes)?;
    }
    let mapping = Arc::new(Mapping::new(end)?);
    Some(places.into_iter().map(|(from, len)| Numbers::at(&mapping, from, len)).collect())
}

impl<T: Plain> Numbers<T> {
    /// `len` numbers from byte `from` of a mapping, a multiple of [`LINE`]; no other tensor may have them.
    fn at(mapping: &Arc<Mapping>, from: usize, len: usize) -> Self {
        assert!(from.is_multiple_of(LINE) && from + len * size_of::<T>() <= mapping.len());
        // SAFETY: inside the mapping by the assertion.
        let start = unsafe { mapping.start().add(from) }.cast();
        Numbers { start, len, _mapping: Arc::clone(mapping) }
    }
}

impl<T: Plain> Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: inside the mapping, which lives as long as this value, aligned to a line, and initialised with zeros.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Numbers<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has these numbers.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> fmt::Debug for Numbers<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Numbers({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_as_zeros_and_stay_apart() {
        let arena = Arena::new();
        let lens = [1, 7, 1000, 5 << 20, 0, 3];
        let mut all: Vec<Numbers> = lens.iter().map(|&len| arena.zeros(len).unwrap()).collect();
        all.extend(together(&lens).unwrap());
        for (index, numbers) in all.iter_mut().enumerate() {
            assert!(numbers.iter().all(|&x| x == 0.0));
            assert!(numbers.as_ptr().addr().is_multiple_of(LINE));
            numbers.fill(index as f32 + 1.0);
        }
        for (index, numbers) in all.iter().enumerate() {
            assert!(numbers.iter().all(|&x| x == index as f32 + 1.0), "{index}");
        }
    }

    #[test]
    fn numbers_outlive_their_arena() {
        let arena = Arena::new();
        let mut first = arena.zeros::<f32>(100).unwrap();
        drop(arena);
        first.fill(3.0);
        assert_eq!(first[99], 3.0);
    }

    #[test]
    fn too_much_is_refused() {
        assert!(Arena::new().zeros::<f32>(usize::MAX / 8).is_none());
        assert!(Arena::new().zeros::<u8>(usize::MAX).is_none());
        assert!(together::<f32>(&[1, usize::MAX / 8]).is_none());
        assert!(together::<u8>(&[usize::MAX / 2; 3]).is_none());
    }
}
