//! What the records of a claim say, seeds together.

use context_recipe::report::number::{self, fixed, percent};
use context_recipe::report::{Align, Series, Table};

use super::record::{Found, Record};

/// The records of one claim that are not stale.
pub(crate) struct Results<'a> {
    pub(crate) records: Vec<&'a Record>,
}

/// A figure over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Not a number where nothing was measured.
    pub(crate) mean: f64,
    /// Half of the way from the lowest to the highest.
    pub(crate) half: f64,
    pub(crate) seeds: usize,
}

/// A row of a table: an arm, as one reading saw it after so many steps, the last ones where none are given.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) arm: String,
    pub(crate) reading: &'static str,
    pub(crate) steps: Option<usize>,
}

/// What a column shows of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Loss inside the native window, of texts of this length.
    Home(usize),
    /// Loss of the last quarter at this length.
    Last(usize),
    /// Keys recalled at this length.
    Keys(usize),
    /// The effective window.
    KMax,
    /// Training FLOPs.
    Flops,
    /// Time of all cores in training.
    Time,
    /// The most memory that training held.
    Memory,
    /// Cache of a sequence, of what full attention would hold.
    Cache,
}

impl Row {
    pub(crate) fn new(label: impl Into<String>, arm: impl Into<String>, reading: &'static str) -> Self {
        Self { label: label.into(), arm: arm.into(), reading, steps: None }
    }

    pub(crate) fn after(self, steps: usize) -> Self {
        Self { steps: Some(steps), ..self }
    }

    /// What `record` holds of it at `context` tokens.
    fn found<'r>(&self, record: &'r Record, context: usize) -> Option<&'r Found> {
        let steps = self.steps.or_else(|| record.readings.iter().map(|found| found.steps).max())?;
        let wanted = |found: &&Found| found.reading == self.reading && found.steps == steps && found.context == context;
        record.readings.iter().find(wanted)
    }
}

impl Column {
    fn head(self) -> String {
        match self {
            Self::Home(256) => "loss at 256".to_owned(),
            Self::Home(context) => format!("loss, first 256 of {}", number::tokens(context)),
            Self::Last(context) => format!("loss, last quarter of {}", number::tokens(context)),
            Self::Keys(context) => format!("keys at {}", number::tokens(context)),
            Self::KMax => "k_max".to_owned(),
            Self::Flops => "training".to_owned(),
            Self::Time => "core time".to_owned(),
            Self::Memory => "memory".to_owned(),
            Self::Cache => "cache".to_owned(),
        }
    }

    fn of(self, row: &Row, record: &Record) -> Option<f64> {
        let at = |context| row.found(record, context);
        match self {
            Self::Home(context) => at(context).map(|found| found.in_window),
            Self::Last(context) => at(context).map(|found| found.last),
            Self::Keys(context) => at(context).filter(|found| !found.depths.is_empty()).map(|found| found.recall),
            Self::KMax => {
                let steps = row.steps.or_else(|| record.readings.iter().map(|found| found.steps).max())?;
                let mut of_row = record.readings.iter().filter(|it| it.reading == row.reading && it.steps == steps);
                of_row.find_map(|found| found.k_max).map(|k_max| k_max as f64)
            }
            Self::Flops => Some(record.cost.train_flops),
            Self::Time => Some(record.cost.train_cpu_seconds).filter(|seconds| *seconds > 0.0),
            Self::Memory => Some(record.cost.peak_bytes as f64),
            Self::Cache => record.values.get(&format!("{}: cache of full", row.reading)).copied(),
        }
    }

    fn words(self, value: f64) -> String {
        match self {
            Self::Home(_) | Self::Last(_) => fixed(value, 3),
            Self::Keys(_) | Self::Cache => percent(value),
            Self::KMax => fixed(value, 0),
            Self::Flops => number::flops(value),
            Self::Time => number::duration(value),
            Self::Memory => number::bytes(value as u64),
        }
    }

    /// What is the same for every seed, or a matter of the machine, has no spread.
    fn spreads(self) -> bool {
        !matches!(self, Self::Flops | Self::Time | Self::Memory | Self::Cache)
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.collect();
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        let seeds = values.len();
        let half = if seeds > 1 { (high - low) / 2.0 } else { 0.0 };
        Self { mean: values.iter().sum::<f64>() / seeds as f64, half, seeds }
    }
}

impl Results<'_> {
    /// A figure of one row.
    pub(crate) fn of(&self, row: &Row, column: Column) -> Spread {
        let records = self.records.iter().filter(|record| record.arm == row.arm);
        Spread::of(records.filter_map(|record| column.of(row, record)))
    }

    /// Its mean; not a number where it was not measured.
    pub(crate) fn mean(&self, row: &Row, column: Column) -> f64 {
        self.of(row, column).mean
    }

    /// A value of an arm by its name.
    pub(crate) fn value(&self, arm: &str, name: &str) -> f64 {
        let records = self.records.iter().filter(|record| record.arm == arm);
        Spread::of(records.filter_map(|record| record.values.get(name).copied())).mean
    }

    /// What a cache of one of the clocked plans takes; not a number where nothing was clocked.
    pub(crate) fn cache_bytes(&self, plan: &str) -> f64 {
        self.value("pace", &format!("{plan}: cache bytes"))
    }

    /// The same in words.
    pub(crate) fn cache_words(&self, plan: &str) -> String {
        let bytes = self.cache_bytes(plan);
        if bytes.is_finite() { number::bytes(bytes as u64) } else { "–".to_owned() }
    }

    /// How long a plan's turns took, as a person writes it.
    pub(crate) fn pace_words(&self, plan: &str, what: &str) -> String {
        match self.value("pace", &format!("{plan}: {what} ms")) {
            long if long >= 1000.0 => fixed(long / 1000.0, 2) + " s",
            ms => fixed(ms, 2) + " ms",
        }
    }

    pub(crate) fn table(&self, what: &str, rows: &[Row], columns: &[Column]) -> Table {
        let heads = columns.iter().map(|column| (column.head(), Align::Right));
        let mut table = Table::new(
            [(what.to_owned(), Align::Left)].into_iter().chain(heads).chain([("seeds".to_owned(), Align::Right)]),
        );
        for row in rows {
            let seeds = self.records.iter().filter(|record| record.arm == row.arm).count();
            let cells = columns.iter().map(|column| self.cell(row, *column));
            table.row([row.label.clone()].into_iter().chain(cells).chain([seeds.to_string()]));
        }
        table
    }

    /// `1.234 ± 0.005`.
    pub(crate) fn cell(&self, row: &Row, column: Column) -> String {
        let Spread { mean, half, seeds } = self.of(row, column);
        if seeds < 2 || !column.spreads() {
            return column.words(mean);
        }
        format!("{} ± {}", column.words(mean), column.words(half))
    }

    /// Mean loss by position of a row at `context`.
    pub(crate) fn curve(&self, row: &Row, context: usize) -> Series {
        let records = self.records.iter().filter(|record| record.arm == row.arm);
        let curves: Vec<&[(f64, f64)]> = records
            .filter_map(|record| Some(&row.found(record, context)?.curve[..]))
            .filter(|curve| !curve.is_empty())
            .collect();
        let points = curves.first().map_or(0, |curve| curve.len());
        let mean = |index: usize| {
            let sum: f64 = curves.iter().filter_map(|curve| curve.get(index)).map(|(_, y)| y).sum();
            (curves[0][index].0, sum / curves.len() as f64)
        };
        Series::new(row.label.clone(), (0..points).map(mean).collect::<Vec<_>>())
    }

    /// Mean recall of a row at each depth.
    pub(crate) fn depths(&self, row: &Row, context: usize) -> Vec<f64> {
        let records = self.records.iter().filter(|record| record.arm == row.arm);
        let found: Vec<&Found> = records.filter_map(|record| row.found(record, context)).collect();
        let depth = |index: usize| {
            let values = found.iter().filter_map(|found| found.depths.get(index).copied());
            Spread::of(values).mean
        };
        (0..5).map(depth).collect()
    }
}
