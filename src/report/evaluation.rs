//! Evaluation results as tables and plots.

use super::number::{fixed, percent, percent_tenths, tokens};
use super::plot::{Axis, HeatGrid, LinePlot, Mark, Series};
use super::table::{Align, Table};
use crate::eval::{Impact, PasskeyScore, Perplexity, Protocol};

/// Loss by position, a point at the middle of each bucket; a bucket without tokens is a gap.
fn curve(found: &Perplexity) -> Series {
    let middle = |index: usize| (index as f64 + 0.5) * found.bucket as f64;
    let points = found.nll.iter().enumerate().map(|(index, nll)| (middle(index), nll.unwrap_or(f64::NAN)));
    Series::new(format!("{} tokens", tokens(found.context)), points)
}

/// A line for each length.
pub(super) fn curves(found: &[Perplexity]) -> Vec<Series> {
    found.iter().filter(|found| !found.nll.is_empty()).map(curve).collect()
}

/// Two lines at the longest length that both were measured at: it holds every position of the shorter ones.
pub(super) fn before_after_curves(before: &[Perplexity], after: &[Perplexity]) -> Vec<Series> {
    let longest = |found: &[Perplexity]| {
        let whole = found.iter().filter(|found| !found.nll.is_empty());
        whole.max_by_key(|found| found.context).map(curve)
    };
    let named = [("before", longest(before)), ("after", longest(after))];
    named.into_iter().filter_map(|(name, curve)| Some(Series { name: name.to_owned(), ..curve? })).collect()
}

/// A row per length: what the model lost before and after.
pub(super) fn before_after_table(before: &[Perplexity], after: &[Perplexity]) -> Table {
    let mut contexts: Vec<usize> = before.iter().chain(after).map(|row| row.context).collect();
    contexts.sort_unstable();
    contexts.dedup();
    let pair = ["before", "after"].map(|name| (name, Align::Right));
    let columns = [("context", Align::Right)].into_iter().chain(pair).chain(pair).chain(pair);
    let mut table = Table::new(columns.chain([("read as", Align::Left)]))
        .group("", 1)
        .group("nll", 2)
        .group("perplexity", 2)
        .group("nll of the last quarter", 2);
    for context in contexts {
        let rows = [before, after].map(|found| found.iter().find(|row| row.context == context));
        let cells = |figure: &dyn Fn(&Perplexity) -> String| rows.map(|row| row.map_or("–".to_owned(), figure));
        let read = rows.iter().flatten().next_back().map_or(String::new(), |row| protocol(&row.protocol));
        let figures = [
            cells(&|row| fixed(row.mean_nll, 3)),
            cells(&|row| fixed(row.perplexity, 2)),
            cells(&|row| fixed(last_quarter(row), 3)),
        ];
        table.row([tokens(context)].into_iter().chain(figures.into_iter().flatten()).chain([read]));
    }
    table
}

/// Mean nll of the buckets in the last quarter of positions; not a number where none was counted.
fn last_quarter(found: &Perplexity) -> f64 {
    let from = found.nll.len() - found.nll.len().div_ceil(4);
    let counted: Vec<f64> = found.nll[from..].iter().copied().flatten().collect();
    counted.iter().sum::<f64>() / counted.len() as f64
}

pub(super) fn protocol(found: &Protocol) -> String {
    match *found {
        Protocol::Pieces { documents: 1 } => "one piece".to_owned(),
        Protocol::Pieces { documents } => format!("{documents} pieces"),
        Protocol::Generated { documents } => format!("{documents} generated"),
        Protocol::Sliding { stride } => format!("sliding by {stride}"),
    }
}

/// A row per length: the mean over all positions, and over the last quarter of them.
pub fn perplexity_table(found: &[Perplexity]) -> Table {
    let numbers = ["context", "tokens", "nll", "perplexity", "last quarter nll", "last quarter perplexity"];
    let names = numbers.map(|name| (name, Align::Right)).into_iter().chain([("read as", Align::Left)]);
    let mut table = Table::new(names);
    for row in found {
        let last = last_quarter(row);
        table.row([
            tokens(row.context),
            row.tokens.to_string(),
            fixed(row.mean_nll, 3),
            fixed(row.perplexity, 2),
            fixed(last, 3),
            fixed(last.exp(), 2),
            protocol(&row.protocol),
        ]);
    }
    table
}

/// A row per type of token: how frequent it is among all tokens and among those that change most.
pub fn impact_table(found: &Impact) -> Table {
    let top = format!("of the {} that change most", percent(found.top));
    let names = ["tokens", "of all", &top, "ratio", "mean change"].map(|name| (name.to_owned(), Align::Right));
    let mut table = Table::new([("type".to_owned(), Align::Left)].into_iter().chain(names));
    let some = |value: Option<f64>, digits| fixed(value.unwrap_or(f64::NAN), digits);
    for row in &found.types {
        table.row([
            row.name.to_owned(),
            row.tokens.to_string(),
            percent_tenths(row.share),
            percent_tenths(row.top_share),
            some(row.ratio(), 2),
            some(row.mean_change, 3),
        ]);
    }
    table.rule();
    let whole = ["all".to_owned(), found.tokens.to_string(), percent(1.0), percent(1.0), fixed(1.0, 2)];
    table.row(whole.into_iter().chain([fixed(found.mean_change, 3)]));
    table
}

/// What a recipe can select by, and how it was measured.
pub fn impact_words(found: &Impact) -> String {
    let words: Vec<&str> = found.select.iter().map(recipe_core::TokenType::word).collect();
    let select = match words.is_empty() {
        true => "no type stands out: nothing to select by\n".to_owned(),
        false => format!("select: impactful(types = [{}])\n", words.join(", ")),
    };
    select + &super::plan::wrapped(&format!("{}\n", found.protocol))
}

/// A row per depth, a column per length, and the mean of each length.
pub fn passkey_table(rows: &[PasskeyScore]) -> Table {
    grid_table(&keys(rows))
}

/// Recall by depth and length, as a picture.
pub fn passkey_grid(title: impl Into<String>, rows: &[PasskeyScore]) -> HeatGrid {
    grid(title.into(), "keys recalled, by depth of the key (0% is the start)", &keys(rows))
}

/// What was counted at one length and depth.
pub(super) struct Cell {
    pub(super) context: usize,
    pub(super) depth: f64,
    pub(super) correct: usize,
    pub(super) trials: usize,
}

fn keys(rows: &[PasskeyScore]) -> Vec<Cell> {
    let cell =
        |row: &PasskeyScore| Cell { context: row.context, depth: row.depth, correct: row.correct, trials: row.trials };
    rows.iter().map(cell).collect()
}

pub(super) fn grid_table(rows: &[Cell]) -> Table {
    let (contexts, depths) = (contexts(rows), depths(rows));
    let names = contexts.iter().map(|context| (tokens(*context), Align::Right));
    let mut table = Table::new([("depth".to_owned(), Align::Right)].into_iter().chain(names));
    for depth in &depths {
        let cells = contexts
            .iter()
            .map(|context| percent(recalled(rows, |row| row.context == *context && row.depth == *depth)));
        table.row([percent(*depth)].into_iter().chain(cells));
    }
    if depths.len() > 1 {
        table.rule();
        let all = contexts.iter().map(|context| percent(recalled(rows, |row| row.context == *context)));
        table.row(["all".to_owned()].into_iter().chain(all));
    }
    table
}

pub(super) fn grid(title: String, what: &str, rows: &[Cell]) -> HeatGrid {
    let (contexts, depths) = (contexts(rows), depths(rows));
    let share = |depth: f64, context: usize| recalled(rows, |row| row.context == context && row.depth == depth);
    HeatGrid {
        title,
        x_label: "tokens in the document".into(),
        y_label: what.into(),
        columns: contexts.iter().map(|context| tokens(*context)).collect(),
        rows: depths.iter().map(|depth| percent(*depth)).collect(),
        values: depths.iter().map(|depth| contexts.iter().map(|context| share(*depth, *context)).collect()).collect(),
    }
}

/// Loss by position, on a logarithmic axis that shows the native window and what lies far beyond it.
pub fn position_plot(title: impl Into<String>, native: usize, curves: &[Series]) -> LinePlot {
    let mark = Mark { at: native as f64, label: format!("native window, {}", tokens(native)) };
    LinePlot {
        series: curves.to_vec(),
        marks: vec![mark],
        ..LinePlot::new(
            title,
            Axis::log("position in the document, tokens").tokens(),
            Axis::linear("nll, nats per token"),
        )
    }
}

fn contexts(rows: &[Cell]) -> Vec<usize> {
    let mut contexts: Vec<usize> = rows.iter().map(|row| row.context).collect();
    contexts.sort_unstable();
    contexts.dedup();
    contexts
}

fn depths(rows: &[Cell]) -> Vec<f64> {
    let mut depths: Vec<f64> = rows.iter().map(|row| row.depth).collect();
    depths.sort_by(f64::total_cmp);
    depths.dedup();
    depths
}

/// The share that was counted in the wanted rows; not a number when nothing was asked for.
fn recalled(rows: &[Cell], wanted: impl Fn(&Cell) -> bool) -> f64 {
    let (correct, trials) =
        rows.iter().filter(|row| wanted(row)).fold((0, 0), |sum, row| (sum.0 + row.correct, sum.1 + row.trials));
    correct as f64 / trials as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::passkeys;

    fn perplexity(nll: Vec<Option<f64>>, protocol: Protocol) -> Perplexity {
        Perplexity { context: 4096, tokens: 8190, mean_nll: 2.0, perplexity: 2f64.exp(), bucket: 512, nll, protocol }
    }

    #[test]
    fn the_last_quarter_is_that_of_positions() {
        let nll = [3.0, 2.5, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0].map(Some).to_vec();
        let text = perplexity_table(&[perplexity(nll, Protocol::Pieces { documents: 2 })]).to_text();
        let row: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row, ["4K", "8190", "2.000", "7.39", "1.500", "4.48", "2", "pieces"]);
    }

    #[test]
    fn buckets_without_tokens_are_gaps() {
        let found = perplexity(vec![Some(3.0), None], Protocol::Pieces { documents: 1 });
        let points = curve(&found).points;
        assert_eq!(points[0], (256.0, 3.0));
        assert!(points[1].1.is_nan());
        let sliding = perplexity(vec![], Protocol::Sliding { stride: 256 });
        assert!(perplexity_table(&[sliding]).to_text().contains("–  sliding by 256"));
    }

    #[test]
    fn recall_is_summed_over_depths() {
        let text = passkey_table(&passkeys()).to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "depth   256    1K   2K   4K   8K");
        assert_eq!(lines[2], "   0%  100%   90%  75%  65%  50%");
        assert_eq!(lines[8], "  all  100%   94%  85%  79%  70%");
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let row = |context, depth, trials| PasskeyScore { context, depth, correct: 0, trials };
        let rows = [row(256, 0.0, 4), row(512, 0.5, 4), row(1024, 0.5, 0)];
        let grid = passkey_grid("", &rows);
        assert_eq!(grid.values[0][0], 0.0);
        assert!(grid.values[0][1].is_nan() && grid.values[1][2].is_nan());
        assert!(passkey_table(&rows).to_text().contains('–'));
    }
}
