//! The engine against PyTorch: logits, loss and every gradient of a tiny Llama.
//!
//! Errors are relative to the largest number of a tensor. f32 carries 6e-8; three layers of sums leave 1e-4 for logits and
//! 1e-3 for gradients with room to spare.

mod common;

use common::{batch, plan_with, reference, relative, tiny_llama, training_plan, weights};
use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{Adapt, AdaptPlan, Pattern, Plan, Stage, Target};

const FULL: Pattern = Pattern::Full;
const WINDOW: Pattern = Pattern::Window { window: 8, sink: 2 };

fn agrees_with_pytorch(tag: &str, layers: [Pattern; 3]) {
    let file = reference();
    let (batch, weights) = (batch(&file, tag), weights(&file));
    let expected = |name: &str| file.f32(&format!("{tag}.{name}")).expect("a reference tensor").data;
    for recompute in [true, false] {
        let mut engine = Engine::new(Cpu::new(), &plan_with(layers.to_vec()), &weights, 0, Mode::Train).unwrap();
        let error = relative(&engine.logits(&batch).unwrap(), &expected("logits"));
        assert!(error <= 1e-4, "{tag}: logits differ by {error:e}");
        engine.clear_gradients();
        let scores = engine.learn(&batch, 1.0 / batch.len() as f32, recompute).unwrap();
        let loss = scores.nll.iter().sum::<f32>() / batch.len() as f32;
        assert!((loss - expected("loss")[0]).abs() <= 1e-4 * loss, "{tag}: the loss is {loss}");
        let gradients = engine.gradients();
        assert_eq!(gradients.len(), weights.len());
        for (name, gradient) in gradients.iter() {
            let error = relative(&gradient.data, &expected(&format!("grad.{name}")));
            assert!(error <= 1e-3, "{tag}: the gradient of {name} differs by {error:e}");
        }
    }
}

#[test]
fn full_attention() {
    agrees_with_pytorch("full", [FULL; 3]);
}

#[test]
fn window_and_sinks() {
    agrees_with_pytorch("window_sink", [WINDOW; 3]);
}

#[test]
fn hybrid_layers() {
    agrees_with_pytorch("hybrid", [WINDOW, FULL, WINDOW]);
}

#[test]
fn strided_blocks() {
    agrees_with_pytorch("strided", [Pattern::Strided { block: 4, stride: 3, local: 2 }; 3]);
}

#[test]
fn shifted_groups() {
    agrees_with_pytorch("shifted_groups", [Pattern::ShiftedGroups { size: 12 }; 3]);
}

#[test]
fn retrieval_and_streaming_heads() {
    agrees_with_pytorch("duo", [Pattern::Duo { retrieval: 0b01, kv_heads: 2, window: 8, sink: 2 }; 3]);
}

#[test]
fn positions_that_skip() {
    agrees_with_pytorch("skip", [FULL; 3]);
}

#[test]
fn several_documents() {
    agrees_with_pytorch("documents", [FULL; 3]);
}

/// An MLP over tiles of rows gives the same bits, but in the gradients of its own matrices: those add up tile by tile. Products
/// as narrow as an adapter round by how many rows they have.
fn tiles_change_nothing(adapt: Adapt, bits: bool) {
    let mut plan = training_plan(adapt, vec![stage()]);
    plan.layers = vec![WINDOW, FULL, WINDOW].into();
    let base = started(&plan, weights(&reference()));
    let mut rng = context_recipe::data::Rng::new(&[1]);
    let batch = Batch::sequence((0..300).map(|_| rng.below(97) as u32).collect(), &[0]).unwrap();
    let run = |tile: usize| {
        let plan = Plan { tile, ..plan.clone() };
        let mut engine = Engine::new(Cpu::new(), &plan, &base, 3, Mode::Train).unwrap();
        let logits = engine.logits(&batch).unwrap();
        engine.clear_gradients();
        engine.set_noise(11);
        let nll = engine.learn(&batch, 1.0, true).unwrap().nll;
        (logits, nll, engine.gradients(), engine)
    };
    let whole = run(4096);
    for tile in [64, 128, 192] {
        let tiled = run(tile);
        let close = |ours: &[f32], theirs: &[f32], bits: bool, what: &str| {
            let error = relative(ours, theirs);
            assert!(if bits { ours == theirs } else { error <= 1e-5 }, "{what}, tiles of {tile}: {error:e}");
        };
        close(&tiled.0, &whole.0, bits, "logits");
        close(&tiled.1, &whole.1, bits, "the loss");
        for (name, gradient) in whole.2.iter() {
            close(&tiled.2.get(name).unwrap().data, &gradient.data, bits && !name.contains(".mlp."), name);
        }
        use context_recipe::engine::Device as _;
        assert!(tiled.3.device().memory().1 < whole.3.device().memory().1, "tiles of {tile} save nothing");
    }
}

#[test]
fn tiles_of_rows() {
    tiles_change_nothing(Adapt::Full, true);
}

#[test]
fn tiles_of_rows_under_adapters_that_do_not_see_all() {
    let mut adapt = lora(Target::ALL.to_vec(), true, true, true);
    if let Adapt::Lora { dropout, .. } = &mut adapt {
        *dropout = Some(0.3);
    }
    tiles_change_nothing(adapt, false);
}

/// Changes token 0 and looks at the last row's logits.
fn influence(batch: &Batch, layers: [Pattern; 3]) -> f32 {
    let weights = weights(&reference());
    let mut engine = Engine::new(Cpu::new(), &plan_with(layers.to_vec()), &weights, 0, Mode::Infer).unwrap();
    let last = |logits: Vec<f32>| logits[logits.len() - tiny_llama().vocab..].to_vec();
    let before = last(engine.logits(batch).unwrap());
    let mut changed = batch.clone();
    changed.tokens[0] = (changed.tokens[0] + 1) % 97;
    relative(&last(engine.logits(&changed).unwrap()), &before)
}

#[test]
fn positions_never_cut_a_document_and_borders_always_do() {
    let file = reference();
    assert!(influence(&batch(&file, "skip"), [FULL; 3]) > 1e-4);
    assert!(influence(&batch(&file, "full"), [WINDOW, FULL, WINDOW]) > 1e-4);
    assert_eq!(influence(&batch(&file, "documents"), [FULL; 3]), 0.0);
}

fn lora(targets: Vec<Target>, embed: bool, norm: bool, quantized: bool) -> Adapt {
    Adapt::Lora {
        rank: 4,
        alpha: Some(8.0),
        targets: Some(targets),
        embed,
        norm,
        quantized,
        rslora: false,
        dropout: None,
    }
}

/// B starts at zero, where A has no slope: adapters begin elsewhere.
fn started(plan: &Plan, mut weights: Weights) -> Weights {
    let engine = Engine::new(Cpu::new(), plan, &weights, 3, Mode::Infer).unwrap();
    for (name, mut tensor) in engine.values() {
        if name.contains(".lora_") {
            tensor.data.iter_mut().enumerate().for_each(|(i, x)| *x = 0.1 * ((i * 7 % 11) as f32 / 5.0 - 1.0));
            weights.insert(name, tensor);
        }
    }
    weights
}

fn stage() -> Stage {
    Stage { steps: Some(1), ..Stage::default() }
}

/// The nll's sum at `weights`.
fn loss_at(plan: &Plan, weights: &Weights, batch: &Batch) -> f64 {
    let mut engine = Engine::new(Cpu::new(), plan, weights, 3, Mode::Infer).unwrap();
    engine.score(batch).unwrap().nll.iter().map(|&nll| f64::from(nll)).sum()
}

#[test]
fn adapters_learn_and_nothing_frozen_does() {
    let file = reference();
    let (batch, base) = (batch(&file, "full"), weights(&file));
    let plan = training_plan(lora(vec![Target::Q, Target::Down], true, true, false), vec![stage()]);
    let mut engine = Engine::new(Cpu::new(), &plan, &base, 3, Mode::Train).unwrap();
    engine.clear_gradients();
    engine.learn(&batch, 1.0, true).unwrap();
    let names: Vec<String> = engine.gradients().names().map(str::to_owned).collect();
    let may_learn = |name: &String| name.contains(".lora_") || name.contains("norm") || name.contains("embed_tokens");
    assert!(names.iter().all(may_learn), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains(".lora_")).count(), 3 * 2 * 2);
}

/// The nll's sum at `weights` while training, with the dropout of one pass.
fn training_loss_at(plan: &Plan, weights: &Weights, batch: &Batch) -> f64 {
    let mut engine = Engine::new(Cpu::new(), plan, weights, 3, Mode::Train).unwrap();
    engine.set_noise(11);
    engine.learn(batch, 1.0, true).unwrap().nll.iter().map(|&nll| f64::from(nll)).sum()
}

#[test]
fn adapter_gradients_are_the_slope_of_the_loss() {
    gradients_are_slopes(lora(Target::ALL.to_vec(), false, false, false), loss_at);
}

#[test]
fn adapter_gradients_see_what_dropout_left_them() {
    let mut adapt = lora(Target::ALL.to_vec(), false, false, false);
    if let Adapt::Lora { dropout, .. } = &mut adapt {
        *dropout = Some(0.3);
    }
    gradients_are_slopes(adapt, training_loss_at);
}

#[test]
fn dropout_is_for_training() {
    let file = reference();
    let (batch, base) = (batch(&file, "full"), weights(&file));
    let plan = training_plan(lora(vec![Target::Q], false, false, false), vec![stage()]);
    let mut dropping = plan.clone();
    if let AdaptPlan::Lora { dropout, .. } = &mut dropping.adapt {
        *dropout = 0.5;
    }
    assert_eq!(loss_at(&plan, &base, &batch), loss_at(&dropping, &base, &batch));
    let mut trained = base.clone();
    for (name, mut tensor) in Engine::new(Cpu::new(), &plan, &base, 3, Mode::Infer).unwrap().values() {
        tensor.data.iter_mut().filter(|_| name.contains(".lora_")).for_each(|x| *x += 0.1);
        trained.insert(name, tensor);
    }
    assert_eq!(loss_at(&plan, &trained, &batch), loss_at(&dropping, &trained, &batch));
    assert_ne!(training_loss_at(&plan, &trained, &batch), training_loss_at(&dropping, &trained, &batch));
    assert_eq!(training_loss_at(&dropping, &trained, &batch), training_loss_at(&dropping, &trained, &batch));
}

fn gradients_are_slopes(adapt: Adapt, loss_at: fn(&Plan, &Weights, &Batch) -> f64) {
    let file = reference();
    let batch = batch(&file, "hybrid");
    let plan = training_plan(adapt, vec![stage()]);
    let plan = Plan { layers: vec![WINDOW, FULL, WINDOW].into(), ..plan };
    let weights = started(&plan, weights(&file));
    let mut engine = Engine::new(Cpu::new(), &plan, &weights, 3, Mode::Train).unwrap();
    engine.clear_gradients();
    engine.set_noise(11);
    engine.learn(&batch, 1.0, true).unwrap();
    for (name, gradient) in engine.gradients().iter() {
        // Along the gradient itself the slope is its length.
        let length = gradient.data.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        let step = 1e-2 / length;
        let moved = |sign: f64| {
            let mut weights = weights.clone();
            let tensor = weights.get_mut(name).unwrap();
            tensor.data.iter_mut().zip(&gradient.data).for_each(|(x, g)| *x += (sign * step * f64::from(*g)) as f32);
            loss_at(&plan, &weights, &batch)
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step * length);
        assert!((slope / length - 1.0).abs() < 2e-2, "{name}: slope {slope}, gradient {length}");
    }
}

#[test]
fn merged_weights_compute_what_adapters_do() {
    let file = reference();
    let (batch, base) = (batch(&file, "full"), weights(&file));
    let plan = training_plan(lora(vec![Target::V, Target::Gate], false, false, false), vec![stage()]);
    let mut engine = Engine::new(Cpu::new(), &plan, &base, 3, Mode::Train).unwrap();
    let hyper = kernels_step();
    for _ in 0..3 {
        engine.clear_gradients();
        engine.learn(&batch, 0.1, true).unwrap();
        engine.update(&hyper);
    }
    let adapted = engine.logits(&batch).unwrap();
    let mut merged = Engine::new(Cpu::new(), &plan.merged(), &engine.merged(), 0, Mode::Infer).unwrap();
    let error = relative(&merged.logits(&batch).unwrap(), &adapted);
    assert!(error < 1e-5, "{error:e}");
    let mut untouched = Engine::new(Cpu::new(), &plan.merged(), &base, 0, Mode::Infer).unwrap();
    assert!(relative(&untouched.logits(&batch).unwrap(), &adapted) > 1e-3, "training changed nothing");
}

fn kernels_step() -> context_recipe::engine::Hyper {
    let (lr, beta1, beta2, eps) = (1e-2, 0.9, 0.95, 1e-8);
    context_recipe::engine::Hyper { lr, beta1, beta2, eps, weight_decay: 0.0, step: 1, grad_scale: 1.0 }
}

#[test]
fn a_quantized_base_takes_the_bytes_that_the_plan_says() {
    use context_recipe::engine::Device as _;
    let base = weights(&reference());
    let bytes = |quantized| {
        let plan = training_plan(lora(vec![Target::Q], false, false, quantized), vec![stage()]);
        let engine = Engine::new(Cpu::new(), &plan, &base, 3, Mode::Infer).unwrap();
        (engine.device().memory().0, plan)
    };
    let ((dense, _), (four_bit, plan)) = (bytes(false), bytes(true));
    let projections: u64 = plan
        .parameters()
        .iter()
        .filter(|parameter| parameter.name.ends_with("_proj.weight"))
        .map(|parameter| parameter.shape.iter().product::<usize>() as u64)
        .sum();
    let saved = 4.0 - 0.5 - 1.0 / 64.0 - 4.0 / (64.0 * 256.0);
    let expected = projections as f64 * saved;
    assert!(((dense - four_bit) as f64 / expected - 1.0).abs() < 0.01, "{dense} {four_bit}");
}

/// Pass, prompt and token by token: all compute what the weights that the blocks stand for do.
#[test]
fn matrices_of_eight_bits_are_the_weights_they_stand_for() {
    use context_recipe::engine::Device as _;
    let (plan, base) = (plan_with(vec![WINDOW, FULL, WINDOW]), weights(&reference()));
    let batch = batch(&reference(), "hybrid");
    let mut engine = Engine::new(Cpu::new(), &plan, &base, 0, Mode::InferQ8_0).unwrap();
    let matrices = base.iter().filter(|(_, tensor)| tensor.shape.len() == 2).map(|(_, tensor)| tensor.data.len());
    let [all, matrices] = [base.iter().map(|(_, tensor)| tensor.data.len()).sum(), matrices.sum::<usize>()];
    assert_eq!(engine.device().memory().0 as usize, 4 * (all - matrices) + 34 * matrices / 32);
    let mut dense = Engine::new(Cpu::new(), &plan, &engine.values(), 0, Mode::Infer).unwrap();
    let (eight, expected) = (engine.logits(&batch).unwrap(), dense.logits(&batch).unwrap());
    assert!(relative(&eight, &expected) <= 1e-5, "{:e}", relative(&eight, &expected));
    let scores = engine.score(&batch).unwrap();
    assert!(relative(&scores.nll, &dense.score(&batch).unwrap().nll) <= 1e-5);
    let mut cache = engine.cache(48).unwrap();
    engine.prefill(&mut cache, &batch.tokens[..40]).unwrap();
    batch.tokens[40..].iter().for_each(|&token| engine.prefill(&mut cache, &[token]).unwrap());
    let (last, vocab) = (engine.next_logits(&mut cache).unwrap(), plan.model.vocab);
    assert!(relative(&last, &expected[expected.len() - vocab..]) <= 1e-5);
    let mut full = Engine::new(Cpu::new(), &plan, &base, 0, Mode::Infer).unwrap();
    let lost = relative(&eight, &full.logits(&batch).unwrap());
    assert!((1e-3..5e-2).contains(&lost), "{lost:e}");
}
