//! Code of one's own around the model.

use context_recipe::model::dfdx::nn::ZeroGrads;
use context_recipe::model::dfdx::optim::{Adam, AdamConfig, Optimizer};
use context_recipe::model::dfdx::shapes::Rank2;
use context_recipe::model::dfdx::tensor::{AsArray, Cpu, Tensor, TensorFromVec};
use context_recipe::model::dfdx::tensor_ops::{Backward, MeanTo, PermuteTo};
use context_recipe::model::{Linear, Through, tape};
use context_recipe::plan::Pattern;

use crate::support::{Fixture, Tiny, plan, source, transpose};

const SMALL: AdamConfig = AdamConfig { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: None };

/// A head of one's own on the model's features, trained together with it by dfdx's optimiser.
#[test]
fn a_head_of_ones_own() {
    let fixture = Fixture::open();
    let mut model = Tiny::load(&plan([Pattern::Full; 3]), &source(&fixture.weights())).unwrap();
    let cpu = Cpu::default();
    let mut head = Linear::<64, 2>::new(cpu.tensor_from_vec(vec![0.01; 128], Default::default())).unwrap();
    let rows = fixture.rows("full");
    let view = model.view(&rows.input()).unwrap();
    let (mut adam, mut head_adam) = (Adam::new(&model.weights, SMALL), Adam::new(&head, SMALL));
    let mut losses = Vec::new();
    for _ in 0..5 {
        let mut gradients = model.weights.alloc_grads();
        head.zero_grads(&mut gradients);
        let scores = model.hidden(&view, tape(gradients)).unwrap().through(&head, &view).unwrap();
        let wanted = cpu.tensor_from_vec(vec![1.0; 96], (48, Default::default()));
        let loss = (scores - wanted).square().mean();
        losses.push(loss.array());
        let gradients = loss.backward();
        adam.update(&mut model.weights, &gradients).unwrap();
        head_adam.update(&mut head, &gradients).unwrap();
    }
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    assert!(head.weight().as_vec().iter().all(|&w| w != 0.01));
}

/// A permuted view is not what its memory says; layers read it as what it is.
#[test]
fn permuted_tensors_are_read_in_order() {
    let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let cpu = Cpu::default();
    let wide: Tensor<Rank2<3, 4>, f32, Cpu> = cpu.tensor_from_vec(values.clone(), Default::default());
    let tall = Linear::<3, 4>::new(wide.permute()).unwrap();
    assert_eq!(tall.weight().as_vec(), transpose(&values, 3, 4));
}
