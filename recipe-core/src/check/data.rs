//! Rules about `data:`, the recipe's and the stages'.

use super::{Case, Finding, Level, Rule, percent};
use crate::fault::Field;
use crate::recipe::{Source, Stage};
use crate::terms::SourceKind;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "share_range", level: Level::Law, find: share_range },
    Rule { name: "share_sum", level: Level::Law, find: share_sum },
    Rule { name: "empty_source", level: Level::Law, find: empty_source },
    Rule { name: "upsample_range", level: Level::Law, find: upsample_range },
    Rule { name: "exam_range", level: Level::Law, find: exam_range },
    Rule { name: "replay_generated", level: Level::Law, find: replay_generated },
    Rule { name: "word_of_format", level: Level::Law, find: word_of_format },
];

/// Shares sum to one within this: 33.3% three times is one.
const SUM_TOLERANCE: f64 = 1e-3;

/// More than this, and too few people are left for the text around the answers.
const MOST_ASKED: usize = 20;

/// Every list of sources and its field: the recipe's, and those that stages have of their own.
fn lists<'a>(case: &Case<'a>) -> Vec<(Field, &'a [Source])> {
    let own = |(index, stage): (usize, &'a Stage)| (Field::new("train").index(index).key("data"), &stage.data[..]);
    let stages = case.recipe.train.iter().enumerate().map(own);
    [(Field::new("data"), &case.recipe.data[..])].into_iter().chain(stages).collect()
}

fn in_range(share: f64) -> bool {
    share > 0.0 && share <= 1.0
}

/// A source gives some of the text, at most all of it.
fn share_range(case: &Case) -> Vec<Finding> {
    let wrong = |field: Field, share: f64| {
        let message = format!("a share of {} is out of (0%, 100%]", percent(share));
        (!in_range(share))
            .then(|| Finding::new(field.key("share"), message, "write a positive share, or leave the source out"))
    };
    let sources = lists(case).into_iter().flat_map(|(list, sources)| numbered(list, sources));
    sources.filter_map(|(field, source)| wrong(field, source.share?)).collect()
}

/// Shares divide the text; sources without one divide what the others leave.
fn share_sum(case: &Case) -> Vec<Finding> {
    lists(case).into_iter().filter_map(|(field, sources)| wrong_sum(field, sources)).collect()
}

fn wrong_sum(field: Field, sources: &[Source]) -> Option<Finding> {
    let written: Vec<f64> = sources.iter().filter_map(|source| source.share).collect();
    if sources.is_empty() || !written.iter().all(|share| in_range(*share)) {
        return None;
    }
    let sum: f64 = written.iter().sum();
    let message = match sources.len() - written.len() {
        0 if (sum - 1.0).abs() > SUM_TOLERANCE => format!("shares sum to {}", percent(sum)),
        1.. if sum >= 1.0 => format!("shares sum to {}, nothing is left for a source without one", percent(sum)),
        _ => return None,
    };
    Some(Finding::new(field, message, "write shares that sum to 100%, or leave one out"))
}

/// A glob or a field without a letter names nothing.
fn empty_source(case: &Case) -> Vec<Finding> {
    let finding = |(field, source): (Field, &Source)| {
        let (what, help) = empty(&source.kind)?;
        Some(Finding::new(field, format!("an empty {what} names nothing"), format!("write {help}")))
    };
    let sources = lists(case).into_iter().flat_map(|(list, sources)| numbered(list, sources));
    sources.filter_map(finding).collect()
}

/// What of a source is empty, and one where it is not. Without a configuration the usual one is read.
fn empty(kind: &SourceKind) -> Option<(&'static str, &'static str)> {
    let (words, example): (&[(&str, &str)], _) = match kind {
        SourceKind::Text { glob } => (&[("glob", glob)], "text(\"corpus/*.txt\")"),
        SourceKind::Jsonl { glob, field } => {
            (&[("glob", glob), ("field", field)], "jsonl(\"corpus/*.jsonl\", field = \"text\")")
        }
        SourceKind::Parquet { glob, field } => {
            (&[("glob", glob), ("field", field)], "parquet(\"corpus/*.parquet\", field = \"text\")")
        }
        SourceKind::Chat { glob, field } => {
            (&[("glob", glob), ("field", field)], "chat(\"chats/*.jsonl\", field = \"messages\")")
        }
        SourceKind::Dataset { path, split, field, .. } => (
            &[("directory", path), ("split", split), ("field", field)],
            "dataset(\"wiki\", split = \"train\", field = \"text\")",
        ),
        SourceKind::Passkey | SourceKind::Qa => return None,
    };
    let (what, _) = words.iter().find(|(_, word)| word.trim().is_empty())?;
    Some((what, example))
}

/// Long documents come at least as often as the others, and something says which are long; generated ones are as long as asked for.
fn upsample_range(case: &Case) -> Vec<Finding> {
    let wrong = |source: &Source| match (source.upsample, source.times) {
        (Some(_), _) | (_, Some(_)) if source.kind.is_generated() => {
            Some(("upsample", "generated documents are as long as the sequence".to_owned(), "leave it out"))
        }
        (Some(_), Some(times @ (0 | 1_001..))) => {
            Some(("times", format!("long documents {times} times in an epoch is out of 1 to 1000"), "write times = 5"))
        }
        (None, Some(times)) => Some((
            "times",
            format!("nothing says which documents come {times} times"),
            "write upsample = 32K beside it",
        )),
        _ => None,
    };
    let sources = lists(case).into_iter().flat_map(|(list, sources)| numbered(list, sources));
    let finding = |(field, source): (Field, &Source)| {
        let (key, message, help) = wrong(source)?;
        Some(Finding::new(field.key(key), message, help))
    };
    sources.filter_map(finding).collect()
}

/// A document asks something, at most as much as it has people for, and says it inside itself.
fn exam_range(case: &Case) -> Vec<Finding> {
    let wrong = |source: &Source| match (source.asked, source.depth) {
        (Some(asked), _) if !(1..=MOST_ASKED).contains(&asked) => {
            let key = if source.kind == SourceKind::Qa { "questions" } else { "keys" };
            Some((key, format!("a document asks {asked} questions; 1 to {MOST_ASKED} are possible"), "write 5 or 10"))
        }
        (_, Some((from, to))) if !(0.0 <= from && from <= to && to <= 1.0) => Some((
            "depth",
            format!("answers cannot be said between {} and {} of a document", percent(from), percent(to)),
            "write two shares in order, such as (5%, 95%)",
        )),
        _ => None,
    };
    let sources = lists(case).into_iter().flat_map(|(list, sources)| numbered(list, sources));
    let finding = |(field, source): (Field, &Source)| {
        let (key, message, help) = wrong(source)?;
        Some(Finding::new(field.key(key), message, help))
    };
    sources.filter_map(finding).collect()
}

/// Generated documents are as long as the sequence; there is no short text in them to replay.
fn replay_generated(case: &Case) -> Vec<Finding> {
    let sources = lists(case).into_iter().flat_map(|(list, sources)| numbered(list, sources));
    let wrong = sources.filter(|(_, source)| source.replay && source.kind.is_generated());
    let message = "generated documents are as long as the sequence, there is no short text to replay";
    let help = "replay files, such as replay(text(\"short/*.txt\"))";
    wrong.map(|(field, _)| Finding::new(field, message.into(), help)).collect()
}

/// A glob whose end names another format would fail on its first file.
fn word_of_format(case: &Case) -> Vec<Finding> {
    let finding = |(field, source): (Field, &Source)| {
        let (word, glob, other) = misread(&source.kind)?;
        Some(Finding::new(field, format!("{word} does not read {glob:?}"), format!("write {other}")))
    };
    let sources = lists(case).into_iter().flat_map(|(list, sources)| numbered(list, sources));
    sources.filter_map(finding).collect()
}

/// The word that is written, its glob, and the source that the glob's end asks for.
fn misread(kind: &SourceKind) -> Option<(&'static str, &str, String)> {
    let lines = |glob: &str| [".jsonl", ".jsonl.gz", ".jsonl.zst"].iter().any(|end| glob.ends_with(end));
    match kind {
        SourceKind::Text { glob } if glob.ends_with(".parquet") => Some(("text", glob, format!("parquet({glob:?})"))),
        SourceKind::Jsonl { glob, field } if glob.ends_with(".parquet") => {
            Some(("jsonl", glob, format!("parquet({glob:?}, field = {field:?})")))
        }
        SourceKind::Parquet { glob, field } if lines(glob) => {
            Some(("parquet", glob, format!("jsonl({glob:?}, field = {field:?})")))
        }
        _ => None,
    }
}

/// The sources of a list, each with its field.
fn numbered(list: Field, sources: &[Source]) -> impl Iterator<Item = (Field, &Source)> {
    sources.iter().enumerate().map(move |(index, source)| (list.index(index), source))
}
