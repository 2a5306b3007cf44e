//! Rules about `merge(…)` behind a stage.

use super::train::{Verdict, each};
use super::{Case, Finding, Level, Rule, percent};
use crate::plan::{AdaptPlan, MergePlan};
use crate::recipe::Stage;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "merge_base_range", level: Level::Law, find: merge_base_range },
    Rule { name: "merge_spherical_adapters", level: Level::Law, find: merge_spherical_adapters },
];

/// All of the original weights would throw the training away, none of them would change nothing.
fn merge_base_range(case: &Case) -> Vec<Finding> {
    let judge = |written: &Stage| -> Verdict {
        let base = written.merge?.base.filter(|base| !(*base > 0.0 && *base < 1.0))?;
        let message = format!("a merge with {} of the original weights is out of (0%, 100%)", percent(base));
        Some(("merge.base", message, "write base = 50%".to_owned()))
    };
    each(case, |written, _| judge(written))
}

/// Along an arc, W₀ + B A does not move to W₀ + some share of B A, so no pair of adapters holds the result.
fn merge_spherical_adapters(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| {
        let adapters = !matches!(case.plan.adapt, AdaptPlan::Full);
        let spherical = matches!(settled.merge, MergePlan::Spherical { .. });
        let message = "adapters cannot hold a spherical merge".to_owned();
        (adapters && spherical).then(|| ("merge.form", message, "write form = linear, or adapt: full".to_owned()))
    })
}
