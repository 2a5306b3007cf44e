use super::svg::text_width;
use super::*;
use crate::report::samples::{curves, metrics, passkeys};
use crate::report::{passkey_grid, position_plot, samples, training_plot};

/// A tag's name and attributes, or text.
#[derive(Debug)]
enum Piece {
    Open(String, Vec<(String, String)>),
    Close,
    Text(String),
}

/// Enough of XML to find what breaks a picture: tags that do not match, loose brackets, quotes and ampersands.
fn parse(xml: &str) -> Vec<Piece> {
    let (mut pieces, mut open, mut rest) = (vec![], vec![], xml.trim());
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "loose bracket in {text:?}");
        text.split('&').skip(1).for_each(|tail| {
            assert!(
                ["amp;", "lt;", "gt;", "quot;"].iter().any(|name| tail.starts_with(name)),
                "loose ampersand in {text:?}"
            );
        });
        pieces.push(Piece::Text(text.to_owned()));
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            pieces.push(Piece::Close);
            continue;
        }
        let (name, attributes) = attributes(tag.trim_end_matches('/'));
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        pieces.push(Piece::Open(name, attributes));
    }
    assert!(open.is_empty() && rest.is_empty(), "open: {open:?}, rest: {rest:?}");
    pieces
}

fn attributes(tag: &str) -> (String, Vec<(String, String)>) {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    let mut pairs: Vec<(String, String)> = vec![];
    while let Some((key, tail)) = rest.split_once("=\"") {
        let (value, tail) = tail.split_once('"').expect("a quote ends");
        assert!(!value.contains(['<', '&']), "{value:?}");
        assert!(pairs.iter().all(|(known, _)| known != key.trim()), "{key} twice in {tag}");
        pairs.push((key.trim().to_owned(), value.to_owned()));
        rest = tail;
    }
    assert_eq!(rest.trim(), "", "{tag}");
    (name.to_owned(), pairs)
}

fn number(attributes: &[(String, String)], key: &str) -> f64 {
    let value = attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.parse().unwrap());
    value.unwrap_or_else(|| panic!("no {key}"))
}

/// Left, top, right and bottom of every text, with its words.
fn boxes(pieces: &[Piece]) -> Vec<([f64; 4], String)> {
    let texts = pieces.windows(2).filter_map(|pair| match pair {
        [Piece::Open(name, attributes), Piece::Text(words)] if name == "text" => Some((attributes, words)),
        _ => None,
    });
    let sized = texts.map(|(attributes, words)| {
        let words = words.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let [x, y, size] = ["x", "y", "font-size"].map(|key| number(attributes, key));
        let width = text_width(&words, size);
        let left = match attributes.iter().find(|(name, _)| name == "text-anchor").unwrap().1.as_str() {
            "start" => x,
            "middle" => x - width / 2.0,
            _ => x - width,
        };
        ([left, y - 0.75 * size, left + width, y + 0.2 * size], words)
    });
    sized.collect()
}

/// The picture is well-formed, nothing lies outside, no two texts overlap.
fn check(name: &str, svg: &str) {
    let pieces = parse(svg);
    let Some(Piece::Open(root, attributes)) = pieces.iter().find(|piece| matches!(piece, Piece::Open(..))) else {
        panic!("{name}: no root");
    };
    assert_eq!(root, "svg");
    let (width, height) = (number(attributes, "width"), number(attributes, "height"));
    let boxes = boxes(&pieces);
    assert!(!boxes.is_empty());
    for (index, ([left, top, right, bottom], words)) in boxes.iter().enumerate() {
        let inside = *left >= 0.0 && *top >= 0.0 && *right <= width && *bottom <= height;
        assert!(inside, "{name}: {words:?} sticks out: {left} {top} {right} {bottom} of {width} × {height}");
        for ([l, t, r, b], other) in &boxes[..index] {
            assert!(right < l || r < left || bottom < t || b < top, "{name}: {words:?} runs into {other:?}");
        }
    }
    for word in ["NaN", "inf"] {
        let shapes = svg.lines().filter(|line| !line.starts_with("<text"));
        assert!(shapes.clone().all(|line| !line.contains(word)), "{name}: {word}");
    }
    for piece in &pieces {
        if let Piece::Open(shape, attributes) = piece
            && shape == "circle"
        {
            let (x, y) = (number(attributes, "cx"), number(attributes, "cy"));
            assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{name}: a point at {x}, {y}");
        }
    }
}

/// Every pair of scales, with and without marks.
fn check_points(name: &str, series: &[Series]) {
    let axes =
        [Axis::linear("across"), Axis::log("across"), Axis::linear("across").tokens(), Axis::log("across").tokens()];
    for x in axes {
        for y in [Axis::linear("up"), Axis::log("up"), Axis::linear("up").within(0.0, 1.0)] {
            let marks = [256.0, 300.0, f64::NAN].map(|at| Mark { at, label: "native window, 256".into() }).to_vec();
            let plot =
                LinePlot { series: series.to_vec(), raw: series.to_vec(), marks, ..LinePlot::new(name, x.clone(), y) };
            check(name, &plot.to_svg());
        }
    }
}

#[test]
fn usual_plots_are_well_formed_and_tidy() {
    check("position", &position_plot("Loss by position", 256, &curves()).to_svg());
    check_points("curves", &curves());
    let plan = samples::llama2_128k().rehearsal();
    check("training", &training_plot(&plan, &metrics(&plan)).to_svg());
    check("passkey", &passkey_grid("Passkey recall", &passkeys()).to_svg());
}

#[test]
fn extreme_points_break_nothing() {
    let one = |points: &[(f64, f64)]| vec![Series::new("a line", points.iter().copied())];
    check_points("nothing", &[]);
    check_points("an empty line", &one(&[]));
    check_points("one point", &one(&[(256.0, 2.0)]));
    check_points("not a number", &one(&[(1.0, f64::NAN), (f64::NAN, 1.0), (2.0, f64::INFINITY)]));
    check_points("gaps", &one(&[(1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 3.0)]));
    check_points("huge", &one(&[(-1e308, -1e308), (1e308, 1e308)]));
    check_points("tiny", &one(&[(1e-300, 5e-324), (2e-300, 1e-323)]));
    check_points("the same", &one(&[(7.0, 1e16), (7.0, 1e16 + 2.0)]));
    check_points("negative", &one(&[(-3.0, -1.0), (-2.0, -7.5)]));
}

#[test]
fn many_lines_with_long_names_stay_apart() {
    let name = |index| format!("state {index} with a <very> long & unusual name, \"quoted\"");
    let series: Vec<Series> = (0..40).map(|index| Series::new(name(index), [(1.0, 2.0), (2.0, 2.0)])).collect();
    check_points(&"A title much too long for the picture. ".repeat(9), &series);
}

#[test]
fn a_long_line_is_thinned_and_keeps_its_gap() {
    let steps = (0..100_000).map(|x| (f64::from(x), if (40_000..50_000).contains(&x) { f64::NAN } else { 1.0 }));
    let plot =
        LinePlot { series: vec![Series::new("long", steps)], ..LinePlot::new("", Axis::linear(""), Axis::linear("")) };
    let svg = plot.to_svg();
    assert!(svg.len() < 20_000, "{}", svg.len());
    assert_eq!(svg.matches("<path").count(), 2);
}

#[test]
fn a_point_alone_is_a_dot() {
    let plot = LinePlot {
        series: vec![Series::new("a", [(1.0, 1.0)])],
        ..LinePlot::new("", Axis::linear(""), Axis::linear(""))
    };
    let svg = plot.to_svg();
    assert!(svg.contains("<circle") && !svg.contains("<path"));
}

#[test]
fn grids_of_any_size_are_tidy() {
    let grid = |columns: usize, rows: usize, value: f64| HeatGrid {
        title: "A grid with a rather long title for its few columns".into(),
        x_label: "tokens in the document, as many as the model reads".into(),
        y_label: "depth".into(),
        columns: (0..columns).map(|index| format!("{}K", 128 * index)).collect(),
        rows: (0..rows).map(|index| format!("{index}%, a row with a name too long")).collect(),
        values: vec![vec![value; columns.saturating_sub(1)]; rows.saturating_sub(1)],
    };
    for value in [0.0, 0.5, 1.0, f64::NAN, -7.0, 1e300] {
        for (columns, rows) in [(0, 0), (1, 1), (5, 5), (60, 11)] {
            check("grid", &grid(columns, rows, value).to_svg());
        }
    }
}
