//! What a plan reads: the recipe's `data`, or what `--data` names instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recipe_core::{Plan, SourceKind, SourcePlan, StagePlan, Text, readable_bytes};

use crate::data::{self, Corpora, Encoder, STDIN};
use crate::report::Progress;
use crate::{Error, Result};

/// A plan that nothing says what to read for.
pub(super) fn check(plan: &Plan, named: &[String]) -> Result<()> {
    if named.is_empty() && plan.data.is_empty() && plan.stages.iter().any(|stage| stage.data.is_empty()) {
        return Err(Error::usage(format!(
            "the recipe `{}` has no `data`; add `--data 'corpus/*.txt'` or write `data: [text(\"corpus/*.txt\")]`",
            plan.name
        )));
    }
    Ok(())
}

/// The plan with what it reads: the command line's names, in equal shares, stand for the recipe's `data`, and so for that of
/// every stage without its own. Standard input is kept in `cache`.
pub(super) fn with_data(plan: &Plan, named: &[String], cache: &Path) -> Result<Plan> {
    check(plan, named)?;
    if named.is_empty() {
        if reads_stdin(plan) {
            stdin(cache)?;
        }
        return Ok(plan.clone());
    }
    let share = 1.0 / named.len() as f64;
    let source = |name: &String| Ok(SourcePlan::new(kind(name, cache)?, share));
    let data: Vec<SourcePlan> = named.iter().map(source).collect::<Result<_>>()?;
    let stage = |stage: &StagePlan| match stage.data == plan.data {
        true => StagePlan { data: data.clone().into(), ..stage.clone() },
        false => stage.clone(),
    };
    let stages = plan.stages.iter().map(stage).collect();
    Ok(Plan { data: data.clone().into(), stages, ..plan.clone() })
}

/// Whether a recipe's own source is standard input.
pub(super) fn reads_stdin(plan: &Plan) -> bool {
    let lists = plan.stages.iter().map(|stage| &stage.data).chain([&plan.data]);
    let globs = lists.flat_map(|list| list.iter()).filter_map(|source| match &source.kind {
        SourceKind::Text { glob } | SourceKind::Jsonl { glob, .. } | SourceKind::Chat { glob, .. } => Some(glob),
        _ => None,
    });
    globs.into_iter().any(|glob| glob == STDIN)
}

/// The format that a name's end says.
fn kind(name: &str, cache: &Path) -> Result<SourceKind> {
    let (glob, field): (Text, Text) = (name.to_owned().into(), "text".into());
    let lines = match name {
        STDIN => stdin(cache)?,
        _ => match data::format_of(Path::new(name)) {
            data::Named::Directory => {
                return Ok(SourceKind::Dataset { path: glob, split: "train".into(), config: "".into(), field });
            }
            data::Named::Parquet => return Ok(SourceKind::Parquet { glob, field }),
            data::Named::Lines => true,
            data::Named::Text => false,
        },
    };
    Ok(if lines { SourceKind::Jsonl { glob, field } } else { SourceKind::Text { glob } })
}

/// Keeps standard input in `cache`, says so, and tells whether it is JSON lines.
fn stdin(cache: &Path) -> Result<bool> {
    let found = data::spooled(cache)?;
    let (path, bytes) = (found.path.display(), readable_bytes(found.bytes));
    let form = if found.lines { "JSON lines" } else { "one text" };
    match found.before {
        true => tell!(
            "note: standard input was kept before ({path}, {bytes}, {form}); what is piped in now is not read: another text is \
             another --out"
        ),
        false => tell!("note: standard input is {form}, {bytes}, kept in {path}"),
    }
    Ok(found.lines)
}

/// The sources of all stages; progress is shown where text has to be tokenised.
pub(super) fn opened(plan: &Plan, encoder: &Arc<Encoder>, cache: &Path) -> Result<Corpora> {
    let (mut progress, mut last) = (None, (PathBuf::new(), 0));
    let corpora = Corpora::open(plan, encoder, cache, &mut |reading| {
        let before = if last.0 == reading.path { last.1 } else { 0 };
        last = (reading.path.to_owned(), reading.done);
        let progress = progress.get_or_insert_with(|| Progress::new("tokenise", "bytes", 0));
        progress.advance_with(reading.done.saturating_sub(before), &reading.path.display().to_string());
    })?;
    if let Some(progress) = progress {
        progress.finish("");
    }
    Ok(corpora)
}
