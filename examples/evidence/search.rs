//! LongRoPE's factors for the embedded base.

use std::collections::BTreeMap;

use context_recipe::Cpu;
use context_recipe::data::Encoder;
use context_recipe::data::chronicle::{Density, Seed, document};
use context_recipe::engine::{Engine, Mode};
use context_recipe::plan::{LongRopeFactors, Plan, RopePlan, Scaling};
use context_recipe::rehearse::Base;
use context_recipe::report::Progress;
use context_recipe::{eval, search};

use super::arm::Search;
use super::interrupt;
use super::run::{Result, said};

/// The law that is found, and the losses of what the search began with and ended at. Its documents come from a seed
/// that no reading uses.
pub(crate) fn factors(
    plan: &Plan,
    base: &Base,
    encoder: &Encoder,
    wanted: &Search,
    seed: u64,
) -> Result<(RopePlan, BTreeMap<String, f64>)> {
    let (target, native) = (plan.target, plan.model.context);
    let scale = target as f64 / native as f64;
    let mut engine = Engine::new(Cpu::new(), &plan.merged(), &base.weights, 0, Mode::Infer).map_err(said)?;
    let tokens: Vec<u32> = (0..wanted.documents as u64)
        .map(|index| document(encoder, Seed::eval(seed + 7_000_000, index), target, Density::Standard))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(said)?
        .into_iter()
        .flat_map(|document| document.tokens)
        .collect();
    let mut loss = |factors: &[f64]| -> Result<f64> {
        interrupt::check()?;
        engine.set_rope(&law(plan, factors));
        let found = eval::by_position(&mut engine, &tokens, target, wanted.documents, &mut |_| ());
        Ok(found.map_err(said)?.mean_nll)
    };
    let seeds = search::seeds(&RopePlan::native(&plan.model), scale, native);
    let mut losses = BTreeMap::new();
    for (name, factors) in &seeds {
        losses.insert(format!("search: {name}"), loss(factors)?);
    }
    let options = search::Options {
        population: wanted.population,
        iterations: wanted.iterations,
        parents: wanted.population / 2,
        seed,
        ..search::Options::default()
    };
    let progress = Progress::new("search", "rounds", wanted.iterations as u64);
    let lists = seeds.map(|(_, factors)| factors);
    let found = search::search(&lists, scale, &options, &mut loss, &mut |round, best| {
        progress.advance_with(u64::from(round > 0), &format!("loss {:.3}", best.loss));
    })?;
    progress.finish(&format!("loss {:.3}", found.loss));
    losses.insert("search: found".to_owned(), found.loss);
    losses.extend(found.factors.iter().enumerate().map(|(pair, factor)| (format!("factor {pair:02}"), *factor)));
    Ok((law(plan, &found.factors), losses))
}

/// Beyond the native window; inside it nothing changes.
fn law(plan: &Plan, factors: &[f64]) -> RopePlan {
    let file = LongRopeFactors { short: vec![1.0; factors.len()], long: factors.to_vec(), attention_factor: None };
    RopePlan { scaling: Scaling::longrope(&file, plan.target, plan.model.context), ..RopePlan::native(&plan.model) }
}
