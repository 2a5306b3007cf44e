//! `docs/evidence.md` and its plots, from the files.

use std::fs;
use std::path::Path;

use context_recipe::report::number::{self, duration};
use context_recipe::report::{Align, Table};

use super::claims::{Claim, Part, Shown, Verdict};
use super::findings;
use super::record::Record;
use super::results::Results;

const HEAD: &str = "# Evidence

The field's claims, tried at a size that a person can run: on the embedded base (1.3 M parameters, 256 tokens), whose \
text is generated, and where a row says ★ on SmolLM2-135M (8K) with novels. Figures are means over seeds, ± half of the \
way from the lowest to the highest; losses are nats per token, and where nothing else is said those of the last quarter \
of a text; keys are recalled whole or not, five in a document. Where the last column says one seed, \
differences in recall below ten points mean little: 80 keys are asked for at 2K, 30 at 8K. FLOPs count every pair that a \
pattern shows; pairs that document borders hide are not taken off. What holds at this size may not hold at 7B, and the \
other way round: a verdict is about this size. Negative results stay.

Written from `docs/evidence/*.json`, a file for each claim, arm and seed, by

```text
cargo run --release --example evidence -- all
```

which runs what is missing or stale. `-- NAME` runs one claim, `-- page` only writes this page.

";

/// The page and its plots by file name.
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) plots: Vec<(String, String)>,
    /// What README.md quotes.
    pub(crate) found: String,
}

pub(crate) fn page(claims: &[Claim], records: &[Record]) -> Page {
    let shown: Vec<(&Claim, Results, Shown)> = claims
        .iter()
        .map(|claim| {
            let results = results(claim, records);
            let mut shown = (claim.show)(&results);
            if shown.verdict == Verdict::Open {
                // Half of the figures make no sentence.
                shown.ours = "–".to_owned();
                shown.why =
                    "Some of the arms that decide it are still to be run; what is there stands below.".to_owned();
            }
            (claim, results, shown)
        })
        .collect();
    let mut page = Page { text: HEAD.to_owned(), plots: vec![], found: String::new() };
    let found = findings::before_choosing(claims, records);
    if !found.is_empty() {
        page.text += &format!("## Before choosing\n\n{found}\n");
    }
    page.text += "## All claims\n\n";
    page.found = found;
    page.text += &overview(&shown);
    for (claim, results, shown) in &shown {
        section(claim, results, shown, &mut page);
    }
    page
}

/// The records of a claim that its arms would measure now.
pub(crate) fn results<'r>(claim: &Claim, records: &'r [Record]) -> Results<'r> {
    let current = |record: &&Record| {
        record.claim == claim.name && claim.arms.iter().any(|arm| arm.name == record.arm && record.is_of(arm))
    };
    Results { records: records.iter().filter(current).collect() }
}

fn overview(shown: &[(&Claim, Results, Shown)]) -> String {
    let columns = ["claim", "original", "here", "verdict", "cost"].map(|head| (head, Align::Left));
    let mut table = Table::new(columns);
    for (claim, results, shown) in shown {
        let link = format!("[{}](#{})", claim.title, anchor(claim.title));
        table.row([link, claim.brief.to_owned(), shown.ours.clone(), shown.verdict.words().to_owned(), cost(results)]);
    }
    // A cell's brackets are no link to a table; these are.
    table.to_markdown().replace("\\[", "[").replace("\\]", "]") + "\n"
}

/// GitHub's, of a heading.
fn anchor(title: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || letter == '-' => Some(letter.to_ascii_lowercase()),
        _ => None,
    };
    title.chars().filter_map(letter).collect()
}

/// Arms, seeds, work and time of a claim; figures that another claim measured too cost nothing.
fn cost(results: &Results) -> String {
    let own = results.records.iter().filter(|record| !record.values.contains_key("measured before"));
    let (flops, seconds, runs) = own.fold((0.0, 0.0, 0), |(flops, seconds, runs), record| {
        (flops + record.cost.train_flops, seconds + record.cost.cpu_seconds, runs + 1)
    });
    if runs == 0 {
        return "–".to_owned();
    }
    let training = if flops > 0.0 { format!("{} of training, ", number::flops(flops)) } else { String::new() };
    let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    format!("{runs}, {training}{} of core time", duration(seconds))
}

fn section(claim: &Claim, results: &Results, shown: &Shown, page: &mut Page) {
    let Claim { name, title, source, original, setting, .. } = claim;
    let commits: std::collections::BTreeSet<&str> = results.records.iter().map(|record| &record.commit[..]).collect();
    let commits: Vec<&str> = commits.into_iter().collect();
    page.text += &format!(
        "## {title}\n\n**Claim** ({source}): {original}.\n\n**Here**: {setting}\n\n**Verdict: {}.** {}\n\n",
        shown.verdict.words(),
        shown.why
    );
    for part in &shown.parts {
        match part {
            Part::Words(words) => page.text += &format!("{words}\n\n"),
            Part::Table(table) => page.text += &format!("{}\n", table.to_markdown()),
            Part::Plot { name: plot, says, svg } => {
                let file = format!("{name}-{plot}.svg");
                page.text += &format!("![{says}](evidence/{file})\n\n");
                page.plots.push((file, svg.clone()));
            }
        }
    }
    page.text += &format!("`cargo run --release --example evidence -- {name}`; {}", cost(results));
    page.text += &if commits.is_empty() { ".\n\n".to_owned() } else { format!("; at {}.\n\n", commits.join(", ")) };
}

/// Writes the page, its plots, and removes plots that it no longer shows.
pub(crate) fn write(page: &Page, docs: &Path) -> Result<(), String> {
    let folder = docs.join("evidence");
    let said = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&folder).map_err(|error| said(&folder, error))?;
    for file in fs::read_dir(&folder).map_err(|error| said(&folder, error))?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".svg") && !page.plots.iter().any(|(plot, _)| *plot == name) {
            fs::remove_file(file.path()).map_err(|error| said(&file.path(), error))?;
        }
    }
    let text = page.text.trim_end().to_owned() + "\n";
    let files = page.plots.iter().map(|(name, svg)| (folder.join(name), svg));
    for (path, text) in files.chain([(docs.join("evidence.md"), &text)]) {
        fs::write(&path, text).map_err(|error| said(&path, error))?;
    }
    quote(&page.found, &docs.join("../README.md"))
}

/// The findings between the marks of a file that has them.
fn quote(found: &str, path: &Path) -> Result<(), String> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let [begin, end] = findings::MARKS;
    let Some((head, (_, tail))) = text.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?)))
    else {
        return Ok(());
    };
    fs::write(path, format!("{head}{begin}{found}{end}{tail}")).map_err(|error| format!("{}: {error}", path.display()))
}
