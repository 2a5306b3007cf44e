//! Training steps, and what is saved of them.

use std::collections::BTreeSet;

use context_recipe::model::dfdx::nn::{LoadFromSafetensors, SaveToSafetensors};
use context_recipe::model::{Hyper, TypedModel};
use context_recipe::plan::{Pattern, Plan, Target};

use crate::support::{File, Fixture, HYPER, LoraPlusTiny, SPARSE, Tiny, lora, plan, relative, source, with_adapters};

#[test]
fn training_lowers_the_loss() {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows("hybrid"), fixture.targets());
    let plan = plan([SPARSE, Pattern::Full, SPARSE]);
    let mut model = Tiny::from_weights(&plan, &source(&fixture.weights())).unwrap();
    let losses: Vec<f32> =
        (0..8).map(|_| model.train_step(&rows.input(), &targets, &Hyper { lr: 3e-3, ..HYPER }).unwrap().loss).collect();
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    assert!(losses[7] < losses[0] - 1.0, "{losses:?}");
}

/// dfdx's Adam with decoupled decay, after clipping, is AdamW as the kernels have it (which equals torch's).
#[test]
fn a_training_step_is_adamw() {
    let fixture = Fixture::open();
    let (rows, targets, weights) = (fixture.rows("full"), fixture.targets(), fixture.weights());
    let hyper = Hyper { clip: 0.5, weight_decay: 0.1, ..HYPER };
    let mut model = Tiny::from_weights(&plan([Pattern::Full; 3]), &source(&weights)).unwrap();
    let mut moments: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
    for step in 1..=3 {
        let mut params = model.export();
        let (_, gradients) = model.loss_and_gradients(&rows.input(), &targets).unwrap();
        let norm = gradients.iter().flat_map(|g| &g.data).map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let found = model.train_step(&rows.input(), &targets, &hyper).unwrap();
        assert!((found.grad_norm / norm - 1.0).abs() < 1e-6 && norm > hyper.clip, "{norm} {found:?}");
        let theirs = kernels::adamw::Hyper {
            lr: hyper.lr,
            beta1: hyper.beta1,
            beta2: hyper.beta2,
            eps: hyper.eps,
            weight_decay: hyper.weight_decay,
            step,
            grad_scale: hyper.clip / (norm + 1e-6),
        };
        moments.resize_with(params.len(), Default::default);
        for ((param, gradient), (m, v)) in params.iter_mut().zip(&gradients).zip(&mut moments) {
            m.resize(param.data.len(), 0.0);
            v.resize(param.data.len(), 0.0);
            kernels::adamw::step(&theirs, &mut param.data, &gradient.data, m, v);
        }
        for (ours, theirs) in model.export().iter().zip(&params) {
            let error = relative(&ours.data, &theirs.data);
            assert!(error < 1e-5, "{} {error}", ours.name);
        }
    }
}

/// dfdx's own save and load: Hugging Face's names, and the same bits back.
#[test]
fn saves_and_loads() {
    let fixture = Fixture::open();
    let plan = Plan { adapt: lora(4, 8.0, &[Target::Q, Target::V], true, true), ..plan([SPARSE; 3]) };
    let weights = with_adapters(&plan, fixture.weights());
    let model = LoraPlusTiny::from_weights(&plan, &source(&weights)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    model.weights.save_safetensors(&path).unwrap();

    let names: Vec<String> = plan.parameters().into_iter().map(|p| p.name).collect();
    let file = File::read(&path);
    assert_eq!(file.0.keys().cloned().collect::<BTreeSet<_>>(), names.into_iter().collect());
    let mut again = LoraPlusTiny::zeros(&plan).unwrap();
    again.weights.load_safetensors(&path).unwrap();
    assert_eq!(again.export(), model.export());
    let from_file = LoraPlusTiny::from_weights(&plan, &source(&file.0)).unwrap();
    let input = fixture.rows("full");
    assert_eq!(from_file.logits(&input.input()).unwrap(), model.logits(&input.input()).unwrap());
}
