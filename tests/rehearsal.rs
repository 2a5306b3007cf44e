//! The rehearsal of the front-door recipe, held to what it reaches. Minutes of work: `.ci/run` names it.
//!
//! ```text
//! REHEARSAL_SEEDS=0,1,2 cargo test --release --test rehearsal -- --nocapture
//! ```

use context_recipe::rehearse::{self, Options, Outcome};
use context_recipe::report::RehearsalRow;
use context_recipe::{Recipe, recipe};

recipe! {
    /// `examples/llama2_128k.rs`.
    pub Llama2_128k {
        model: llama2_7b,
        context: 4K -> 128K,
        rope: interpolate(32),
        attention: hybrid(full = 1/3, window = 4096, sink = 4),
        adapt: qlora(rank = 32, alpha = 16, train = [embed, norm]),
        data: [jsonl("corpus/*.jsonl") * 90%, passkey * 10%],
        train: [extend(steps = 1000, length = 128K, lr = 2e-5, warmup = 20)],
        eval: [perplexity(4K, 32K, 128K), passkey(4K, 32K, 128K)],
        device: cuda(80GB),
    }
}

/// Perplexity of the last quarter after the recipe, over the base's own window.
const LIMIT: f64 = 1.15;

/// Keys that come back, at least.
fn least_recall(scale: usize) -> f64 {
    if scale <= 8 { 0.9 } else { 0.8 }
}

/// A key at the end lies in the window of its question; of the four others the base knows nothing.
const BASE_RECALL: f64 = 0.2;

fn rehearsed(seed: u64) -> Outcome {
    let out = tempfile::tempdir().unwrap();
    let options = Options { seed, out: out.path().to_owned(), text: None, dfdx: false };
    type Model = <Llama2_128k as Recipe>::RehearsalModel;
    rehearse::run::<Model>(&Llama2_128k::REHEARSAL, &options, &mut |_| {}).unwrap()
}

fn row<'a>(outcome: &'a Outcome, state: &str, scale: usize) -> &'a RehearsalRow {
    let wanted = |row: &&RehearsalRow| row.state == state && row.context == scale * outcome.native;
    outcome.rows.iter().find(wanted).unwrap_or_else(|| panic!("no row for {state} at {scale}×"))
}

#[test]
fn the_base_collapses_and_the_recipe_brings_its_loss_back() {
    let seeds = std::env::var("REHEARSAL_SEEDS").unwrap_or_else(|_| "0".to_owned());
    for seed in seeds.split(',').map(|seed| seed.parse().expect("a seed is a number")) {
        let outcome = rehearsed(seed);
        println!("{}", context_recipe::report::rehearsal_table(outcome.native, &outcome.rows).to_text());
        let own = row(&outcome, "base", 1).in_window_nll;
        for scale in [4, 8, 16, 32] {
            let [base, rope, recipe] = ["base", "rope", "recipe"].map(|state| row(&outcome, state, scale));
            assert!(base.last_quarter_nll >= own + 1.0, "seed {seed}: the base does not collapse: {base:?}");
            assert!(base.passkey <= BASE_RECALL, "seed {seed}: the base recalls beyond its window: {base:?}");
            assert!(
                recipe.last_quarter_nll + 1.0 <= base.last_quarter_nll.min(rope.last_quarter_nll),
                "seed {seed}: {recipe:?}"
            );
            assert!(recipe.passkey >= least_recall(scale), "seed {seed}: {recipe:?}");
            let worse = (recipe.last_quarter_nll - own).exp();
            assert!(worse <= LIMIT, "seed {seed}: {worse} times the base's own perplexity: {recipe:?}");
        }
    }
}
