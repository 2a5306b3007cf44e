//! Rehearsals of published recipes, held to what they reach. Minutes of work: `.ci/run` names it.
//!
//! ```text
//! REHEARSAL_SEEDS=0,1,2 cargo test --release --test rehearsal -- --nocapture --test-threads 1
//! ```

use context_recipe::data::Rng;
use context_recipe::engine::{Engine, Mode};
use context_recipe::plan::Plan;
use context_recipe::rehearse::{self, Base, Options, Outcome};
use context_recipe::report::RehearsalRow;
use context_recipe::{Cpu, Recipe, eval};

#[path = "../examples/chunkllama_llama2_100k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod chunkllama_llama2_100k;
#[path = "../examples/duo_llama2_32k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod duo_llama2_32k;
#[path = "../examples/llama2_128k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod llama2_128k;
#[path = "../examples/longrecipe_llama3_80k.rs"]
#[allow(dead_code, reason = "an example brings its main")]
mod longrecipe_llama3_80k;

/// Perplexity of the last quarter after the recipe, over the base's own window.
const LIMIT: f64 = 1.15;

/// Keys that come back, at least.
fn least_recall(scale: usize) -> f64 {
    if scale <= 8 { 0.9 } else { 0.8 }
}

/// A key at the end lies in the window of its question; of the four others the base knows nothing.
const BASE_RECALL: f64 = 0.2;

/// The outcome of each seed, printed.
fn rehearsed<R: Recipe>() -> Vec<(u64, Outcome)> {
    let seeds = std::env::var("REHEARSAL_SEEDS").unwrap_or_else(|_| "0".to_owned());
    let run = |seed: u64| {
        let out = tempfile::tempdir().unwrap();
        let options = Options { seed, out: out.path().to_owned(), text: None, dfdx: false };
        let outcome = rehearse::run::<R::RehearsalModel>(&R::REHEARSAL, &options, &mut |_| {}).unwrap();
        println!("{}, seed {seed}", R::REHEARSAL.name);
        println!("{}", context_recipe::report::rehearsal_table(outcome.native, &outcome.rows).to_text());
        (seed, outcome)
    };
    seeds.split(',').map(|seed| run(seed.parse().expect("a seed is a number"))).collect()
}

fn row<'a>(outcome: &'a Outcome, state: &str, scale: usize) -> &'a RehearsalRow {
    let wanted = |row: &&RehearsalRow| row.state == state && row.context == scale * outcome.native;
    outcome.rows.iter().find(wanted).unwrap_or_else(|| panic!("no row for {state} at {scale}×"))
}

#[test]
fn the_base_collapses_and_the_recipe_brings_its_loss_back() {
    for (seed, outcome) in rehearsed::<llama2_128k::Llama2_128k>() {
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

/// LongRecipe: sequences of 30 % of the window bring back the whole of it.
#[test]
fn a_third_of_the_window_trains_all_of_it() {
    for (seed, outcome) in rehearsed::<longrecipe_llama3_80k::LongrecipeLlama3_80k>() {
        let own = row(&outcome, "base", 1).in_window_nll;
        let target = outcome.rows.iter().filter(|row| row.state == "recipe").max_by_key(|row| row.context).unwrap();
        assert!(target.context > 9 * outcome.native);
        assert!((target.last_quarter_nll - own).exp() <= LIMIT, "seed {seed}: {target:?}");
        assert!(target.passkey >= 0.4, "seed {seed}: {target:?}");
        for (scale, least) in [(4, 0.8), (8, 0.65)] {
            let recipe = row(&outcome, "recipe", scale);
            assert!(recipe.passkey >= least, "seed {seed}: {recipe:?}");
        }
    }
}

/// Dual chunk attention: four windows without training.
#[test]
fn chunks_read_further_without_training() {
    for (seed, outcome) in rehearsed::<chunkllama_llama2_100k::ChunkllamaLlama2_100k>() {
        let own = row(&outcome, "base", 1).in_window_nll;
        let [base, recipe] = ["base", "recipe"].map(|state| row(&outcome, state, 4));
        assert!(recipe.last_quarter_nll <= own && base.last_quarter_nll >= own + 1.0, "seed {seed}: {recipe:?}");
        assert!(recipe.passkey >= 0.75 && base.passkey <= BASE_RECALL, "seed {seed}: {recipe:?}");
    }
}

/// Keys that the base recalls at its own window when the heads with the largest of `gates` keep the whole context.
fn recalled(plan: &Plan, gates: &[Vec<f64>]) -> f64 {
    let base = Base::embedded().unwrap();
    let plan = plan.with_gates(gates).merged();
    let mut engine = Engine::new(Cpu::new(), &plan, &base.weights, 0, Mode::Infer).unwrap();
    let scores = eval::passkey(&mut engine, &base.encoder().unwrap(), plan.target, 32, 0, &mut |_| {}).unwrap();
    let (correct, trials) = scores.iter().fold((0, 0), |all, one| (all.0 + one.correct, all.1 + one.trials));
    correct as f64 / trials as f64
}

/// DuoAttention: a quarter of the heads recalls what all of them do. Which quarter matters: drawn ones recall less, and
/// those that the gates would rather have streamed recall next to nothing.
#[test]
fn a_quarter_of_the_heads_recalls_if_it_is_the_right_one() {
    let plan = duo_llama2_32k::DuoLlama2_32k::REHEARSAL;
    for (seed, outcome) in rehearsed::<duo_llama2_32k::DuoLlama2_32k>() {
        let [base, recipe] = ["base", "recipe"].map(|state| row(&outcome, state, 1));
        assert!(recipe.passkey >= base.passkey - 0.05, "seed {seed}: {recipe:?}");
        assert!(recipe.last_quarter_nll <= base.last_quarter_nll + 0.05, "seed {seed}: {recipe:?}");
        let gates = outcome.gates.unwrap();
        let drawn = |draw: u64| {
            let mut rng = Rng::new(&[seed, draw]);
            gates.iter().map(|heads| heads.iter().map(|_| rng.below(1 << 20) as f64).collect()).collect::<Vec<_>>()
        };
        let random: Vec<f64> = (0..5).map(|draw| recalled(&plan, &drawn(draw))).collect();
        let inverted: Vec<Vec<f64>> = gates.iter().map(|heads| heads.iter().map(|gate| 1.0 - gate).collect()).collect();
        let (learned, inverted) = (recalled(&plan, &gates), recalled(&plan, &inverted));
        println!("keys by learned gates {learned:.2}, drawn ones {random:.2?}, inverted {inverted:.2}; {gates:.2?}");
        assert!(random.iter().sum::<f64>() / 5.0 <= learned - 0.3, "seed {seed}: {random:?}");
        assert!(inverted <= 0.3, "seed {seed}: {inverted}");
    }
}
