//! What a forward pass makes of documents, positions and ignored targets.

use context_recipe::model::TypedModel;
use context_recipe::plan::{Pattern, Plan, RopePlan, Scaling};

use crate::support::{Fixture, Rows, SPARSE, Tiny, plan, source};

/// Token 0 reaches the last token of its document, however the positions jump, and nothing beyond it.
#[test]
fn documents_end_where_they_end() {
    let fixture = Fixture::open();
    let skip: Vec<u32> = fixture.file.ints("skip_positions").iter().map(|&p| p as u32).collect();
    for patterns in [[Pattern::Full; 3], [SPARSE, Pattern::Full, SPARSE]] {
        let model = Tiny::from_weights(&plan(patterns), &source(&fixture.weights())).unwrap();
        for positions in [(0..48).collect(), skip.clone()] {
            let mut rows = Rows { tokens: fixture.rows("full").tokens, positions, starts: vec![0; 48] };
            rows.starts[20..].fill(20);
            let before = model.logits(&rows.input()).unwrap();
            rows.tokens[0] = (rows.tokens[0] + 1) % 97;
            let after = model.logits(&rows.input()).unwrap();
            let row = |of: &[f32], row: usize| of[row * 97..(row + 1) * 97].to_vec();
            assert_ne!(row(&before, 19), row(&after, 19));
            assert_eq!(before[20 * 97..], after[20 * 97..]);
        }
    }
}

/// Positions at twice the distance under linear interpolation by 2 turn as far as plain positions.
#[test]
fn the_rotary_law_is_the_plans() {
    let fixture = Fixture::open();
    let rows = fixture.rows("full");
    let plain = plan([Pattern::Full; 3]);
    let rope = RopePlan { scaling: Scaling::Linear { factor: 2.0 }, ..plain.rope.clone() };
    let stretched = Plan { rope, ..plain.clone() };
    let twice = Rows { positions: rows.positions.iter().map(|p| 2 * p).collect(), ..fixture.rows("full") };
    let weights = fixture.weights();
    let logits = |plan: &Plan, rows: &Rows| Tiny::load(plan, &source(&weights)).unwrap().logits(&rows.input()).unwrap();
    assert_eq!(logits(&plain, &rows), logits(&stretched, &twice));
    assert_ne!(logits(&plain, &rows), logits(&stretched, &rows));
    // A stage's own law takes its place, and gives it back.
    let mut model = Tiny::load(&plain, &source(&weights)).unwrap();
    model.set_rope(&stretched.rope);
    assert_eq!(model.logits(&rows.input()).unwrap(), logits(&stretched, &rows));
    model.set_rope(&plain.rope);
    assert_eq!(model.logits(&rows.input()).unwrap(), logits(&plain, &rows));
}

/// Ignored targets take no part: the mean is over the others.
#[test]
fn ignored_targets_take_no_part() {
    let fixture = Fixture::open();
    let model = Tiny::from_weights(&plan([Pattern::Full; 3]), &source(&fixture.weights())).unwrap();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let input = rows.input();
    let only = |keep: &dyn Fn(usize) -> bool| {
        let masked: Vec<i32> = targets.iter().enumerate().map(|(row, &t)| if keep(row) { t } else { -100 }).collect();
        f64::from(model.loss(&input, &masked).unwrap())
    };
    let (odd, even, all) = (only(&|row| row % 2 == 1), only(&|row| row % 2 == 0), only(&|_| true));
    assert!(((odd + even) / 2.0 - all).abs() < 1e-5, "{odd} {even} {all}");
}
