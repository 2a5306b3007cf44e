//! What `train` is told instead of the recipe: steps, seed, text, device. Paths say nothing about a recipe; everything else
//! is the recipe's, so that two runs of one program can be compared.

use recipe_core::{Plan, StagePlan};

use super::args::TrainArgs;
use crate::{Error, Result};

/// The plan with the command line's steps and seed.
pub(super) fn applied(plan: &Plan, args: &TrainArgs) -> Result<Plan> {
    let stages = plan.stages.len();
    if args.steps.len() > 1 && args.steps.len() != stages {
        return Err(Error::usage(format!(
            "--steps has {} numbers, and the recipe `{}` has {stages} stages; give one for all of them, or one for each",
            args.steps.len(),
            plan.name
        )));
    }
    let stage = |(index, stage): (usize, &StagePlan)| {
        let asked = args.steps.get(index).or(args.steps.first().filter(|_| args.steps.len() == 1));
        let steps = asked.map_or(stage.steps, |&steps| steps as usize);
        // As in a recipe, where stages that share a seed would read the same text again.
        let seed = args.seed.map_or(stage.seed, |seed| seed.wrapping_add(index as u64));
        StagePlan { steps, warmup: stage.warmup.min(steps), seed, ..stage.clone() }
    };
    Ok(Plan { stages: plan.stages.iter().enumerate().map(stage).collect(), ..plan.clone() })
}

/// As they are recorded: in the words of the command line.
pub(super) fn words(args: &TrainArgs) -> Vec<String> {
    let steps: Vec<String> = args.steps.iter().map(ToString::to_string).collect();
    let steps = (!steps.is_empty()).then(|| format!("--steps {}", steps.join(",")));
    let seed = args.seed.map(|seed| format!("--seed {seed}"));
    let device = args.device.map(|device| format!("--device {device:?}").to_lowercase());
    let data = args.data.iter().map(|glob| format!("--data {glob}"));
    steps.into_iter().chain(seed).chain(data).chain(device).collect()
}
