//! One command line for every recipe.

// `output` says why.
#![deny(clippy::print_stderr, clippy::print_stdout)]

#[macro_use]
mod output;

mod analyse;
mod args;
mod check;
mod data;
mod eval;
mod export;
mod generate;
mod interrupt;
mod load;
mod logits;
mod machine;
mod overrides;
mod plan;
mod rehearse;
mod search;
mod sources;
mod train;
mod trained;

use clap::{CommandFactory, Parser};

use crate::train::Error as TrainError;
use crate::{Error, Recipe, Result};
use args::{Cli, Command, PlanArgs, RehearseArgs};

/// The program of recipe `R`: reads the command line and does what it says.
///
/// # Errors
/// Whatever the command fails with; its `Debug` form is a readable report, so that `fn main() -> Result<()>` prints it. A
/// training that Ctrl-C stopped ends the program here, with status 130.
pub fn main<R: Recipe>() -> Result<()> {
    match run::<R>(Cli::parse()) {
        Err(Error::Train(stopped @ TrainError::Stopped { .. })) => {
            tell!("{stopped}");
            std::process::exit(interrupt::STATUS);
        }
        done => done,
    }
}

fn run<R: Recipe>(cli: Cli) -> Result<()> {
    let plan = R::PLAN;
    match cli.command {
        None => {
            plan::run(&plan, &PlanArgs::default())?;
            rehearse::run::<R>(&RehearseArgs::default())
        }
        Some(Command::Plan(args)) => plan::run(&plan, &args),
        Some(Command::Check(args)) => check::run(&plan, &args),
        Some(Command::Data(args)) => data::run(&plan, &args),
        Some(Command::Rehearse(args)) => rehearse::run::<R>(&args),
        Some(Command::Train(args)) => train::run(&plan, &args),
        Some(Command::Eval(args)) => eval::run(&plan, &args),
        Some(Command::Analyse(args)) => analyse::run(&plan, &args),
        Some(Command::Generate(args)) => generate::run(&plan, &args),
        Some(Command::Logits(args)) => logits::run(&plan, &args),
        Some(Command::Export(args)) => export::run(&plan, &args),
        Some(Command::Search(args)) => search::run(&plan, &args),
        Some(Command::Completions(args)) => {
            let mut script = vec![];
            clap_complete::generate(args.shell, &mut Cli::command(), program(), &mut script);
            output::print(String::from_utf8_lossy(&script))
        }
    }
}

/// The name that this program was started by.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    path.file_stem().map_or_else(|| "recipe".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Prints one JSON object on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    say!("{}", serde_json::to_string(value).map_err(|error| Error::usage(error.to_string()))?)
}
