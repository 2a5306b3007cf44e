//! The claims: each its original figures, its arms, and what is made of them.

mod dual_chunk;
mod duo_attention;
mod e2_llm;
mod longgen;
mod longlora;
mod longrecipe;
mod position_interpolation;
mod prolong;
mod qlora;
mod rope_laws;
pub(crate) mod toy;

use context_recipe::report::Table;

use super::arm::Arm;
use super::results::Results;

/// One claim.
pub(crate) struct Claim {
    /// On the command line and in file names.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) source: &'static str,
    /// The original figures that matter most, for a cell of a table.
    pub(crate) brief: &'static str,
    /// The original figures, as their source reports them.
    pub(crate) original: &'static str,
    /// How it is tried here.
    pub(crate) setting: String,
    pub(crate) arms: Vec<Arm>,
    pub(crate) show: fn(&Results) -> Shown,
}

/// What the records say about a claim.
pub(crate) struct Shown {
    /// The figures in a line.
    pub(crate) ours: String,
    pub(crate) verdict: Verdict,
    pub(crate) why: String,
    pub(crate) parts: Vec<Part>,
}

/// Of a claim's section.
pub(crate) enum Part {
    Words(String),
    Table(Table),
    /// An SVG file of this name.
    Plot {
        name: String,
        says: String,
        svg: String,
    },
}

impl Part {
    pub(crate) fn plot(name: &str, says: &str, svg: &str) -> Self {
        Self::Plot { name: name.to_owned(), says: says.to_owned(), svg: svg.to_owned() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    InPart,
    Not,
    /// An arm that decides it was not measured.
    Open,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::InPart => "holds in part",
            Self::Not => "does not hold at this size",
            Self::Open => "not measured yet",
        }
    }

    /// All of them, some of them, none of them; open where a figure that decides one is missing.
    pub(crate) fn of(figures: &[f64], holds: &[bool]) -> Self {
        if figures.iter().any(|figure| figure.is_nan()) {
            return Self::Open;
        }
        match holds.iter().filter(|holds| **holds).count() {
            count if count == holds.len() => Self::Holds,
            0 => Self::Not,
            _ => Self::InPart,
        }
    }
}

pub(crate) fn all() -> Vec<Claim> {
    vec![
        position_interpolation::claim(),
        rope_laws::claim(),
        longrecipe::claim(),
        longgen::claim(),
        qlora::claim(),
        longlora::claim(),
        duo_attention::claim(),
        dual_chunk::claim(),
        e2_llm::claim(),
        prolong::claim(),
    ]
}
