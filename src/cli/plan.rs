//! `plan`.

use recipe_core::Plan;

use super::args::PlanArgs;
use super::output;
use crate::{Result, report};

pub(super) fn run(plan: &Plan, args: &PlanArgs) -> Result<()> {
    if args.json {
        return super::print_json(&report::plan_json(plan, args.length.unwrap_or(plan.target)));
    }
    output::print(report::plan_text(plan))
}
