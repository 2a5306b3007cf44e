//! Line plots. Each line's name stands at its right end, so there is no legend to look up.

use super::axis::{Axis, Frame};
use super::svg::{AXIS, Anchor, GREY, GRID, INK, SIZE, Svg, TITLE_SIZE, shortened, text_width};
use super::{Mark, Series};

/// Lines over one x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePlot {
    /// What the picture says.
    pub title: String,
    /// Horizontal.
    pub x: Axis,
    /// Vertical.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// Pale lines behind those of the same index: what was measured, where the line is its running mean.
    pub raw: Vec<Series>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const EDGE: f64 = 20.0;
/// From the top: title, name of the y axis, names of marks, then the plot.
const TITLE_Y: f64 = 30.0;
const Y_LABEL_Y: f64 = 51.0;
const MARK_Y: f64 = 72.0;
const TOP: f64 = 80.0;
const BOTTOM: f64 = HEIGHT - 52.0;
/// Widest name of a line.
const MOST_NAME: f64 = 170.0;
/// From the plot to a name: a stroke of the line's colour stands between.
const NAME_GAP: f64 = 38.0;
/// Between the base lines of two names.
const NAME_STEP: f64 = 17.0;
/// Lines with fewer points show each of them.
const DOTTED: usize = 40;

/// Okabe and Ito's, without the yellow that is too pale for a line.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222"];
const DASHES: [&str; 3] = ["", "7 3", "2 3"];

impl LinePlot {
    /// A plot without lines.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, series: vec![], raw: vec![], marks: vec![] }
    }

    /// The picture as SVG text.
    pub fn to_svg(&self) -> String {
        let area = Area::of(self);
        let mut svg = Svg::new(WIDTH, HEIGHT);
        let title = shortened(&self.title, WIDTH - 2.0 * EDGE, TITLE_SIZE);
        svg.text_sized((EDGE, TITLE_Y), Anchor::Start, INK, TITLE_SIZE, &title);
        area.y_axis(&mut svg, &self.y);
        area.x_axis(&mut svg, &self.x);
        area.marks(&mut svg, &self.marks);
        for (index, series) in self.raw.iter().enumerate() {
            area.line(&mut svg, series, index, r#"stroke-width="1" stroke-opacity="0.3""#, false);
        }
        for index in self.longest_first() {
            let dash = dash(index);
            area.line(&mut svg, &self.series[index], index, &format!(r#"stroke-width="2"{dash}"#), true);
        }
        area.names(&mut svg, &self.series);
        if !self.all_points().any(|point| area.pixel(point).is_some()) {
            let middle = ((area.left + area.right) / 2.0, (TOP + BOTTOM) / 2.0);
            svg.text(middle, Anchor::Middle, GREY, "no data");
        }
        svg.finish(&self.title)
    }

    /// A short line on top of a long one stays visible.
    fn longest_first(&self) -> Vec<usize> {
        let end = |index: &usize| self.series[*index].points.last().map_or(f64::NEG_INFINITY, |point| point.0);
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        order.sort_by(|a, b| end(b).total_cmp(&end(a)));
        order
    }

    fn all_points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.series.iter().chain(&self.raw).flat_map(|series| series.points.iter().copied())
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Another dash for each round of colours.
fn dash(index: usize) -> String {
    match DASHES[index / COLOURS.len() % DASHES.len()] {
        "" => String::new(),
        dash => format!(r#" stroke-dasharray="{dash}""#),
    }
}

/// The rectangle that the lines are drawn in, and the scales of its sides.
struct Area {
    x: Frame,
    y: Frame,
    y_ticks: Vec<(f64, String)>,
    names: Vec<String>,
    left: f64,
    right: f64,
}

impl Area {
    fn of(plot: &LinePlot) -> Self {
        let x = Frame::around(&plot.x, plot.all_points().map(|(x, _)| x), 0.0);
        let y = Frame::around(&plot.y, plot.all_points().map(|(_, y)| y), 0.05);
        let y_ticks = y.ticks(6);
        let widest =
            |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text_width(text, SIZE)).fold(0.0, f64::max);
        let ticks = widest(&mut y_ticks.iter().map(|(_, words)| words));
        let names: Vec<String> = plot.series.iter().map(|series| shown_name(series, &x, &y)).collect();
        let (left, right) = (EDGE + ticks + 8.0, WIDTH - EDGE - NAME_GAP - widest(&mut names.iter()));
        Self { x, y, y_ticks, names, left, right }
    }

    fn across(&self, share: f64) -> f64 {
        self.left + share * (self.right - self.left)
    }

    fn pixel(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.across(self.x.share(x)?), down(self.y.share(y)?)))
    }

    fn y_axis(&self, svg: &mut Svg, axis: &Axis) {
        svg.text((EDGE, Y_LABEL_Y), Anchor::Start, GREY, &shortened(&axis.label, WIDTH - 2.0 * EDGE, SIZE));
        for (share, words) in &self.y_ticks {
            let y = down(*share);
            svg.line((self.left, y), (self.right, y), &stroke(GRID));
            svg.text((self.left - 8.0, y + 4.0), Anchor::End, GREY, words);
        }
    }

    fn x_axis(&self, svg: &mut Svg, axis: &Axis) {
        svg.line((self.left, BOTTOM), (self.right, BOTTOM), &stroke(AXIS));
        let mut free = 0.0;
        for (share, words) in self.x.ticks(10) {
            let (x, half) = (self.across(share), text_width(&words, SIZE) / 2.0);
            svg.line((x, BOTTOM), (x, BOTTOM + 4.0), &stroke(AXIS));
            if x - half >= free {
                svg.text((x, BOTTOM + 18.0), Anchor::Middle, GREY, &words);
                free = x + half + 6.0;
            }
        }
        let middle = (self.left + self.right) / 2.0;
        let label = shortened(&axis.label, self.right - self.left, SIZE);
        svg.text((middle, HEIGHT - 14.0), Anchor::Middle, GREY, &label);
    }

    /// Marks from left to right; a word that would run into the one before it is left out.
    fn marks(&self, svg: &mut Svg, marks: &[Mark]) {
        let mut marks: Vec<(f64, &str)> = marks
            .iter()
            .filter(|mark| self.x.holds(mark.at))
            .filter_map(|mark| Some((self.across(self.x.share(mark.at)?), mark.label.as_str())))
            .collect();
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = 0.0;
        for (x, label) in marks {
            svg.line((x, TOP - 2.0), (x, BOTTOM), &format!(r#"{} stroke-dasharray="3 3""#, stroke(AXIS)));
            let label = shortened(label, MOST_NAME, SIZE);
            let half = text_width(&label, SIZE) / 2.0;
            let middle = x.clamp(EDGE + half, WIDTH - EDGE - half);
            if middle - half >= free {
                svg.text((middle, MARK_Y), Anchor::Middle, GREY, &label);
                free = middle + half + 6.0;
            }
        }
    }

    /// A line with gaps where a point has no place. With `dots`, its end is marked, and each point of a few.
    fn line(&self, svg: &mut Svg, series: &Series, index: usize, style: &str, dots: bool) {
        let pixels = thinned(series.points.iter().map(|point| self.pixel(*point)).collect());
        for run in pixels.split(Option::is_none) {
            let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
            if !run.is_empty() {
                svg.path(&run, colour(index), style);
            }
        }
        let shown = if pixels.len() < DOTTED { pixels.len() } else { 1 };
        if dots {
            pixels.iter().rev().flatten().take(shown).for_each(|at| svg.dot(*at, 2.5, colour(index)));
        }
    }

    /// Names beside the lines' ends, moved apart; names that find no room are counted.
    fn names(&self, svg: &mut Svg, series: &[Series]) {
        let end = |series: &Series| series.points.iter().rev().find_map(|point| self.pixel(*point));
        let ends: Vec<Option<(f64, f64)>> = series.iter().map(end).collect();
        let height = |index: &usize| ends[*index].map_or(BOTTOM, |(_, y)| y);
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by(|a, b| height(a).total_cmp(&height(b)));
        let room = ((BOTTOM - TOP) / NAME_STEP) as usize;
        let hidden = order.len().saturating_sub(room);
        order.truncate(room);
        let places = apart(&order.iter().map(height).collect::<Vec<_>>());
        for (index, y) in order.into_iter().zip(places) {
            self.name(svg, index, ends[index], y);
        }
        if hidden > 0 {
            let at = (self.right + NAME_GAP, BOTTOM + NAME_STEP);
            svg.text(at, Anchor::Start, GREY, &format!("and {hidden} more"));
        }
    }

    /// One name; a thin line leads to it from an end at the right side.
    fn name(&self, svg: &mut Svg, index: usize, end: Option<(f64, f64)>, y: f64) {
        let from = self.right + NAME_GAP - 20.0;
        if let Some((x, end_y)) = end.filter(|(x, _)| *x > self.right - 12.0) {
            let style = format!(r#"stroke="{}" stroke-width="1" stroke-opacity="0.5""#, colour(index));
            svg.line((x + 3.0, end_y), (from, y), &style);
        }
        let style = format!(r#"stroke="{}" stroke-width="3"{}"#, colour(index), dash(index));
        svg.line((from, y), (from + 14.0, y), &style);
        svg.text((self.right + NAME_GAP, y + 4.0), Anchor::Start, INK, &self.names[index]);
    }
}

/// A line's name; the name of a line that cannot be drawn says so.
fn shown_name(series: &Series, x: &Frame, y: &Frame) -> String {
    let drawn = series.points.iter().any(|point| x.share(point.0).is_some() && y.share(point.1).is_some());
    let suffix = if drawn { "" } else { ", no data" };
    let room = MOST_NAME - text_width(suffix, SIZE);
    format!("{}{suffix}", shortened(&series.name, room, SIZE))
}

fn down(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

fn stroke(colour: &str) -> String {
    format!(r#"stroke="{colour}" stroke-width="1""#)
}

/// Sorted heights moved apart by the step that names need, inside the plot.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut places = wanted.to_vec();
    let mut least = TOP;
    for place in &mut places {
        *place = place.max(least);
        least = *place + NAME_STEP;
    }
    let mut most = BOTTOM;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - NAME_STEP;
    }
    places
}

/// At most one point per pixel, the mean of those it stands for; a pixel without any place stays a gap.
fn thinned(pixels: Vec<Option<(f64, f64)>>) -> Vec<Option<(f64, f64)>> {
    if pixels.len() <= 2 * WIDTH as usize {
        return pixels;
    }
    let column = |pixel: &Option<(f64, f64)>| pixel.map(|(x, _)| x.round());
    let same = |a: &Option<(f64, f64)>, b: &Option<(f64, f64)>| column(a) == column(b);
    pixels.chunk_by(same).map(mean).collect()
}

fn mean(run: &[Option<(f64, f64)>]) -> Option<(f64, f64)> {
    let (sum_x, sum_y) = run.iter().flatten().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let count = run.iter().flatten().count();
    (count > 0).then(|| (sum_x / count as f64, sum_y / count as f64))
}
