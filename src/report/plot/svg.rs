//! SVG elements as text.

use std::fmt::Write;

/// Text and its ground.
pub(super) const INK: &str = "#222222";
pub(super) const GREY: &str = "#666666";
pub(super) const GRID: &str = "#e4e4e4";
pub(super) const AXIS: &str = "#999999";
pub(super) const GROUND: &str = "#ffffff";
/// The same on a dark ground, where a reader's system asks for it; lines and cells keep their colours.
const DARK: &str = concat!(
    "<style>@media (prefers-color-scheme: dark) { ",
    r##"rect[fill="#ffffff"] { fill: #16181c } text[fill="#222222"] { fill: #e6e7ea } text[fill="#666666"] { fill: #9aa0a8 } "##,
    r##"[stroke="#e4e4e4"] { stroke: #33373e } [stroke="#999999"] { stroke: #6b7079 } [stroke="#222222"] { stroke: #e6e7ea } "##,
    "}</style>"
);
/// Font size of everything but titles.
pub(super) const SIZE: f64 = 12.0;
pub(super) const TITLE_SIZE: f64 = 15.0;

/// Where text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture under construction.
#[derive(Debug)]
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let ([x1, y1], [x2, y2]) = ([from.0, from.1].map(coordinate), [to.0, to.1].map(coordinate));
        self.push(&format!(r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {style}/>"#));
    }

    /// A path through each run of `points`; a point alone becomes a dot of `colour`.
    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str, style: &str) {
        if let [point] = points {
            return self.dot(*point, 3.5, colour);
        }
        let step = |(index, point): (usize, &(f64, f64))| {
            let letter = if index == 0 { 'M' } else { 'L' };
            format!("{letter}{} {}", coordinate(point.0), coordinate(point.1))
        };
        let steps: String = points.iter().enumerate().map(step).collect();
        self.push(&format!(r#"<path d="{steps}" fill="none" stroke="{colour}" stroke-linejoin="round" {style}/>"#));
    }

    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, colour: &str) {
        let [x, y] = [at.0, at.1].map(coordinate);
        self.push(&format!(r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"/>"#));
    }

    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), colour: &str) {
        let [x, y, width, height] = [at.0, at.1, size.0, size.1].map(coordinate);
        self.push(&format!(r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{colour}"/>"#));
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, colour: &str, text: &str) {
        self.text_sized(at, anchor, colour, SIZE, text);
    }

    pub(super) fn text_sized(&mut self, at: (f64, f64), anchor: Anchor, colour: &str, size: f64, text: &str) {
        let [x, y] = [at.0, at.1].map(coordinate);
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if size > SIZE { r#" font-weight="600""# } else { "" };
        let text = escaped(text);
        self.push(&format!(
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>{text}</text>"#
        ));
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole picture; `name` is read out by screen readers.
    pub(super) fn finish(self, name: &str) -> String {
        let Self { width, height, body } = self;
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" "#,
                r#"height="{height}" role="img" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif">"#,
                "\n<title>{name}</title>\n{dark}\n",
                r#"<rect width="{width}" height="{height}" fill="{ground}"/>"#,
                "\n{body}</svg>\n"
            ),
            width = width,
            height = height,
            name = escaped(name),
            dark = DARK,
            ground = GROUND,
            body = body,
        );
        out
    }
}

/// A tenth of a pixel is enough.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned)
}

/// With entities for XML's own letters, and without what XML cannot hold.
fn escaped(text: &str) -> String {
    let letter = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => " ".to_owned(),
        letter => letter.to_string(),
    };
    text.chars().map(letter).collect()
}

/// An upper estimate of a text's width in pixels: no sans-serif letter of ours is wider on average.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let em = |letter: char| match letter {
        ' ' | '.' | ',' | 'i' | 'l' | '|' | ':' => 0.34,
        'm' | 'w' | 'M' | 'W' | '%' | '→' | '×' => 0.95,
        letter if letter.is_ascii_uppercase() => 0.74,
        letter if letter.is_ascii() => 0.62,
        _ => 1.0,
    };
    text.chars().map(em).sum::<f64>() * size
}

/// `text` cut to `width` pixels, with an ellipsis.
pub(super) fn shortened(text: &str, width: f64, size: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while !short.is_empty() && text_width(&short, size) + size > width {
        short.pop();
    }
    short + "…"
}
