//! Sums and copies of bf16 numbers, eight at a time where their places allow it.

use super::driver::{Address, Driver, Result};
use super::runtime::{Queue, Region};
use super::source::{Compiler, Source};
use super::{Budget, Kernel, blocks, params};

const THREADS: usize = 256;

params! {
    struct Add {
        from: Address,
        to: Address,
        len: u64,
    }
}

params! {
    struct Columns {
        from: Address,
        to: Address,
        strides: [u64; 2],
        jobs: u64,
        places: u64,
    }
}

/// Where columns begin, and how many numbers lie from one row to the next.
pub type Place<'a> = (Region<'a>, usize);

/// `to` += `from` over `len` bf16 numbers, a multiple of 8.
pub fn add<D: Driver, C: Compiler>(queue: Queue<'_, D, C>, len: usize, from: Region<'_>, to: Region<'_>) -> Result<()> {
    assert!(len.is_multiple_of(8), "kernels: a sum of {len} numbers on a GPU");
    let params = Add { from: from.need("from", 2 * len), to: to.need("to", 2 * len), len: len as u64 };
    // SAFETY: the regions hold `len` numbers each.
    unsafe { queue.launch(&kernel("add"), [blocks(len as u64 / 8, THREADS), 1, 1], &params) }
}

/// Copies `width` columns of `rows` rows of bf16 numbers; the two places do not overlap.
pub fn columns<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    rows: usize,
    width: usize,
    from: Place<'_>,
    to: Place<'_>,
) -> Result<()> {
    if rows == 0 || width == 0 {
        return Ok(());
    }
    let bytes = |stride: usize| 2 * ((rows - 1) * stride + width);
    let places = [from.0.need("from", bytes(from.1)), to.0.need("to", bytes(to.1))];
    let eights = [width, from.1, to.1].iter().all(|numbers| numbers.is_multiple_of(8))
        && places.iter().all(|place| place.0.is_multiple_of(16));
    let (entry, each) = if eights { ("copy_columns", 8) } else { ("copy_columns_plain", 1) };
    let params = Columns {
        from: places[0],
        to: places[1],
        strides: [from.1 as u64, to.1 as u64],
        jobs: (rows * width / each) as u64,
        places: (width / each) as u64,
    };
    // SAFETY: both regions reach to the last column of the last row.
    unsafe { queue.launch(&kernel(entry), [blocks(params.jobs, THREADS), 1, 1], &params) }
}

/// Every kernel of the file.
pub fn kernels() -> [Kernel; 3] {
    ["add", "copy_columns", "copy_columns_plain"].map(kernel)
}

fn kernel(entry: &'static str) -> Kernel {
    let constants = vec![("THREADS", THREADS as i64)];
    let source = Source { file: "copy.cu", texts: vec![include_str!("copy.cu")], constants };
    Kernel { source, entry, threads: THREADS as u32, shared: 0, budget: Budget { blocks: 4 } }
}
