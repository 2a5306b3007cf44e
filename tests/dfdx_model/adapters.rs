//! Which tensors learn, and that adapters learn the right thing.

use std::collections::BTreeMap;

use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{Tensor, Weights as ModelWeights};
use context_recipe::model::dfdx::nn::NumParams;
use context_recipe::model::{Hyper, Input, Named, TypedModel};
use context_recipe::plan::{AdaptPlan, Llama as Shape, Pattern, Plan, Target};

use crate::support::{
    Fixture, HYPER, LoraPlusTiny, LoraTiny, SPARSE, TiedTiny, Tiny, Weights, lora, plan, relative, source, transpose,
    with_adapters,
};

/// A model with adapters is the model whose weights are W + s·B·A; the chain rule gives the adapters' gradients from W's.
#[test]
fn adapters_equal_the_merged_weights() {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let plan =
        Plan { adapt: lora(4, 6.0, &[Target::Q, Target::K, Target::V, Target::O], false, false), ..plan([SPARSE; 3]) };
    let scale = 6.0 / 4.0;
    let weights = with_adapters(&plan, fixture.weights());
    let adapted = LoraTiny::from_weights(&plan, &source(&weights)).unwrap();
    let full = Plan { adapt: AdaptPlan::Full, ..plan.clone() };
    let merged = Tiny::from_weights(&full, &source(&merge(&weights, scale))).unwrap();

    let input = rows.input();
    let (logits, expected) = (adapted.logits(&input).unwrap(), merged.logits(&input).unwrap());
    assert!(relative(&logits, &expected) < 1e-5);

    let (_, dense) = merged.loss_and_gradients(&input, &targets).unwrap();
    let dense: BTreeMap<_, _> = dense.into_iter().map(|g| (g.name, g.data)).collect();
    let (_, gradients) = adapted.loss_and_gradients(&input, &targets).unwrap();
    assert_eq!(gradients.len(), 3 * 4 * 2);
    for gradient in gradients {
        let (module, part) = gradient.name.rsplit_once(".lora_").unwrap();
        let (dw, a, b) = (
            &dense[&format!("{module}.weight")],
            &weights[&format!("{module}.lora_A.weight")],
            &weights[&format!("{module}.lora_B.weight")],
        );
        let (rank, inputs, outputs) = (a.0[0], a.0[1], b.0[0]);
        let expected = match part {
            "A.weight" => matmul(&transpose(&b.1, outputs, rank), dw, (rank, outputs, inputs)),
            _ => matmul(dw, &transpose(&a.1, rank, inputs), (outputs, inputs, rank)),
        };
        let expected: Vec<f32> = expected.iter().map(|g| scale * g).collect();
        let error = relative(&gradient.data, &expected);
        assert!(error < 1e-4, "{} {error}", gradient.name);
    }
}

#[test]
fn only_what_the_plan_names_learns() {
    let fixture = Fixture::open();
    let plan = Plan { adapt: lora(4, 8.0, &[Target::Q, Target::V], true, true), ..plan([Pattern::Full; 3]) };
    let weights = with_adapters(&plan, fixture.weights());
    let mut model = LoraPlusTiny::from_weights(&plan, &source(&weights)).unwrap();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let (_, gradients) = model.loss_and_gradients(&rows.input(), &targets).unwrap();
    let learning: Vec<String> = plan.parameters().into_iter().filter(|p| p.trainable).map(|p| p.name).collect();
    assert_eq!(gradients.iter().map(|g| g.name.clone()).collect::<Vec<_>>(), learning);
    assert_eq!(learning.len(), 1 + 7 + 3 * 2 * 2);
    assert!(gradients.iter().all(|g| g.data.iter().any(|&x| x != 0.0)));
    assert_eq!(model.weights.num_trainable_params(), gradients.iter().map(|g| g.data.len()).sum::<usize>());

    let before = model.export();
    model.train_step(&rows.input(), &targets, &Hyper { weight_decay: 0.1, ..HYPER }).unwrap();
    for (before, after) in before.iter().zip(model.export()) {
        assert_eq!(before.data != after.data, learning.contains(&after.name), "{}", after.name);
    }
}

/// Both leave out the same inputs of the same adapters.
#[test]
fn dropout_is_the_engines() {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let mut adapt = lora(4, 6.0, &[Target::Q, Target::K, Target::V, Target::O], false, false);
    if let AdaptPlan::Lora { dropout, .. } = &mut adapt {
        *dropout = 0.25;
    }
    let plan = Plan { adapt, ..plan([SPARSE; 3]) };
    let weights = with_adapters(&plan, fixture.weights());
    let typed = LoraTiny::from_weights(&plan, &source(&weights)).unwrap();
    let (loss, gradients) = typed.loss_and_gradients(&Input { noise: Some(9), ..rows.input() }, &targets).unwrap();
    assert_ne!(loss, typed.loss_and_gradients(&Input { noise: Some(8), ..rows.input() }, &targets).unwrap().0);

    let tensors = weights.into_iter().map(|(name, (shape, data))| (name, Tensor { shape, data }));
    let tensors = tensors.collect::<ModelWeights>();
    let mut engine = Engine::new(Cpu::new(), &plan, &tensors, 0, Mode::Train).unwrap();
    let batch = Batch { targets, ..Batch::sequence(rows.tokens.clone(), &[0]).unwrap() };
    engine.set_noise(9);
    engine.learn(&batch, 1.0 / batch.counted() as f32, false).unwrap();
    let ours = engine.gradients();
    for Named { name, data, .. } in gradients {
        let error = relative(&ours.get(&name).unwrap().data, &data);
        assert!(error < 1e-4, "{name} {error}");
    }
}

/// The tied embedding gets the gradient of both its uses.
#[test]
fn a_tied_embedding_learns_from_both_ends() {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let mut weights = fixture.weights();
    weights.insert("lm_head.weight".into(), weights["model.embed_tokens.weight"].clone());
    let untied = plan([Pattern::Full; 3]);
    let tied = Plan { model: Shape { tied: true, ..untied.model.clone() }, ..untied.clone() };
    let two = Tiny::from_weights(&untied, &source(&weights)).unwrap();
    weights.remove("lm_head.weight");
    let one = TiedTiny::from_weights(&tied, &source(&weights)).unwrap();
    let (loss, of_two) = two.loss_and_gradients(&rows.input(), &targets).unwrap();
    let (tied_loss, of_one) = one.loss_and_gradients(&rows.input(), &targets).unwrap();
    assert_eq!(loss, tied_loss);
    let (first, last) = (&of_two[0].data, &of_two[of_two.len() - 1].data);
    let sum: Vec<f32> = first.iter().zip(last).map(|(a, b)| a + b).collect();
    assert_eq!(of_one.len(), of_two.len() - 1);
    assert!(relative(&of_one[0].data, &sum) < 1e-6);
}

/// QLoRA holds its frozen projections in NF4, and nothing else.
#[test]
fn quantized_projections_are_rounded() {
    let weights = Fixture::open().weights();
    let AdaptPlan::Lora { rank, alpha, rslora, scale, targets, .. } = lora(4, 8.0, &[Target::Q, Target::V], true, true)
    else {
        unreachable!()
    };
    let adapt =
        AdaptPlan::Lora { rank, alpha, rslora, scale, targets, embed: true, norm: true, quantized: true, dropout: 0.0 };
    let plan = Plan { adapt, ..plan([Pattern::Full; 3]) };
    let weights = with_adapters(&plan, weights);
    let model = LoraPlusTiny::from_weights(&plan, &source(&weights)).unwrap();
    let mut rounded = 0;
    for Named { name, data, .. } in model.export() {
        let original = &weights[&name].1;
        let mut nf4 = original.clone();
        if name.ends_with("_proj.weight") {
            kernels::nf4::quantize(original).dequantize_into(0..original.len(), &mut nf4);
            assert_ne!(&data, original, "{name}");
            rounded += 1;
        }
        assert_eq!(data, nf4, "{name}");
    }
    assert_eq!(rounded, 3 * 7);
}

/// W + s·B·A in place of every adapter.
fn merge(weights: &Weights, scale: f32) -> Weights {
    let mut merged = weights.clone();
    for (name, (shape, a)) in weights {
        let Some(module) = name.strip_suffix(".lora_A.weight") else { continue };
        let (b_shape, b) = &weights[&format!("{module}.lora_B.weight")];
        let product = matmul(b, a, (b_shape[0], shape[0], shape[1]));
        let (_, weight) = merged.get_mut(&format!("{module}.weight")).unwrap();
        weight.iter_mut().zip(product).for_each(|(w, p)| *w += scale * p);
    }
    merged.retain(|name, _| !name.contains(".lora_"));
    merged
}

/// `[m, k]` times `[k, n]`.
fn matmul(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    let cell = |i: usize, j: usize| (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum::<f64>();
    (0..m * n).map(|at| cell(at / n, at % n) as f32).collect()
}
