//! Numeric kernels on row-major `f32` slices: attention, linear layers, loss, norm, rope, optimiser, 4-bit weights.
//!
//! Every op is a folder: `mod.rs` holds the contract and its checks, `reference.rs` a naive version that is never
//! optimised (for the tests, in `f64` and `f32`), `cpu.rs` or `cpu/` the fast one, `cuda.rs` and a `.cu` beside it the one for
//! NVIDIA GPUs ([`cuda`]), on bf16 numbers in device memory. Shapes in comments: `T` tokens, `H` query heads, `G` key/value
//! heads, `D` head dimension, `C` hidden size, `F` feed-forward size, `V` vocabulary.
//!
//! Results do not depend on the number of rayon threads: work is cut into chunks whose borders depend on shapes
//! only, and partial sums are added in a fixed order. They do depend on the instruction set ([`simd::Isa`]).
//!
//! A slice of the wrong length is a mistake of the caller and panics with the expected and the given length.

pub mod adamw;
pub mod attention;
pub mod bias;
pub mod cross_entropy;
pub mod cuda;
pub mod device;
pub mod distance;
pub mod dropout;
pub mod embedding;
pub mod gate;
pub mod linear;
pub mod memory;
pub mod nf4;
pub mod q8_0;
pub mod reduce;
pub mod rms_norm;
pub mod rope;
pub mod simd;
pub mod swiglu;

#[cfg(test)]
mod conformance;

/// Panics unless a buffer has the length its shape asks for.
#[track_caller]
pub(crate) fn expect_len(name: &str, len: usize, expected: usize) {
    assert!(len == expected, "kernels: `{name}` holds {len} values, its shape needs {expected}");
}
