//! The field's claims, tried at a size that a person can run; `docs/evidence.md` is written from what comes out.
//!
//! ```text
//! cargo run --release --example evidence -- --list
//! cargo run --release --example evidence -- position-interpolation --seeds 1
//! cargo run --release --example evidence -- all --model SMOLLM2 --text NOVELS
//! ```

pub(crate) mod arm;
pub(crate) mod claims;
pub(crate) mod findings;
mod interrupt;
mod pace;
pub(crate) mod page;
mod peers;
mod real;
pub(crate) mod record;
mod results;
mod run;
mod search;
mod text;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;

use arm::{Arm, Work};
use claims::Claim;
use record::Record;
use run::Place;

/// Runs what is missing or stale of a claim's arms, seed by seed, and writes docs/evidence.md.
#[derive(Parser)]
#[command(name = "evidence", after_help = EXAMPLES)]
struct Cli {
    /// A claim by name, `all`, or `page` to write the page alone.
    #[arg(required_unless_present = "list")]
    claim: Option<String>,
    /// All claims and their arms, and which are measured.
    #[arg(long)]
    list: bool,
    /// Seeds from 0 on.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Only arms whose name holds this; `pace` are those that clock, for a machine at rest.
    #[arg(long)]
    only: Option<String>,
    /// No arm whose name holds this.
    #[arg(long)]
    without: Option<String>,
    /// Measured again, whatever there is.
    #[arg(long)]
    fresh: bool,
    /// A folder with SmolLM2-135M, for ★.
    #[arg(long)]
    model: Option<PathBuf>,
    /// A folder with the novels, for ★: trained on four, read on persuasion.txt.
    #[arg(long)]
    text: Option<PathBuf>,
    /// How long ★ training takes in all calls together, if all cores are free for it; without it those arms are left out.
    /// Called again, it goes on from its last step.
    #[arg(long)]
    hours: Option<f64>,
    /// Where ★ training keeps itself.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// The commit that records name; the checkout's without it.
    #[arg(long)]
    commit: Option<String>,
    /// The documents' folder.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))]
    docs: PathBuf,
}

const EXAMPLES: &str = "Examples:
  evidence position-interpolation --seeds 1
  evidence all --model $SMOLLM2 --text novels/
  evidence all --only pace --fresh
  evidence all --without pace --seeds 1
  evidence longrecipe --only smollm2 --model $SMOLLM2 --text novels/ --hours 2
  evidence page";

fn main() -> ExitCode {
    let cli = Cli::parse();
    interrupt::watch();
    match act(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if interrupt::asked() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn act(cli: &Cli) -> Result<(), String> {
    let claims = claims::all();
    let folder = cli.docs.join("evidence");
    if cli.list {
        return list(&claims, &Record::all(&folder)?, cli.seeds);
    }
    let wanted = cli.claim.as_deref().unwrap_or_default();
    if !["all", "page"].contains(&wanted) && !claims.iter().any(|claim| claim.name == wanted) {
        let names: Vec<&str> = claims.iter().map(|claim| claim.name).collect();
        return Err(format!("no claim {wanted:?}; there are {}, all and page", names.join(", ")));
    }
    let chosen = claims.iter().filter(|claim| wanted == "all" || claim.name == wanted);
    let jobs: Vec<(&Claim, &Arm)> = chosen.flat_map(|claim| claim.arms.iter().map(move |arm| (claim, arm))).collect();
    let done = measure(cli, &folder, &jobs);
    let records = Record::all(&folder)?;
    page::write(&page::page(&claims, &records), &cli.docs)?;
    eprintln!("page {}", cli.docs.join("evidence.md").display());
    done
}

/// Seed by seed, so that every row of the page is filled early.
fn measure(cli: &Cli, folder: &Path, jobs: &[(&Claim, &Arm)]) -> Result<(), String> {
    let commit = cli.commit.clone().unwrap_or_else(commit);
    for seed in 0..cli.seeds {
        for &(claim, arm) in jobs.iter().filter(|(_, arm)| seed < arm.seeds(cli.seeds) && chosen(cli, arm)) {
            let name = format!("{} {} seed {seed}", claim.name, arm.name);
            if let Some(reason) = left_out(cli, arm) {
                eprintln!("{name}: left out, {reason}");
                continue;
            }
            let records = Record::all(folder)?;
            let kept = records.iter().find(|it| it.claim == claim.name && it.arm == arm.name && it.seed == seed);
            let again = cli.fresh || matches!(arm.work, Work::Long(_));
            if kept.is_some_and(|record| record.is_of(arm)) && !again {
                eprintln!("{name}: measured");
                continue;
            }
            let place = Place {
                claim: claim.name,
                commit: &commit,
                model: cli.model.as_deref(),
                novels: cli.text.as_deref(),
                runs: &cli.runs,
                hours: cli.hours.unwrap_or_default(),
                earlier: kept.filter(|record| record.is_of(arm)),
            };
            let twin = records.iter().find(|it| it.is_of(arm) && it.seed == seed && !cli.fresh && !arm.real());
            let record = match twin {
                Some(twin) => borrowed(twin, claim, arm),
                None => {
                    eprintln!("{name}: {}", arm.label);
                    run::run(arm, seed, &place).map_err(|error| format!("{name}: {error}"))?
                }
            };
            eprintln!("{}", record.write(folder)?.display());
        }
    }
    Ok(())
}

/// What another claim measured under the same setting and seed.
fn borrowed(twin: &Record, claim: &Claim, arm: &Arm) -> Record {
    let mut record = Record { claim: claim.name.to_owned(), arm: arm.name.clone(), ..twin.clone() };
    record.values.insert("measured before".to_owned(), 1.0);
    record
}

fn chosen(cli: &Cli, arm: &Arm) -> bool {
    let holds = |part: &String| arm.name.contains(part.as_str());
    cli.only.as_ref().is_none_or(holds) && !cli.without.as_ref().is_some_and(holds)
}

/// Why an arm cannot run now.
fn left_out(cli: &Cli, arm: &Arm) -> Option<&'static str> {
    match arm.work {
        Work::Law(_) | Work::Long(_) if cli.model.is_none() || cli.text.is_none() => {
            Some("it needs --model DIR with SmolLM2-135M and --text DIR with the novels")
        }
        Work::Long(_) if cli.hours.is_none() => Some("it trains for as long as --hours says"),
        _ => None,
    }
}

fn list(claims: &[Claim], records: &[Record], seeds: u64) -> Result<(), String> {
    for claim in claims {
        println!("{}: {}", claim.name, claim.title);
        for arm in &claim.arms {
            let of = |record: &&Record| record.claim == claim.name && record.arm == arm.name;
            let current = records.iter().filter(of).filter(|record| record.is_of(arm)).count() as u64;
            let stale = records.iter().filter(of).count() as u64 - current;
            let stale = if stale > 0 { format!(", {stale} stale") } else { String::new() };
            println!("  {:28} {current} of {} seeds{stale}  {}", arm.name, arm.seeds(seeds), arm.label);
        }
    }
    Ok(())
}

/// Of the checkout, marked where files differ from it.
fn commit() -> String {
    let git = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]).output();
    git.ok().and_then(|out| String::from_utf8(out.stdout).ok()).map_or_else(String::new, |text| text.trim().to_owned())
}
