//! Rules about `data:`.

use super::{Case, Finding, Level, Rule, percent};
use crate::fault::Field;
use crate::plan::SourceKind;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "share_range", level: Level::Law, find: share_range },
    Rule { name: "share_sum", level: Level::Law, find: share_sum },
    Rule { name: "empty_source", level: Level::Law, find: empty_source },
];

/// Shares sum to one within this: 33.3% three times is one.
const SUM_TOLERANCE: f64 = 1e-3;

fn field(index: usize) -> Field {
    Field::new("data").index(index)
}

fn in_range(share: f64) -> bool {
    share > 0.0 && share <= 1.0
}

/// A source gives some of the text, at most all of it.
fn share_range(case: &Case) -> Vec<Finding> {
    let wrong = |(index, share): (usize, f64)| {
        let message = format!("a share of {} is out of (0%, 100%]", percent(share));
        (!in_range(share)).then(|| {
            Finding::new(field(index).key("share"), message, "write a positive share, or leave the source out")
        })
    };
    let shares = case.recipe.data.iter().enumerate();
    shares.filter_map(|(index, source)| wrong((index, source.share?))).collect()
}

/// Shares divide the text; sources without one divide what the others leave.
fn share_sum(case: &Case) -> Vec<Finding> {
    let data = &case.recipe.data;
    let written: Vec<f64> = data.iter().filter_map(|source| source.share).collect();
    if data.is_empty() || !written.iter().all(|share| in_range(*share)) {
        return vec![];
    }
    let sum: f64 = written.iter().sum();
    let message = match data.len() - written.len() {
        0 if (sum - 1.0).abs() > SUM_TOLERANCE => format!("shares sum to {}", percent(sum)),
        1.. if sum >= 1.0 => format!("shares sum to {}, nothing is left for a source without one", percent(sum)),
        _ => return vec![],
    };
    vec![Finding::new(Field::new("data"), message, "write shares that sum to 100%, or leave one out")]
}

/// A glob or a field without a letter names nothing.
fn empty_source(case: &Case) -> Vec<Finding> {
    let empty = |kind: &SourceKind| match kind {
        SourceKind::Text { glob } => glob.trim().is_empty(),
        SourceKind::Jsonl { glob, field } => glob.trim().is_empty() || field.trim().is_empty(),
        SourceKind::Passkey => false,
    };
    let sources = case.recipe.data.iter().enumerate().filter(|(_, source)| empty(&source.kind));
    let finding = |(index, _)| {
        Finding::new(
            field(index),
            "an empty glob or field names nothing".into(),
            "write text(\"corpus/*.txt\") or jsonl(\"corpus/*.jsonl\", field = \"text\")",
        )
    };
    sources.map(finding).collect()
}
