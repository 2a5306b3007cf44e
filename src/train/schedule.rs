//! The learning rate, step by step.

use recipe_core::{Schedule, StagePlan};

/// The learning rate of step `step` (from 1) of a stage: a linear warm-up from lr ÷ warmup, then the stage's schedule.
///
/// A falling schedule would reach zero one step after the last.
pub fn learning_rate(stage: &StagePlan, step: usize) -> f64 {
    if stage.schedule == Schedule::Trapezoid {
        return stage.lr * trapezoid(stage, step);
    }
    if step <= stage.warmup {
        return stage.lr * step as f64 / stage.warmup as f64;
    }
    let left = stage.steps.saturating_sub(stage.warmup) + 1;
    let done = (step - stage.warmup) as f64 / left as f64;
    match stage.schedule {
        Schedule::Constant | Schedule::Trapezoid => stage.lr,
        Schedule::Linear => stage.lr * (1.0 - done).max(0.0),
        Schedule::Cosine => stage.lr * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
    }
}

/// A line up to 1 over the warm-up, one down over the last fifth, and a tenth where they are lower (DuoAttention's program).
fn trapezoid(stage: &StagePlan, step: usize) -> f64 {
    let up = step as f64 / stage.warmup.max(1) as f64;
    let down = (stage.steps + 1).saturating_sub(step) as f64 / (stage.steps / 5).max(1) as f64;
    up.min(down).clamp(0.1, 1.0)
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
            offload: false,
            kind: recipe_core::StageKind::Extend,
            learns: recipe_core::Learns::Weights,
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
    fn a_trapezoid_has_a_floor_on_both_sides() {
        let stage = StagePlan { steps: 100, warmup: 20, ..stage(Schedule::Trapezoid) };
        let rates = [1, 2, 10, 20, 50, 81, 82, 91, 99, 100].map(|step| learning_rate(&stage, step));
        assert_eq!(rates, [0.1, 0.1, 0.5, 1.0, 1.0, 1.0, 0.95, 0.5, 0.1, 0.1]);
        let short = StagePlan { steps: 3, warmup: 0, ..stage };
        assert_eq!([1, 2, 3].map(|step| learning_rate(&short, step)), [1.0; 3]);
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
