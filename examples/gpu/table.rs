//! What was measured, line by line: beside a limit of the machine, beside PyTorch, and beside what it is meant to reach.

use serde::Serialize;

use crate::peers::Peers;

/// What stands beside a rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Limits {
    /// Bytes a second, read and written, of a copy.
    pub(crate) copy: f64,
    /// FLOP a second of a product of bf16 matrices.
    pub(crate) products: f64,
}

/// What a case's work is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Work {
    Bytes(f64),
    Flops(f64),
}

/// What a case is meant to reach, and of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Share of the limit.
    Limit(f64),
    /// Times PyTorch's `FLASH_ATTENTION` backend; nothing is said without PyTorch.
    Flash(f64),
    /// Of something else that was measured here: how much, what is meant, of what.
    Other(f64, f64, &'static str),
    /// It only stands here.
    None,
}

#[derive(Debug, Serialize)]
struct Case {
    name: String,
    milliseconds: f64,
    /// Bytes or FLOP a second.
    rate: f64,
    of_limit: f64,
    /// Times as fast as PyTorch's backend of this name.
    flash: Option<f64>,
    cudnn: Option<f64>,
    goal: Option<Reached>,
}

#[derive(Debug, Serialize)]
struct Reached {
    of: &'static str,
    meant: f64,
    reached: f64,
}

/// Everything that `bench` found.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) device: String,
    pub(crate) limits: Limits,
    #[serde(skip)]
    peers: Peers,
    cases: Vec<Case>,
}

impl Table {
    pub(crate) fn new(device: String, limits: Limits, peers: Peers) -> Self {
        println!("copy {:.0} GB/s, products of bf16 {:.0} TFLOP/s", limits.copy / 1e9, limits.products / 1e12);
        let heads = ["case", "ms", "rate", "of limit", "x flash", "x cuDNN"];
        println!(
            "\n{:<56} {:>10} {:>12} {:>9} {:>8} {:>8}  meant",
            heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]
        );
        Self { device, limits, peers, cases: vec![] }
    }

    /// Notes and prints a case.
    pub(crate) fn add(&mut self, name: &str, seconds: f64, work: Work, goal: Goal) {
        let (amount, limit) = match work {
            Work::Bytes(bytes) => (bytes, self.limits.copy),
            Work::Flops(flops) => (flops, self.limits.products),
        };
        let beside = |label| Some(self.peers.get(&labelled(name, label))? / (seconds * 1e3));
        let (rate, flash, cudnn) = (amount / seconds, beside(""), beside(", cuDNN"));
        let goal = match goal {
            Goal::Limit(meant) => Some(Reached { of: "of the limit", meant, reached: rate / limit }),
            Goal::Flash(meant) => flash.map(|reached| Reached { of: "of PyTorch's flash", meant, reached }),
            Goal::Other(reached, meant, of) => Some(Reached { of, meant, reached }),
            Goal::None => None,
        };
        let case = Case {
            name: name.to_owned(),
            milliseconds: seconds * 1e3,
            rate,
            of_limit: rate / limit,
            flash,
            cudnn,
            goal,
        };
        println!("{}", case.line(matches!(work, Work::Bytes(_))));
        self.cases.push(case);
    }

    /// Seconds of a case that was measured.
    pub(crate) fn seconds(&self, name: &str) -> Option<f64> {
        self.cases.iter().find(|case| case.name == name).map(|case| case.milliseconds / 1e3)
    }

    /// How many of those that are meant to reach something do.
    pub(crate) fn verdict(&self) -> String {
        let goals: Vec<&Reached> = self.cases.iter().filter_map(|case| case.goal.as_ref()).collect();
        let held = goals.iter().filter(|goal| goal.reached >= goal.meant).count();
        format!("{held} of {} reach what they are meant to", goals.len())
    }
}

impl Case {
    fn line(&self, bytes: bool) -> String {
        let (scale, unit) = if bytes { (1e9, "GB/s") } else { (1e12, "TFLOP/s") };
        let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let goal = self.goal.as_ref().map_or_else(String::new, |goal| {
            let short = if goal.reached >= goal.meant { "" } else { "  SHORT" };
            format!("{:.2} (>= {:.2}) {}{short}", goal.reached, goal.meant, goal.of)
        });
        let Self { name, milliseconds, rate, of_limit, .. } = self;
        format!(
            "{name:<56} {milliseconds:>10.3} {:>6.0} {unit:<7} {:>6.0}% {:>8} {:>8}  {goal}",
            rate / scale,
            100.0 * of_limit,
            times(self.flash),
            times(self.cudnn)
        )
        .trim_end()
        .to_owned()
    }
}

/// As benches/peers/gpu.py names a case of another backend: its label stands before what follows the sizes.
fn labelled(name: &str, label: &str) -> String {
    match name.split_once(", gradients") {
        Some((case, rest)) => format!("{case}{label}, gradients{rest}"),
        None => format!("{name}{label}"),
    }
}
