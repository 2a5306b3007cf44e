//! The learning rate, step by step.

use recipe_core::{Schedule, StagePlan};

/// The learning rate of step `step` (from 1) of a stage: a linear warm-up from lr ÷ warmup, then the stage's schedule.
///
/// A falling schedule would reach zero one step after the last.
pub fn learning_rate(stage: &StagePlan, step: usize) -> f64 {
    if step <= stage.warmup {
        return stage.lr * step as f64 / stage.warmup as f64;
    }
    let left = stage.steps.saturating_sub(stage.warmup) + 1;
    let done = (step - stage.warmup) as f64 / left as f64;
    match stage.schedule {
        Schedule::Constant => stage.lr,
        Schedule::Linear => stage.lr * (1.0 - done).max(0.0),
        Schedule::Cosine => stage.lr * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(schedule: Schedule) -> StagePlan {
        StagePlan {
            positions: recipe_core::PositionsPlan::Contiguous,
            select: recipe_core::SelectPlan::All,
            reach: 8,
            steps: 10,
            length: 8,
            batch: 1,
            lr: 1.0,
            warmup: 4,
            schedule,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 0,
            recompute: true,
            kind: recipe_core::StageKind::Extend,
            rope: recipe_core::RopePlan { theta: 1e4, scaling: recipe_core::Scaling::Default, head_dim: 8 },
            data: vec![].into(),
            documents: recipe_core::Documents::Mask,
            merge: recipe_core::MergePlan::None,
        }
    }

    #[test]
    fn warm_up_is_linear_and_reaches_the_peak() {
        let rates: Vec<f64> = (1..=4).map(|step| learning_rate(&stage(Schedule::Constant), step)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(learning_rate(&stage(Schedule::Constant), 10), 1.0);
    }

    #[test]
    fn falling_schedules_end_just_above_zero() {
        for schedule in [Schedule::Linear, Schedule::Cosine] {
            let rates: Vec<f64> = (4..=11).map(|step| learning_rate(&stage(schedule), step)).collect();
            assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
            assert!(rates[6] > 0.0 && rates[7].abs() < 1e-12, "{rates:?}");
        }
        assert!((learning_rate(&stage(Schedule::Linear), 5) - 6.0 / 7.0).abs() < 1e-12);
    }
}
