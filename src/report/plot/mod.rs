//! Plots as SVG text, written by hand: lines over one axis, and grids of shares.
//!
//! Colours are Okabe and Ito's, which people of any colour vision tell apart; lines differ in dashes as well. No input
//! makes a plot fail: what is not finite is a gap, what does not fit is shortened.

mod axis;
mod heat;
mod lines;
mod svg;

pub use axis::{Axis, Scale, Unit};
pub use heat::HeatGrid;
pub use lines::LinePlot;

/// A named line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// x and y, in the order of drawing.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A named line through `points`.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect() }
    }
}

/// A vertical line with a word above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Its x.
    pub at: f64,
    /// Its word.
    pub label: String,
}

#[cfg(test)]
mod tests;
