//! The one trait the references are generic over, so that the plain `f32` run is the same code as the `f64` reference.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// `f32` or `f64`.
pub(crate) trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
{
    fn of(value: f64) -> Self;
    fn to_f32(self) -> f32;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
}

macro_rules! real {
    ($($float:ident)*) => { $(
        impl Real for $float {
            fn of(value: f64) -> Self { value as $float }
            fn to_f32(self) -> f32 { self as f32 }
            fn exp(self) -> Self { $float::exp(self) }
            fn ln(self) -> Self { $float::ln(self) }
            fn sqrt(self) -> Self { $float::sqrt(self) }
        }
    )* };
}
real!(f32 f64);

/// The largest value, −∞ of none.
pub(crate) fn max<R: Real>(values: &[R]) -> R {
    values.iter().copied().fold(R::of(f64::NEG_INFINITY), |a, b| if b > a { b } else { a })
}
