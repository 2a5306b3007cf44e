//! `merge(…)`: the weights that a run has reached, averaged with those that it started from.
//!
//! Everything that learns is averaged, tensor by tensor. Adapters hold W = W₀ + s B A on a W₀ that stays, so a linear merge
//! is W₀ + (1 − base) s B A: the share goes to B.

use recipe_core::{MergePlan, Plan};

use super::Error;
use crate::hub::{Tensors, Weights};

/// Above this cosine, and below its negative, an arc is a line to rounding, or any of many.
const PARALLEL: f64 = 0.9995;

/// Averages `trained` with `original`; both by Hugging Face name.
///
/// # Errors
/// When `original` lacks a tensor that learns, has another size of it, or cannot be read.
pub(crate) fn merge(
    trained: &mut Weights,
    original: &dyn Tensors,
    plan: &Plan,
    merge: &MergePlan,
) -> Result<(), Error> {
    for spec in plan.parameters().into_iter().filter(|spec| spec.trainable) {
        let Some(tensor) = trained.get_mut(&spec.name) else { continue };
        let values = &mut tensor.data;
        match (spec.name.ends_with(".lora_B.weight"), spec.name.ends_with(".lora_A.weight")) {
            (true, _) => scale(values, merge),
            (_, true) => {}
            _ => {
                let first = original.tensor(&spec.name)?.filter(|first| first.data.len() == values.len());
                let first = first.ok_or_else(|| Error::NoOriginal { name: spec.name.clone() })?;
                average(values, &first.data, merge);
            }
        }
    }
    Ok(())
}

/// The adapter's share that a linear merge leaves; a rule keeps spherical merges away from adapters.
fn scale(values: &mut [f32], merge: &MergePlan) {
    if let MergePlan::Linear { base } = merge {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * (1.0 - base)) as f32);
    }
}

fn average(values: &mut [f32], original: &[f32], merge: &MergePlan) {
    let [kept, back] = match *merge {
        MergePlan::None => return,
        MergePlan::Linear { base } => [1.0 - base, base],
        MergePlan::Spherical { base } => arc(cosine(values, original), base),
    };
    for (value, original) in values.iter_mut().zip(original) {
        *value = (kept * f64::from(*value) + back * f64::from(*original)) as f32;
    }
}

/// The factors of Shoemake's slerp (1985): sin((1 − t) ω) ÷ sin ω and sin(t ω) ÷ sin ω.
fn arc(cosine: f64, share: f64) -> [f64; 2] {
    if cosine.abs() > PARALLEL {
        return [1.0 - share, share];
    }
    let angle = cosine.acos();
    [((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()]
}

/// Of the angle between two tensors; 1 where one of them is zero and has no direction.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn averaged(values: &[f32], original: &[f32], merge: MergePlan) -> Vec<f32> {
        let mut values = values.to_vec();
        average(&mut values, original, &merge);
        values
    }

    #[test]
    fn a_linear_merge_is_the_weighted_mean() {
        assert_eq!(averaged(&[1.0, 2.0], &[3.0, -2.0], MergePlan::Linear { base: 0.25 }), [1.5, 1.0]);
    }

    #[test]
    fn a_spherical_merge_keeps_the_length_of_equals() {
        let half = averaged(&[1.0, 0.0], &[0.0, 1.0], MergePlan::Spherical { base: 0.5 });
        assert!(half.iter().all(|x| (x - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-7), "{half:?}");
        let third = averaged(&[2.0, 0.0], &[0.0, 2.0], MergePlan::Spherical { base: 1.0 / 3.0 });
        assert!((third[0] - 3.0_f32.sqrt()).abs() < 1e-6 && (third[1] - 1.0).abs() < 1e-6, "{third:?}");
    }

    #[test]
    fn parallel_opposite_and_zero_tensors_fall_back_to_the_line() {
        for original in [[2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]] {
            let spherical = averaged(&[1.0, 0.0], &original, MergePlan::Spherical { base: 0.5 });
            assert_eq!(spherical, averaged(&[1.0, 0.0], &original, MergePlan::Linear { base: 0.5 }));
        }
    }
}
