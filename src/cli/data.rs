//! `data`: what a run would read, before anything is trained.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recipe_core::{Plan, StagePlan};
use serde_json::{Value, json};

use super::args::DataArgs;
use super::{load, output, sources};
use crate::data::{Batch, Corpora, Encoder, Inventory, STDIN, Use, cache_dir};
use crate::hub::Header;
use crate::rehearse::Base;
use crate::report::{self, Sample};
use crate::{Error, Result, train};

/// Sequences that are shown.
const SAMPLES: u64 = 5;

/// Sequences in which a source is looked for.
const LOOKED: u64 = 1000;

/// Tokens of their beginning and end.
const SHOWN: usize = 24;

pub(super) fn run(plan: &Plan, args: &DataArgs) -> Result<()> {
    let cache = Cache::new(plan, args);
    let plan = sources::with_data(plan, &args.data, &cache.dir)?;
    if plan.stages.is_empty() {
        return Err(Error::usage(format!(
            "the recipe `{}` trains nothing; add `train: [extend(steps = 1000)]`",
            plan.name
        )));
    }
    let (encoder, tokenizer) = encoder(&plan, args)?;
    let corpora = sources::opened(&plan, &encoder, &cache.dir)?;
    let stages: Vec<Stage> = plan.stages.iter().map(|stage| Stage::new(stage, &corpora)).collect::<Result<_>>()?;
    let samples = samples(&stages, &corpora)?;
    if args.json {
        return super::print_json(&json_of(&plan, &tokenizer, &stages, &samples));
    }
    let notes = corpora.notes(&plan).into_iter().map(|note| format!("note: {note}\n")).collect::<String>();
    output::print(text_of(&tokenizer, &stages, &samples) + &notes)
}

/// Where tokens are kept: the run's folder where one is named, so that `train` finds them. Standard input is another text
/// every time, so without a run it is kept for this command alone.
struct Cache {
    dir: PathBuf,
    passing: bool,
}

impl Cache {
    fn new(plan: &Plan, args: &DataArgs) -> Self {
        let stdin = args.data.iter().any(|name| name == STDIN) || (args.data.is_empty() && sources::reads_stdin(plan));
        let dir = match &args.out {
            Some(out) => out.join("cache"),
            None if stdin => std::env::temp_dir().join(format!("context-recipe-data-{}", std::process::id())),
            None => cache_dir(),
        };
        Self { dir, passing: stdin && args.out.is_none() }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if self.passing {
            // What is left over in the temporary folder is the system's to clear away.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The model's tokenizer and its name, without its weights; or the embedded one.
fn encoder(plan: &Plan, args: &DataArgs) -> Result<(Arc<Encoder>, String)> {
    let Some(path) = &args.model else {
        tell!(
            "note: without --model the tokenizer is the embedded model's, which knows little more than letters: tokens and \
             lengths are not those of `{}`",
            plan.name
        );
        return Ok((Arc::new(Base::embedded()?.encoder()?), "the embedded model".to_owned()));
    };
    let header = Header::open(path)?;
    let tokenizer = header.tokenizer.as_ref().ok_or_else(|| no_tokenizer(path))?;
    let (tokens, vocab) = (tokenizer.vocab_size(), plan.model.vocab);
    if tokens > vocab {
        return Err(Error::usage(format!(
            "{}: its tokenizer has {tokens} tokens and the model of the recipe `{}` {vocab}: this is another model's. Give the \
             model that the recipe names",
            path.display(),
            plan.name
        )));
    }
    Ok((load::encoder_of(tokenizer)?, path.display().to_string()))
}

fn no_tokenizer(path: &Path) -> Error {
    Error::usage(format!(
        "{}: there is no tokenizer here; put the model's tokenizer.json beside its weights",
        path.display()
    ))
}

/// What a stage reads.
struct Stage<'a> {
    stage: &'a StagePlan,
    sources: Vec<Inventory>,
    uses: Vec<Use>,
    sequences: u64,
}

impl<'a> Stage<'a> {
    fn new(stage: &'a StagePlan, corpora: &Corpora) -> Result<Self> {
        let (corpus, sequences) = (corpora.of(stage)?, stage.steps.saturating_mul(stage.batch) as u64);
        Ok(Self { stage, sources: corpus.inventory(), uses: corpus.uses(stage.length, sequences), sequences })
    }

    fn words(&self, number: usize) -> String {
        format!("stage {} {}", number + 1, self.stage.kind.word())
    }
}

/// A sequence of a stage.
struct Drawn {
    stage: usize,
    index: u64,
    origin: String,
    batch: Batch,
    text: [String; 2],
}

/// Sequences spread evenly over the run, of each source in turn.
fn samples(stages: &[Stage<'_>], corpora: &Corpora) -> Result<Vec<Drawn>> {
    let total: u64 = stages.iter().map(|stage| stage.sequences).sum();
    let count = SAMPLES.min(total);
    let at = |sample: u64| (u128::from(total) * u128::from(sample) / u128::from(count)) as u64;
    (0..count).map(|sample| drawn(stages, sample as usize, at(sample), corpora)).collect()
}

/// The sequence at or soon behind `index` of the whole run that comes from the source whose turn it is to be shown.
fn drawn(stages: &[Stage<'_>], sample: usize, mut index: u64, corpora: &Corpora) -> Result<Drawn> {
    let mut stage = 0;
    while stage + 1 < stages.len() && index >= stages[stage].sequences {
        index -= stages[stage].sequences;
        stage += 1;
    }
    let reading = &stages[stage];
    let (corpus, wanted) = (corpora.of(reading.stage)?, sample % reading.sources.len().max(1));
    let near = index..reading.sequences.min(index + LOOKED);
    let index = near.clone().find(|&near| corpus.source_of(near) == wanted).unwrap_or(index);
    let batch = train::sequence(corpora, reading.stage, index)?;
    let origin = reading.sources[corpus.source_of(index)].origin.clone();
    let decode = |ids: &[u32]| corpora.encoder().tokenizer().decode(ids, false).unwrap_or_default();
    let some = SHOWN.min(batch.len());
    let text = [decode(&batch.tokens[..some]), decode(&batch.tokens[batch.len() - some..])];
    Ok(Drawn { stage, index, origin, batch, text })
}

fn text_of(tokenizer: &str, stages: &[Stage<'_>], samples: &[Drawn]) -> String {
    let mut out =
        format!("tokens are those of {tokenizer}; lengths count the tokens that begin and end a document\n\n");
    for (number, stage) in stages.iter().enumerate() {
        // Stages often read the same text; it is told once.
        let told = stages[..number].iter().position(|before| before.sources == stage.sources);
        if told.is_none() {
            let (held, lengths) = (report::inventory_table(&stage.sources), report::lengths_table(&stage.sources));
            out += &format!("{}\n{}\n", held.to_text(), lengths.to_text());
        }
        out += &format!("{}: {} sequences of {} tokens\n", stage.words(number), stage.sequences, stage.stage.length);
        out += &format!("{}\n", report::uses_table(&stage.sources, &stage.uses, stage.stage.length).to_text());
    }
    out += "no token is dropped: what a border cuts goes on in the next sequence, as a document of its own\n\n";
    for (number, drawn) in samples.iter().enumerate() {
        let stage = &stages[drawn.stage];
        let (words, of) = (stage.words(drawn.stage), stage.sequences);
        let title = format!("sample {}: {words}, sequence {} of {of}, {}", number + 1, drawn.index + 1, drawn.origin);
        let sample = Sample { title: &title, batch: &drawn.batch, text: [&drawn.text[0], &drawn.text[1]] };
        out += &format!("{}\n", report::sample_text(&sample));
    }
    out
}

fn json_of(plan: &Plan, tokenizer: &str, stages: &[Stage<'_>], samples: &[Drawn]) -> Value {
    let stage = |stage: &Stage<'_>| {
        let sources: Vec<Value> =
            stage.sources.iter().zip(&stage.uses).map(|(source, using)| source_json(source, using)).collect();
        json!({
            "stage": stage.stage.kind.word(), "sequences": stage.sequences, "length": stage.stage.length, "sources": sources,
        })
    };
    let sample = |drawn: &Drawn| {
        let documents: Vec<[usize; 2]> =
            report::documents(&drawn.batch).iter().map(|rows| [rows.start, rows.end - 1]).collect();
        json!({
            "stage": drawn.stage, "sequence": drawn.index, "source": drawn.origin, "tokens": drawn.batch.len(),
            "learned": drawn.batch.counted(), "positions": report::runs(&drawn.batch.positions), "documents": documents,
            "scale": drawn.batch.stretch, "begins": drawn.text[0], "ends": drawn.text[1],
        })
    };
    json!({
        "recipe": plan.name, "tokenizer": tokenizer,
        "stages": stages.iter().map(stage).collect::<Vec<_>>(), "samples": samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn source_json(source: &Inventory, using: &Use) -> Value {
    let held = source.held.as_ref().map(|held| {
        let (first, columns) = held.histogram();
        let columns = columns.iter().enumerate();
        let histogram: Vec<[u64; 3]> =
            columns.map(|(at, [documents, tokens])| [1 << (first + at as u32), *documents, *tokens]).collect();
        let percentile = |share: f64| held.percentile(share);
        json!({
            "files": held.files, "documents": held.lengths.len(), "empty": held.empty, "characters": held.characters,
            "tokens": held.tokens, "characters_per_token": held.characters_per_token(), "epoch_tokens": held.epoch,
            "selected": held.selected, "histogram": histogram,
            "lengths": {
                "min": percentile(0.0), "p10": percentile(0.1), "p50": percentile(0.5), "p90": percentile(0.9),
                "p99": percentile(0.99), "max": percentile(1.0),
            },
        })
    });
    json!({
        "source": source.origin, "share": source.share, "drawn": using.drawn, "sequences": using.sequences,
        "epochs": using.epochs, "documents_per_sequence": using.documents, "longer": using.longer, "cut": using.cut,
        "files": held,
    })
}
