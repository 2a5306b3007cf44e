//! The inner loops, compiled once per instruction set and reached through a table of functions.
//!
//! A leaf works on a tile of some microseconds, so that a call through the table costs nothing, and everything above
//! the leaves is ordinary code, compiled once.

use super::Isa;
use super::math::exp2;
use super::vector::{Portable, Vector};

/// A product of small matrices: `c (+)= a · b`, `a` `[rows, depth]` with any strides, `b` `[depth, cols]` and `c`
/// `[rows, cols]` row-major with row strides.
pub(crate) struct Product<'a> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) depth: usize,
    pub(crate) a: &'a [f32],
    /// Strides of `a`: next row, next column.
    pub(crate) a_strides: (usize, usize),
    pub(crate) b: &'a [f32],
    pub(crate) b_stride: usize,
    pub(crate) c: &'a mut [f32],
    pub(crate) c_stride: usize,
    /// Add to `c` instead of overwriting it.
    pub(crate) add: bool,
}

/// Both tiles, their row stride, and per lane the log-sum-exp and the delta.
type GradientLeaf = unsafe fn([&mut [f32]; 2], usize, [&[f32]; 2]);

/// The inner loops of one instruction set.
pub(crate) struct Leaves {
    product: unsafe fn(&mut Product),
    softmax: unsafe fn(&mut [f32], usize, Lanes<'_>),
    gradient: GradientLeaf,
    hide: unsafe fn(&mut [f32], usize, usize, &Bounds),
    transpose: unsafe fn(&[f32], usize, &mut [f32], usize),
}

/// Per query lane: running maximum and sum of the softmax, and the factor by which earlier results shrink.
pub(crate) struct Lanes<'a> {
    pub(crate) max: &'a mut [f32],
    pub(crate) sum: &'a mut [f32],
    pub(crate) shrink: &'a mut [f32],
}

/// Per query lane: the two half-open ranges of keys it sees, as whole numbers in `f32`, counted from the block's base.
pub(crate) struct Bounds<'a> {
    pub(crate) low: [&'a [f32]; 2],
    pub(crate) high: [&'a [f32]; 2],
}

/// Columns are handled in multiples of this: the widest register.
pub(crate) const WIDTH: usize = 16;

impl Leaves {
    /// The table of an available instruction set.
    pub(crate) fn of(isa: Isa) -> &'static Leaves {
        debug_assert!(isa.is_available());
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::LEAVES,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::LEAVES,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &neon::LEAVES,
            _ => &portable::LEAVES,
        }
    }

    /// `c (+)= a · b`; `cols` is a multiple of [`WIDTH`].
    pub(crate) fn product(&self, mut p: Product) {
        if p.rows == 0 || p.cols == 0 {
            return;
        }
        let last = |rows: usize, stride: usize, cols: usize| (rows - 1) * stride + cols;
        assert!(p.cols.is_multiple_of(WIDTH) && p.c.len() >= last(p.rows, p.c_stride, p.cols));
        if p.depth > 0 {
            assert!(p.b.len() >= last(p.depth, p.b_stride, p.cols));
            assert!(p.a.len() > (p.rows - 1) * p.a_strides.0 + (p.depth - 1) * p.a_strides.1);
        }
        // SAFETY: `Leaves::of` was given an available instruction set; the assertions keep all accesses inside.
        unsafe { (self.product)(&mut p) }
    }

    /// Online softmax over a tile `[keys, lanes]` of scores in units of log 2 (rows `stride` apart): the tile becomes
    /// `2^(score − max)`, the lanes' maxima and sums are brought up to date.
    pub(crate) fn softmax(&self, tile: &mut [f32], stride: usize, lanes: Lanes) {
        let width = lanes.max.len();
        assert!(width.is_multiple_of(WIDTH) && width <= stride && tile.len() % stride == width % stride);
        assert!(lanes.sum.len() == width && lanes.shrink.len() == width);
        // SAFETY: available by `Leaves::of`; every row of the tile holds `width` values by the assertions.
        unsafe { (self.softmax)(tile, stride, lanes) }
    }

    /// Backward of the softmax over a tile `[keys, lanes]`: `scores` becomes `p = 2^(score − lse)`, `dp` becomes
    /// `p · (dp − delta)`.
    pub(crate) fn gradient(&self, scores: &mut [f32], dp: &mut [f32], stride: usize, lse: &[f32], delta: &[f32]) {
        let width = lse.len();
        assert!(width.is_multiple_of(WIDTH) && width <= stride && scores.len() % stride == width % stride);
        assert!(delta.len() == width && dp.len() == scores.len());
        // SAFETY: available by `Leaves::of`; every row of both tiles holds `width` values by the assertions.
        unsafe { (self.gradient)([scores, dp], stride, [lse, delta]) }
    }

    /// Sets to −∞ the scores of a tile `[keys, lanes]` outside both ranges of their lane; the tile's first key is
    /// number `first`.
    pub(crate) fn hide(&self, tile: &mut [f32], stride: usize, first: usize, bounds: &Bounds) {
        let width = bounds.low[0].len();
        assert!(width.is_multiple_of(WIDTH) && width <= stride && tile.len() % stride == width % stride);
        assert!(bounds.low.iter().chain(&bounds.high).all(|b| b.len() == width));
        // SAFETY: available by `Leaves::of`; every row of the tile holds `width` values by the assertions.
        unsafe { (self.hide)(tile, stride, first, bounds) }
    }

    /// Transposes `from` `[rows, stride]` to `to` `[cols, lanes]`, both dimensions cut to what `to` holds: `cols` is its
    /// length over `lanes`, rows beyond those of `from` become zeros. `cols` and `lanes` are multiples of 8.
    pub(crate) fn transpose(&self, from: &[f32], stride: usize, to: &mut [f32], lanes: usize) {
        let (rows, cols) = (from.len() / stride, to.len() / lanes);
        assert!(cols <= stride && cols.is_multiple_of(SIDE) && lanes.is_multiple_of(SIDE) && rows <= lanes);
        let whole = rows / SIDE * SIDE;
        // SAFETY: available by `Leaves::of`; whole squares of both matrices by the assertions.
        unsafe { (self.transpose)(&from[..whole * stride], stride, &mut to[..cols * lanes], lanes) }
        for (col, to) in to.chunks_exact_mut(lanes).enumerate() {
            for (row, to) in to.iter_mut().enumerate().skip(whole) {
                *to = if row < rows { from[row * stride + col] } else { 0.0 };
            }
        }
    }
}

/// Side of the squares a transposition works on.
const SIDE: usize = 8;

/// Writes a module with the leaves compiled for one vector type: `R × N` registers of sums in a product.
macro_rules! leaves {
    ($name:ident, $vector:ty, $rows:literal, $vectors:literal $(, $features:literal)?) => {
        mod $name {
            use super::*;

            pub(super) static LEAVES: Leaves = Leaves { product, softmax, gradient, hide, transpose };

            $(#[target_feature(enable = $features)])?
            unsafe fn product(p: &mut Product) {
                // SAFETY: this function's callers uphold the same contract.
                unsafe { product_body::<$vector, $rows, $vectors>(p) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn softmax(tile: &mut [f32], stride: usize, lanes: Lanes<'_>) {
                // SAFETY: this function's callers uphold the same contract.
                unsafe { softmax_body::<$vector>(tile, stride, lanes) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn gradient(tiles: [&mut [f32]; 2], stride: usize, lanes: [&[f32]; 2]) {
                // SAFETY: this function's callers uphold the same contract.
                unsafe { gradient_body::<$vector>(tiles, stride, lanes) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn hide(tile: &mut [f32], stride: usize, first: usize, bounds: &Bounds) {
                // SAFETY: this function's callers uphold the same contract.
                unsafe { hide_body::<$vector>(tile, stride, first, bounds) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn transpose(from: &[f32], stride: usize, to: &mut [f32], lanes: usize) {
                // SAFETY: this function's callers uphold the same contract.
                unsafe { transpose_body::<$vector>(from, stride, to, lanes) }
            }
        }
    };
}

leaves!(portable, Portable, 4, 2);
#[cfg(target_arch = "aarch64")]
leaves!(neon, super::super::vector::neon::Neon, 6, 4);
#[cfg(target_arch = "x86_64")]
leaves!(avx2, super::super::vector::x86::Avx2, 6, 2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
leaves!(avx512, super::super::vector::x86::Avx512, 8, 2, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// Panels of `N` registers of columns, then single ones.
#[inline(always)]
unsafe fn product_body<V: Vector, const R: usize, const N: usize>(p: &mut Product) {
    let mut col = 0;
    // SAFETY: `cols` is a multiple of every register width, and the caller checked the three lengths.
    unsafe {
        while col + N * V::LANES <= p.cols {
            column_panel::<V, R, N>(p, col);
            col += N * V::LANES;
        }
        while col < p.cols {
            column_panel::<V, R, 1>(p, col);
            col += V::LANES;
        }
    }
}

/// All rows of one panel of columns, `R ≤ 8` at a time, then the rest.
#[inline(always)]
unsafe fn column_panel<V: Vector, const R: usize, const N: usize>(p: &mut Product, col: usize) {
    let mut row = 0;
    // SAFETY: the tiles lie inside the panel.
    unsafe {
        while row + R <= p.rows {
            tile::<V, R, N>(p, row, col);
            row += R;
        }
        match p.rows - row {
            0 => {}
            1 => tile::<V, 1, N>(p, row, col),
            2 => tile::<V, 2, N>(p, row, col),
            3 => tile::<V, 3, N>(p, row, col),
            4 => tile::<V, 4, N>(p, row, col),
            5 => tile::<V, 5, N>(p, row, col),
            6 => tile::<V, 6, N>(p, row, col),
            _ => tile::<V, 7, N>(p, row, col),
        }
    }
}

/// `R` rows by `N` registers of sums, kept in registers over the whole depth.
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const N: usize>(p: &mut Product, row: usize, col: usize) {
    let (row_step, depth_step) = p.a_strides;
    // SAFETY: the caller checked that rows, columns and depth lie inside the three slices.
    unsafe {
        let a = p.a.as_ptr().add(row * row_step);
        let b = p.b.as_ptr().add(col);
        let c = p.c.as_mut_ptr().add(row * p.c_stride + col);
        let mut sums = [[V::splat(0.0); N]; R];
        if p.add {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(c.add(r * p.c_stride + n * V::LANES));
                }
            }
        }
        for k in 0..p.depth {
            let mut columns = [V::splat(0.0); N];
            for (n, column) in columns.iter_mut().enumerate() {
                *column = V::load(b.add(k * p.b_stride + n * V::LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(*a.add(k * depth_step + r * row_step));
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = value.mul_add(column, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                sum.store(c.add(r * p.c_stride + n * V::LANES));
            }
        }
    }
}

/// See [`Leaves::softmax`].
#[inline(always)]
unsafe fn softmax_body<V: Vector>(tile: &mut [f32], stride: usize, lanes: Lanes) {
    let keys = tile.len().div_ceil(stride);
    // SAFETY: the caller checked that every row holds all lanes.
    unsafe {
        for lane in (0..lanes.max.len()).step_by(V::LANES) {
            let column = tile.as_mut_ptr().add(lane);
            let (max, sum) = (lanes.max.as_mut_ptr().add(lane), lanes.sum.as_mut_ptr().add(lane));
            let before = V::load(max);
            let mut largest = before;
            for key in 0..keys {
                largest = V::load(column.add(key * stride)).max(largest);
            }
            largest.store(max);
            // A lane that has seen nothing yet has −∞ everywhere: subtracting anything finite keeps 2^−∞ = 0.
            let largest = largest.max(V::splat(f32::MIN));
            let shrink = exp2(before.minus(largest));
            shrink.store(lanes.shrink.as_mut_ptr().add(lane));
            let mut total = V::splat(0.0);
            for key in 0..keys {
                let at = column.add(key * stride);
                let p = exp2(V::load(at).minus(largest));
                p.store(at);
                total = total.plus(p);
            }
            V::load(sum).mul_add(shrink, total).store(sum);
        }
    }
}

/// See [`Leaves::gradient`].
#[inline(always)]
unsafe fn gradient_body<V: Vector>([scores, dp]: [&mut [f32]; 2], stride: usize, [lse, delta]: [&[f32]; 2]) {
    let keys = scores.len().div_ceil(stride);
    // SAFETY: the caller checked that every row holds all lanes.
    unsafe {
        for lane in (0..lse.len()).step_by(V::LANES) {
            let (scores, dp) = (scores.as_mut_ptr().add(lane), dp.as_mut_ptr().add(lane));
            let (total, mean) = (V::load(lse.as_ptr().add(lane)), V::load(delta.as_ptr().add(lane)));
            for key in 0..keys {
                let at = key * stride;
                let p = exp2(V::load(scores.add(at)).minus(total));
                p.store(scores.add(at));
                p.times(V::load(dp.add(at)).minus(mean)).store(dp.add(at));
            }
        }
    }
}

/// See [`Leaves::hide`].
#[inline(always)]
unsafe fn hide_body<V: Vector>(tile: &mut [f32], stride: usize, first: usize, bounds: &Bounds) {
    let keys = tile.len().div_ceil(stride);
    // SAFETY: the caller checked that every row holds all lanes and every bound one value per lane.
    unsafe {
        for lane in (0..bounds.low[0].len()).step_by(V::LANES) {
            let load = |b: &[f32]| V::load(b.as_ptr().add(lane));
            let ranges = [[load(bounds.low[0]), load(bounds.high[0])], [load(bounds.low[1]), load(bounds.high[1])]];
            let (mut number, one) = (V::splat(first as f32), V::splat(1.0));
            for key in 0..keys {
                let at = tile.as_mut_ptr().add(lane + key * stride);
                V::load(at).keep_within(number, ranges).store(at);
                number = number.plus(one);
            }
        }
    }
}

/// See [`Leaves::transpose`]; whole squares only.
#[inline(always)]
unsafe fn transpose_body<V: Vector>(from: &[f32], stride: usize, to: &mut [f32], lanes: usize) {
    for row in (0..from.len() / stride).step_by(SIDE) {
        for col in (0..to.len() / lanes).step_by(SIDE) {
            // SAFETY: the caller checked that both matrices are whole squares.
            unsafe {
                let (from, to) = (from.as_ptr().add(row * stride + col), to.as_mut_ptr().add(col * lanes + row));
                V::transpose_square(from, stride, to, lanes);
            }
        }
    }
}
