//! Rules about `allow:` itself.

use super::{Case, Finding, Level, Rule, rules};
use crate::fault::Field;
use crate::words::nearest;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "unknown_rule", level: Level::Law, find: unknown_rule },
    Rule { name: "rule_not_allowable", level: Level::Law, find: rule_not_allowable },
];

fn field(index: usize) -> Field {
    Field::new("allow").index(index)
}

/// A permission for a rule that does not exist permits nothing.
fn unknown_rule(case: &Case) -> Vec<Finding> {
    let guards: Vec<&str> = rules().filter(|rule| rule.level == Level::Guard).map(|rule| rule.name).collect();
    let known = |name: &str| rules().any(|rule| rule.name == name);
    let unknown = case.recipe.allow.iter().enumerate().filter(|(_, name)| !known(name));
    let finding = |(index, name): (usize, &String)| {
        let help = match nearest(name, &guards) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("what can be allowed: {}", guards.join(", ")),
        };
        Finding::new(field(index), format!("there is no rule `{name}`"), help)
    };
    unknown.map(finding).collect()
}

/// Some faults have no meaning to fall back on: a rank of 0, shares that sum to 130%.
fn rule_not_allowable(case: &Case) -> Vec<Finding> {
    let law = |name: &str| rules().any(|rule| rule.name == name && rule.level == Level::Law);
    let named = case.recipe.allow.iter().enumerate().filter(|(_, name)| law(name));
    let finding = |(index, name): (usize, &String)| {
        let message = format!("`{name}` cannot be allowed, what it forbids is arithmetically impossible");
        Finding::new(field(index), message, "remove it, and repair what it forbids")
    };
    named.map(finding).collect()
}
