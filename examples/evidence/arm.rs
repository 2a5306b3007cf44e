//! What is tried: arms, and what each measures.

use context_recipe::plan::Plan;
use context_recipe::report::{number, plan_words};
use context_recipe::train::digest_of;

/// One thing that is tried, seed by seed.
pub(crate) struct Arm {
    /// Its file's name, within its claim.
    pub(crate) name: String,
    /// What the page calls it.
    pub(crate) label: String,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    /// The embedded base, trained or not, then read.
    Trial(Box<Trial>),
    /// Clocked plans, in turns.
    Pace(Pace),
    /// The real model, read under one law.
    Law(Box<Law>),
    /// The real model, trained for as long as is asked for.
    Long(Box<Long>),
}

/// Training on the embedded base.
pub(crate) struct Trial {
    pub(crate) plan: Plan,
    pub(crate) text: Reads,
    /// Factors for `longrope` are searched for first.
    pub(crate) search: Option<Search>,
    /// Steps after which it is read, all stages together; 0 is before training.
    pub(crate) after: Vec<usize>,
    pub(crate) readings: Vec<Reading>,
}

/// What training reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Generated chronicles, as in a rehearsal.
    Chronicles,
    /// The same text, but no query sees beyond its own group: groups that do not shift.
    Groups {
        /// Tokens of a group.
        size: usize,
    },
    /// Chronicles written to files first: only files can be selected from, packed and replayed.
    Files {
        /// Tokens of a document, at most.
        longest: usize,
    },
}

/// LongRoPE's search, sized for a base that reads a document in no time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) population: usize,
    pub(crate) iterations: usize,
    /// Documents that judge a list of factors.
    pub(crate) documents: usize,
}

/// How trained weights are read.
pub(crate) struct Reading {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    /// Tokens.
    pub(crate) lengths: Vec<usize>,
    /// Whether the effective window is measured at the longest.
    pub(crate) k_max: bool,
    pub(crate) heads: Heads,
}

/// Which heads keep the whole context, where gates were learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Heads {
    /// The plan says it.
    Planned,
    /// Those with the largest gates; the share streams.
    Learned(f64),
    /// Drawn ones.
    Drawn(f64),
    /// Those with the smallest gates.
    Inverted(f64),
}

/// Two or more plans that are clocked in turns.
pub(crate) struct Pace {
    /// Name and plan; ratios are to the first.
    pub(crate) plans: Vec<(String, Plan)>,
    /// Tokens of a sequence.
    pub(crate) length: usize,
    /// Turns, of which the median counts.
    pub(crate) turns: usize,
    /// Whether a training step is clocked too.
    pub(crate) step: bool,
}

/// The real model under one law, on the novel that nothing is trained on.
pub(crate) struct Law {
    pub(crate) plan: Plan,
    pub(crate) length: usize,
    pub(crate) documents: usize,
}

/// Training of the real model, as many steps as fit in the time that is given.
pub(crate) struct Long {
    pub(crate) plan: Plan,
    /// Novels' file names that are trained on.
    pub(crate) novels: &'static [&'static str],
    pub(crate) lengths: Vec<usize>,
    /// Exams read at each length.
    pub(crate) exams: usize,
}

impl Arm {
    pub(crate) fn trial(name: &str, label: &str, trial: Trial) -> Self {
        Self { name: name.to_owned(), label: label.to_owned(), work: Work::Trial(Box::new(trial)) }
    }

    /// All that decides its figures but the seed, in words.
    pub(crate) fn setting(&self) -> Vec<String> {
        match &self.work {
            Work::Trial(trial) => trial.setting(),
            Work::Pace(pace) => pace.setting(),
            Work::Law(law) => {
                let pieces = format!("{} pieces of {} tokens of Persuasion", law.documents, number::tokens(law.length));
                with("SmolLM2-135M", &law.plan, [pieces])
            }
            Work::Long(long) => {
                let novels = format!("trained on {}, read on Persuasion", long.novels.join(", "));
                let exams = format!("{} exams at each of {}", long.exams, number::token_list(&long.lengths));
                with("SmolLM2-135M", &long.plan, [novels, exams])
            }
        }
    }

    /// What a record has to carry to be of this arm.
    pub(crate) fn digest(&self) -> String {
        digest_of(&self.setting())[..16].to_owned()
    }

    /// Whether it is of the real model, which is not in this repository.
    pub(crate) fn real(&self) -> bool {
        matches!(self.work, Work::Law(_) | Work::Long(_))
    }

    /// Whether its figures are times, so that nothing else may run beside it.
    pub(crate) fn clocked(&self) -> bool {
        matches!(self.work, Work::Pace(_))
    }

    /// Seeds that make a difference to it.
    pub(crate) fn seeds(&self, wanted: u64) -> u64 {
        if self.real() || self.clocked() { 1 } else { wanted }
    }
}

fn with<const N: usize>(model: &str, plan: &Plan, more: [String; N]) -> Vec<String> {
    [model.to_owned()].into_iter().chain(plan_words(plan)).chain(more).collect()
}

impl Trial {
    fn setting(&self) -> Vec<String> {
        let mut lines = with("embedded base", &self.plan, []);
        match self.text {
            Reads::Chronicles => {}
            Reads::Groups { size } => lines.push(format!("queries see their own group of {size} tokens")),
            Reads::Files { longest } => lines.push(format!("chronicles of {longest} tokens at most, in files")),
        }
        if let Some(Search { population, iterations, documents }) = self.search {
            lines.push(format!("factors searched: {population} lists, {iterations} rounds, {documents} documents"));
        }
        lines.push(format!("read after {:?} steps", self.after));
        for reading in &self.readings {
            let Reading { name, plan, lengths, k_max, heads } = reading;
            let heads = if *heads == Heads::Planned { String::new() } else { format!(", heads {heads:?}") };
            let k_max = if *k_max { ", k_max" } else { "" };
            let words = plan_words(plan)[1..3].join(", ");
            lines.push(format!("reading {name}: {words}{heads}, at {}{k_max}", number::token_list(lengths)));
        }
        lines
    }
}

impl Pace {
    fn setting(&self) -> Vec<String> {
        let mut lines = vec![format!("{} tokens, median of {} turns", number::tokens(self.length), self.turns)];
        if self.step {
            lines.push("a training step, a prompt, a token".to_owned());
        }
        for (name, plan) in &self.plans {
            lines.push(format!("{name}: {}", plan_words(plan)[..4].join(", ")));
        }
        lines
    }
}
