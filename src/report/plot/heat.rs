//! Grids of shares: how often something was right, by two things at once.

use super::svg::{Anchor, GREY, INK, SIZE, Svg, TITLE_SIZE, shortened, text_width};
use crate::report::number;

/// Shares of 1 in rows and columns; what is not a number was not measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatGrid {
    /// What the picture says.
    pub title: String,
    /// What the columns are.
    pub x_label: String,
    /// What the rows are.
    pub y_label: String,
    /// A word per column.
    pub columns: Vec<String>,
    /// A word per row, from the top.
    pub rows: Vec<String>,
    /// Row by row.
    pub values: Vec<Vec<f64>>,
}

const EDGE: f64 = 20.0;
const TOP: f64 = 64.0;
/// Cells shrink to stay within this width and height, down to the least.
const MOST_WIDTH: f64 = 900.0;
const LEAST_CELL: f64 = 14.0;
const MOST_CELL: f64 = 76.0;
const MOST_HEIGHT: f64 = 700.0;
const LEAST_CELL_HEIGHT: f64 = 12.0;
const MOST_CELL_HEIGHT: f64 = 34.0;
const MOST_ROW_NAME: f64 = 120.0;
/// A cell as wide as this shows its value.
const WORDED: f64 = 42.0;

/// From none to all: vermilion over a pale ground to blue.
const NONE: [f64; 3] = [213.0, 94.0, 0.0];
const HALF: [f64; 3] = [246.0, 240.0, 228.0];
const ALL: [f64; 3] = [0.0, 114.0, 178.0];
const UNKNOWN: &str = "#eeeeee";
/// Text on cells, which keep their colours on any ground.
const ON_PALE: &str = "#202020";
const ON_DARK: &str = "#fefefe";

impl HeatGrid {
    /// The picture as SVG text.
    pub fn to_svg(&self) -> String {
        let left = EDGE + self.row_names() + 8.0;
        let cell = ((MOST_WIDTH - left - EDGE) / self.columns.len().max(1) as f64).clamp(LEAST_CELL, MOST_CELL);
        let right = left + cell * self.columns.len() as f64;
        let bottom = TOP + self.cell_height() * self.rows.len() as f64;
        let words = [(&self.title, TITLE_SIZE), (&self.y_label, SIZE)].map(|(text, size)| text_width(text, size));
        let width = (right + EDGE).max(2.0 * EDGE + words[0].max(words[1]).min(MOST_WIDTH));
        let mut svg = Svg::new(width.ceil(), bottom + 52.0);
        svg.text_sized(
            (EDGE, 28.0),
            Anchor::Start,
            INK,
            TITLE_SIZE,
            &shortened(&self.title, width - 2.0 * EDGE, TITLE_SIZE),
        );
        svg.text((EDGE, 50.0), Anchor::Start, GREY, &shortened(&self.y_label, width - 2.0 * EDGE, SIZE));
        for row in 0..self.rows.len() {
            self.row(&mut svg, row, left, cell);
        }
        self.column_names(&mut svg, left, cell, bottom);
        let label = shortened(&self.x_label, width - 2.0 * EDGE, SIZE);
        let half = text_width(&label, SIZE) / 2.0;
        let middle = ((left + right) / 2.0).clamp(EDGE + half, (width - EDGE - half).max(EDGE + half));
        svg.text((middle, bottom + 40.0), Anchor::Middle, GREY, &label);
        svg.finish(&self.title)
    }

    fn cell_height(&self) -> f64 {
        (MOST_HEIGHT / self.rows.len().max(1) as f64).clamp(LEAST_CELL_HEIGHT, MOST_CELL_HEIGHT)
    }

    fn row_names(&self) -> f64 {
        let widths = self.rows.iter().map(|name| text_width(name, SIZE));
        widths.fold(0.0, f64::max).min(MOST_ROW_NAME)
    }

    fn value(&self, row: usize, column: usize) -> f64 {
        self.values.get(row).and_then(|row| row.get(column)).copied().unwrap_or(f64::NAN)
    }

    fn row(&self, svg: &mut Svg, row: usize, left: f64, cell: f64) {
        let height = self.cell_height();
        let top = TOP + height * row as f64;
        let base = top + height / 2.0 + 4.0;
        svg.text((left - 8.0, base), Anchor::End, GREY, &shortened(&self.rows[row], MOST_ROW_NAME, SIZE));
        for column in 0..self.columns.len() {
            let (value, x) = (self.value(row, column), left + cell * column as f64);
            svg.rect((x, top), (cell - 1.5, height - 1.5), &colour(value));
            if cell >= WORDED && height >= SIZE {
                svg.text((x + (cell - 1.5) / 2.0, base), Anchor::Middle, ink(value), &number::percent(value));
            }
        }
    }

    /// Words under every column, or every second, third, …, as there is room.
    fn column_names(&self, svg: &mut Svg, left: f64, cell: f64, bottom: f64) {
        let names: Vec<String> = self.columns.iter().map(|name| shortened(name, MOST_CELL - 6.0, SIZE)).collect();
        let widest = names.iter().map(|name| text_width(name, SIZE)).fold(0.0, f64::max);
        let every = ((widest + 6.0) / cell).ceil().max(1.0) as usize;
        for (index, name) in names.iter().enumerate().step_by(every) {
            svg.text((left + cell * (index as f64 + 0.5), bottom + 17.0), Anchor::Middle, GREY, name);
        }
    }
}

fn colour(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let value = value.clamp(0.0, 1.0);
    let (from, to, share) = if value < 0.5 { (NONE, HALF, value * 2.0) } else { (HALF, ALL, value * 2.0 - 1.0) };
    let part = |index: usize| (from[index] + share * (to[index] - from[index])).round() as u8;
    format!("#{:02x}{:02x}{:02x}", part(0), part(1), part(2))
}

/// Dark on pale cells, white on dark ones.
fn ink(value: f64) -> &'static str {
    if (0.12..=0.8).contains(&value) || value.is_nan() { ON_PALE } else { ON_DARK }
}
