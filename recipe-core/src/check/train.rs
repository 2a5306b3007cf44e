//! Rules about `train:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::plan::{Learns, StagePlan};
use crate::readable::readable_tokens as tokens;
use crate::recipe::Stage;
use crate::terms::{Device, StageKind};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "steps_or_tokens", level: Level::Law, find: steps_or_tokens },
    Rule { name: "zero_steps", level: Level::Law, find: zero_steps },
    Rule { name: "zero_batch", level: Level::Law, find: zero_batch },
    Rule { name: "length_too_short", level: Level::Law, find: length_too_short },
    Rule { name: "stage_beyond_target", level: Level::Guard, find: stage_beyond_target },
    Rule { name: "replay_same_data", level: Level::Advice, find: replay_same_data },
    Rule { name: "target_not_trained", level: Level::Advice, find: target_not_trained },
    Rule { name: "lr_range", level: Level::Law, find: lr_range },
    Rule { name: "warmup_beyond_stage", level: Level::Guard, find: warmup_beyond_stage },
    Rule { name: "betas_range", level: Level::Law, find: betas_range },
    Rule { name: "weight_decay_range", level: Level::Law, find: weight_decay_range },
    Rule { name: "clip_range", level: Level::Law, find: clip_range },
    Rule { name: "offload_saves_nothing", level: Level::Law, find: offload_saves_nothing },
];

/// A rule that judges one stage: what is wrong with it, under which key, and what to write.
pub(super) type Verdict = Option<(&'static str, String, String)>;

/// Applies `judge` to every stage, as written and as settled.
pub(super) fn each(case: &Case, mut judge: impl FnMut(&Stage, &StagePlan) -> Verdict) -> Vec<Finding> {
    let stages = case.recipe.train.iter().zip(case.plan.stages.iter()).enumerate();
    let finding = |(index, (written, settled)): (usize, (&Stage, &StagePlan))| {
        let (key, message, help) = judge(written, settled)?;
        Some(Finding::new(Field::new("train").index(index).key(key), message, help))
    };
    stages.filter_map(finding).collect()
}

/// Steps say how long a stage is, or tokens do; both may disagree and neither says nothing.
fn steps_or_tokens(case: &Case) -> Vec<Finding> {
    each(case, |stage, settled| match (stage.steps, stage.tokens) {
        (Some(steps), Some(tokens)) => {
            let message = format!("both steps = {steps} and tokens = {tokens} say how long the stage is");
            Some(("tokens", message, "remove one of them".into()))
        }
        // Gates have a published number.
        (None, None) if stage.kind != StageKind::Gates => {
            let message = format!("nothing says how long this stage at length {} is", settled.length);
            Some(("steps", message, "write steps = 1000, or tokens = …".into()))
        }
        _ => None,
    })
}

/// A stage without steps trains nothing.
fn zero_steps(case: &Case) -> Vec<Finding> {
    each(case, |stage, _| match (stage.steps, stage.tokens) {
        (Some(0), _) => {
            Some(("steps", "0 steps train nothing".into(), "write steps = 1000, or remove the stage".into()))
        }
        (_, Some(0)) => {
            Some(("tokens", "0 tokens train nothing".into(), "write tokens = …, or remove the stage".into()))
        }
        _ => None,
    })
}

/// An optimiser step needs a sequence.
fn zero_batch(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| {
        (settled.batch == 0)
            .then(|| ("batch", "a batch of 0 sequences".into(), "write batch = 1, or leave it out".into()))
    })
}

/// The loss is about the next token, so a sequence has two at least.
fn length_too_short(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        // A missing length is the target, which has its own rules.
        let short = written.length.is_some() && settled.length < 2;
        let help = format!("write length = {}", tokens(case.plan.target.max(2)));
        short.then(|| ("length", format!("length {} has no next token to predict", settled.length), help))
    })
}

/// Positions beyond the target are not in the plan: rope, windows and memory are settled for the target.
fn stage_beyond_target(case: &Case) -> Vec<Finding> {
    let target = case.plan.target;
    each(case, |_, settled| {
        let message = format!("length {} is longer than target {}", tokens(settled.length), tokens(target));
        (settled.length > target).then(|| ("length", message, format!("write length = {}", tokens(target))))
    })
}

/// LongRecipe replays what the model was first trained on (arXiv 2409.00509 §3.3); the text of the extension is not that.
fn replay_same_data(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        let same = settled.kind == StageKind::Replay && written.data.is_empty() && !case.recipe.data.is_empty();
        let message = "this replay reads the text of the extension again".to_owned();
        same.then(|| ("data", message, "data = [jsonl(\"short/*.jsonl\")] gives it short text".to_owned()))
    })
}

/// Shorter training is legal and cheaper; what it reaches then rests on the rope law alone.
fn target_not_trained(case: &Case) -> Vec<Finding> {
    let target = case.plan.target;
    let trained = case.plan.stages.iter().filter(|stage| stage.learns == Learns::Weights);
    let Some(longest) = trained.map(|stage| stage.reach).max() else {
        return vec![];
    };
    if longest >= target {
        return vec![];
    }
    let (longest, target) = (tokens(longest), tokens(target));
    let message = format!("the longest training sequence is {longest}, distances up to {target} are never trained");
    vec![Finding::new(Field::new("train"), message, format!("a last stage with length = {target} trains them"))]
}

/// AdamW moves a weight by about lr per step.
fn lr_range(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| {
        let lr = settled.lr;
        (!(lr > 0.0 && lr <= 1.0)).then(|| ("lr", format!("lr {lr:?} is out of (0, 1]"), "write lr = 2e-5".into()))
    })
}

/// A warm-up longer than the stage never reaches the learning rate that is written.
fn warmup_beyond_stage(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| {
        let StagePlan { warmup, steps, .. } = *settled;
        let help = format!("write warmup = {}", 20.min(steps / 10));
        (steps > 0 && warmup > steps)
            .then(|| ("warmup", format!("warmup {warmup} is longer than the stage, {steps} steps"), help))
    })
}

/// Moving averages forget a share 1 − beta per step; at 1 they never learn anything.
fn betas_range(case: &Case) -> Vec<Finding> {
    let wrong = |beta: f64| !(0.0..1.0).contains(&beta);
    each(case, |_, settled| {
        let StagePlan { beta1, beta2, .. } = *settled;
        let message = format!("betas ({beta1}, {beta2}) are out of [0, 1)");
        (wrong(beta1) || wrong(beta2)).then(|| ("betas", message, "write betas = (0.9, 0.95)".into()))
    })
}

/// A negative decay makes weights grow.
fn weight_decay_range(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| {
        let decay = settled.weight_decay;
        let message = format!("weight_decay {decay} is negative or not a number");
        (!(decay >= 0.0 && decay.is_finite())).then(|| ("weight_decay", message, "write weight_decay = 0".into()))
    })
}

/// Gradients are scaled down to this norm; 0 would erase them.
fn clip_range(case: &Case) -> Vec<Finding> {
    each(case, |_, settled| {
        let clip = settled.clip;
        let message = format!("clip {clip} is not a positive number");
        (!(clip > 0.0 && clip.is_finite())).then(|| ("clip", message, "write clip = 1".into()))
    })
}

/// Offloading moves what recomputation starts from out of a GPU's memory: there has to be one of both.
fn offload_saves_nothing(case: &Case) -> Vec<Finding> {
    let device = case.plan.device;
    each(case, |_, settled| {
        if !settled.offload {
            return None;
        }
        let (message, help) = match device {
            Device::Cpu { .. } => (
                format!("offload moves layer inputs out of a GPU's memory, and the device is {device}"),
                "remove it, or write `device: cuda(80GB)`",
            ),
            Device::Cuda { .. } if !settled.recompute => (
                "offload moves what layers are computed again from, and recompute = none keeps all they compute".into(),
                "write recompute = every, or remove it",
            ),
            Device::Cuda { .. } => return None,
        };
        Some(("offload", message, help.into()))
    })
}
