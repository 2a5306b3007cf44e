//! Learned gates in words.

use recipe_core::{GatesPlan, Plan};

use super::number::{fixed, percent, tokens};

/// How open the gates are, and what the plan makes of them: the quantile ignores what a gate says, so that many heads that
/// need the whole context may stream.
pub fn gates_words(plan: &Plan, gates: &[Vec<f64>]) -> String {
    let found = plan.gate_summary(gates);
    let share = percent(found.open as f64 / found.heads.max(1) as f64);
    let head = format!("{share} of {} gates are above 0.5, their mean is {}", found.heads, fixed(found.mean, 2));
    let GatesPlan::Learned { sparsity, sink, recent } = plan.gates else {
        return head;
    };
    let (sparsity, streaming) = (percent(sparsity), found.streaming);
    let seen = format!("{} recent tokens and {sink} sinks", tokens(recent));
    let open = match found.open_streaming {
        0 => "none of them above 0.5".to_owned(),
        open => format!("{open} of them above 0.5"),
    };
    format!("{head}; a sparsity of {sparsity} makes {streaming} heads stream with {seen}, {open}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::llama2_128k;

    #[test]
    fn heads_that_stream_against_their_gate_are_counted() {
        let plan = Plan { gates: GatesPlan::Learned { sparsity: 0.5, sink: 64, recent: 256 }, ..llama2_128k() };
        let mut gates = vec![vec![0.75; 32]; 32];
        gates[0] = vec![0.25; 32];
        assert_eq!(
            gates_words(&plan, &gates),
            "97% of 1024 gates are above 0.5, their mean is 0.73; a sparsity of 50% makes 512 heads stream with 256 recent \
             tokens and 64 sinks, 480 of them above 0.5"
        );
        let given = Plan { gates: GatesPlan::Given, ..plan };
        assert!(gates_words(&given, &gates).ends_with("their mean is 0.73"));
    }
}
