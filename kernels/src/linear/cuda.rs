//! Matrix products on a GPU: bf16 factors, f32 sums, a bf16 or f32 result that is rounded once.

use super::{Dims, Write};
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

/// One product, row by row in memory: `c [rows, columns] (+)= scale · a b` with sums over `inner` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Rows of `c`.
    pub rows: usize,
    /// Columns of `c`.
    pub columns: usize,
    /// Terms of each sum.
    pub inner: usize,
    /// `[rows, inner]`, or `[inner, rows]` where it is transposed.
    pub a: Factor<'a>,
    /// `[inner, columns]`, or `[columns, inner]` where it is transposed.
    pub b: Factor<'a>,
    /// The result.
    pub c: Region<'a>,
    /// Numbers from one of its rows to the next.
    pub c_stride: usize,
    /// What its numbers are.
    pub number: Number,
    /// Factor of the product.
    pub scale: f32,
    /// Overwrite or add.
    pub write: Write,
}

/// A bf16 matrix.
#[derive(Clone, Copy, Debug)]
pub struct Factor<'a> {
    /// Its numbers.
    pub region: Region<'a>,
    /// Numbers from one row in memory to the next.
    pub stride: usize,
    /// Whether rows in memory are columns of the factor.
    pub transposed: bool,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// Two bytes.
    Bf16,
    /// Four bytes.
    F32,
}

impl Number {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

impl<'a> Factor<'a> {
    /// A matrix whose rows follow each other, as it is.
    pub fn plain(region: Region<'a>, stride: usize) -> Factor<'a> {
        Factor { region, stride, transposed: false }
    }

    /// A matrix whose rows follow each other, transposed.
    pub fn transposed(region: Region<'a>, stride: usize) -> Factor<'a> {
        Factor { region, stride, transposed: true }
    }

    /// Where it begins; panics when it holds fewer than `rows` by `columns` numbers.
    fn need(&self, name: &str, rows: usize, columns: usize) -> Address {
        let (rows, columns) = if self.transposed { (columns, rows) } else { (rows, columns) };
        assert!(columns <= self.stride, "kernels: rows of {columns} in `{name}` are {} apart", self.stride);
        self.region.need(name, 2 * span(rows, columns, self.stride))
    }
}

/// Numbers from the first of a matrix to its last.
fn span(rows: usize, columns: usize, stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns }
}

/// Where a product's matrices lie.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// The first factor.
    pub a: Address,
    /// The second factor.
    pub b: Address,
    /// The result.
    pub c: Address,
}

impl<'a> Product<'a> {
    /// `y (+)= scale · x wᵀ`, as [`super::forward`].
    pub fn forward(
        dims: Dims,
        x: Region<'a>,
        w: Region<'a>,
        (c, number): (Region<'a>, Number),
        scale: f32,
        write: Write,
    ) -> Self {
        let Dims { rows, inputs, outputs } = dims;
        let (a, b) = (Factor::plain(x, inputs), Factor::transposed(w, inputs));
        Self { rows, columns: outputs, inner: inputs, a, b, c, c_stride: outputs, number, scale, write }
    }

    /// `dx (+)= scale · dy w`, as [`super::backward_input`].
    pub fn backward_input(
        dims: Dims,
        dy: Region<'a>,
        w: Region<'a>,
        (c, number): (Region<'a>, Number),
        scale: f32,
        write: Write,
    ) -> Self {
        let Dims { rows, inputs, outputs } = dims;
        let (a, b) = (Factor::plain(dy, outputs), Factor::plain(w, inputs));
        Self { rows, columns: inputs, inner: outputs, a, b, c, c_stride: inputs, number, scale, write }
    }

    /// `dw (+)= scale · dyᵀ x`, as [`super::backward_weight`].
    pub fn backward_weight(
        dims: Dims,
        dy: Region<'a>,
        x: Region<'a>,
        (c, number): (Region<'a>, Number),
        scale: f32,
        write: Write,
    ) -> Self {
        let Dims { rows, inputs, outputs } = dims;
        let (a, b) = (Factor::transposed(dy, outputs), Factor::plain(x, inputs));
        Self { rows: outputs, columns: inputs, inner: rows, a, b, c, c_stride: inputs, number, scale, write }
    }

    /// Where the matrices lie; panics when one is too short.
    #[track_caller]
    pub fn places(&self) -> Places {
        assert!(self.columns <= self.c_stride, "kernels: rows of {} are {} apart", self.columns, self.c_stride);
        Places {
            a: self.a.need("the first factor", self.rows, self.inner),
            b: self.b.need("the second factor", self.inner, self.columns),
            c: self.c.need("the product", self.number.bytes() * span(self.rows, self.columns, self.c_stride)),
        }
    }
}

/// The door to whatever multiplies matrices.
pub trait Products<D: Driver, C: Compiler>: Send + Sync {
    /// Queues a product.
    fn multiply(&self, queue: Queue<'_, D, C>, product: &Product<'_>) -> Result<()>;
    /// What computes them, since roundings depend on it.
    fn describe(&self) -> String;
}

/// The kernel beside this file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

params! {
    struct Params {
        places: [Address; 3],
        sizes: [u64; 3],
        a: [u64; 2],
        b: [u64; 2],
        c_row: u64,
        scale: f32,
        add: u32,
    }
}

const THREADS: usize = 128;

impl<D: Driver, C: Compiler> Products<D, C> for Plain {
    fn multiply(&self, queue: Queue<'_, D, C>, product: &Product<'_>) -> Result<()> {
        let Places { a, b, c } = product.places();
        let steps = |factor: &Factor<'_>| {
            let [along, across] = [factor.stride as u64, 1];
            if factor.transposed { [across, along] } else { [along, across] }
        };
        let params = Params {
            places: [a, b, c],
            sizes: [product.rows, product.columns, product.inner].map(|size| size as u64),
            a: steps(&product.a),
            b: steps(&product.b),
            c_row: product.c_stride as u64,
            scale: product.scale,
            add: (product.write == Write::Add).into(),
        };
        let grid = [blocks((product.rows * product.columns) as u64, THREADS), 1, 1];
        // SAFETY: the matrices are as long as `places` has found them to be.
        unsafe { queue.launch(&kernel(product.number), grid, &params) }
    }

    fn describe(&self) -> String {
        "products by a plain kernel".to_owned()
    }
}

/// Every kernel of the file.
pub fn kernels() -> [Kernel; 2] {
    [Number::Bf16, Number::F32].map(kernel)
}

fn kernel(number: Number) -> Kernel {
    let constants = vec![("THREADS", THREADS as i64), ("FLOAT", (number == Number::F32).into())];
    let source = Source { file: "linear.cu", texts: vec![include_str!("linear.cu")], constants };
    Kernel { source, entry: "product", threads: THREADS as u32, shared: 0, budget: Budget { blocks: 8 } }
}
