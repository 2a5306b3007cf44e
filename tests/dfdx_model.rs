//! The typed dfdx model against PyTorch, and what a person may do with it.
//!
//! `fixtures/tiny_llama.safetensors` holds transformers' logits, losses and gradients in f64, rounded to f32. Errors are
//! relative to a tensor's largest value: max |ours − theirs| ÷ max |theirs|. Logits are held to 1e-4 and gradients to
//! 1e-3, some hundred times what f32 sums of this size lose.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use context_recipe::model::dfdx::nn::{LoadFromSafetensors, Module, NumParams, SaveToSafetensors, ZeroGrads};
use context_recipe::model::dfdx::optim::{Adam, AdamConfig, Optimizer};
use context_recipe::model::dfdx::shapes::Rank2;
use context_recipe::model::dfdx::tensor::{AsArray, Cpu, NoneTape, TensorFromVec};
use context_recipe::model::dfdx::tensor_ops::{Backward, MeanTo, PermuteTo};
use context_recipe::model::learn::{EMBED, K, NORM, O, Q, V};
use context_recipe::model::{Error, Full, Hyper, Input, Linear, Llama, Lora, Named, Through, TypedModel, tape};
use context_recipe::plan::{AdaptPlan, Device, Llama as Shape, Pattern, Plan, RopePlan, Scaling, Target};

type Tiny = Llama<3, 97, 64, 64, 32, 160>;
type TiedTiny = Llama<3, 97, 64, 64, 32, 160, 0, true>;
type LoraTiny = Llama<3, 97, 64, 64, 32, 160, 4, false, Lora<{ Q | K | V | O }, 0>>;
type LoraPlusTiny = Llama<3, 97, 64, 64, 32, 160, 4, false, Lora<{ Q | V }, { EMBED | NORM }>>;
type PeftTiny = Llama<3, 97, 64, 64, 32, 160, 4, false, Lora<127, 0>>;

const SPARSE: Pattern = Pattern::Window { window: 8, sink: 2 };

#[test]
fn equals_pytorch_with_full_attention() {
    against_pytorch("full", [Pattern::Full; 3]);
}

#[test]
fn equals_pytorch_with_windows_and_sinks() {
    against_pytorch("window_sink", [SPARSE; 3]);
}

#[test]
fn equals_pytorch_with_a_hybrid() {
    against_pytorch("hybrid", [SPARSE, Pattern::Full, SPARSE]);
}

#[test]
fn equals_pytorch_with_skipped_positions() {
    against_pytorch("skip", [Pattern::Full; 3]);
}

#[test]
fn equals_pytorch_with_documents() {
    against_pytorch("documents", [Pattern::Full; 3]);
}

/// peft's adapter on all seven projections, alpha ÷ rank = 2.
#[test]
fn equals_peft() {
    let adapter = File::open("tiny_peft/adapter_model.safetensors");
    let mut weights = Fixture::open().weights();
    for (name, (shape, values)) in adapter.0 {
        weights.insert(name["base_model.model.".len()..].to_owned(), (shape, values));
    }
    let plan = Plan { adapt: lora(4, 8.0, &Target::ALL, false, false), ..plan([Pattern::Full; 3]) };
    let model = PeftTiny::from_weights(&plan, &source(&weights)).unwrap();
    let theirs = File::open("tiny_peft_logits.safetensors");
    let rows = Rows::plain(theirs.ints("input_ids"));
    let error = relative(&TypedModel::logits(&model, &rows.input()).unwrap(), theirs.values("logits"));
    println!("peft: logits {error:.1e}");
    assert!(error < 1e-4, "{error}");
}

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

/// A model with adapters is the model whose weights are W + s·B·A; the chain rule gives the adapters' gradients from W's.
#[test]
fn adapters_equal_the_merged_weights() {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let plan = Plan { adapt: lora(4, 6.0, &[Target::Q, Target::K, Target::V, Target::O], false, false), ..plan([SPARSE; 3]) };
    let scale = 6.0 / 4.0;
    let weights = with_adapters(&plan, fixture.weights());
    let adapted = LoraTiny::from_weights(&plan, &source(&weights)).unwrap();
    let full = Plan { adapt: AdaptPlan::Full, ..plan.clone() };
    let merged = Tiny::from_weights(&full, &source(&merge(&weights, scale))).unwrap();

    let input = rows.input();
    let (logits, expected) = (TypedModel::logits(&adapted, &input).unwrap(), TypedModel::logits(&merged, &input).unwrap());
    assert!(relative(&logits, &expected) < 1e-5);

    let (_, dense) = merged.loss_and_gradients(&input, &targets).unwrap();
    let dense: BTreeMap<_, _> = dense.into_iter().map(|g| (g.name, g.data)).collect();
    let (_, gradients) = adapted.loss_and_gradients(&input, &targets).unwrap();
    assert_eq!(gradients.len(), 3 * 4 * 2);
    for gradient in gradients {
        let (module, part) = gradient.name.rsplit_once(".lora_").unwrap();
        let (dw, a, b) = (&dense[&format!("{module}.weight")], &weights[&format!("{module}.lora_A.weight")], &weights[&format!("{module}.lora_B.weight")]);
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
    let learning: Vec<String> =
        plan.parameters().into_iter().filter(|p| p.trainable).map(|p| p.name).collect();
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
    assert_eq!(file.0.keys().cloned().collect::<std::collections::BTreeSet<_>>(), names.into_iter().collect());
    let mut again = LoraPlusTiny::zeros(&plan).unwrap();
    again.weights.load_safetensors(&path).unwrap();
    assert_eq!(again.export(), model.export());
    let from_file = LoraPlusTiny::from_weights(&plan, &source(&file.0)).unwrap();
    let input = fixture.rows("full");
    assert_eq!(TypedModel::logits(&from_file, &input.input()).unwrap(), TypedModel::logits(&model, &input.input()).unwrap());
}

/// Token 0 reaches the last token of its document, however the positions jump, and nothing beyond it.
#[test]
fn documents_end_where_they_end() {
    let fixture = Fixture::open();
    let skip: Vec<u32> = fixture.file.ints("skip_positions").iter().map(|&p| p as u32).collect();
    for patterns in [[Pattern::Full; 3], [SPARSE, Pattern::Full, SPARSE]] {
        let model = Tiny::from_weights(&plan(patterns), &source(&fixture.weights())).unwrap();
        for positions in [(0..48).collect(), skip.clone()] {
            let mut rows = Rows { tokens: fixture.rows("full").tokens, positions, starts: vec![0; 48] };
            rows.starts[20..].fill(20);
            let before = TypedModel::logits(&model, &rows.input()).unwrap();
            rows.tokens[0] = (rows.tokens[0] + 1) % 97;
            let after = TypedModel::logits(&model, &rows.input()).unwrap();
            let row = |of: &[f32], row: usize| of[row * 97..(row + 1) * 97].to_vec();
            assert_ne!(row(&before, 19), row(&after, 19));
            assert_eq!(before[20 * 97..], after[20 * 97..]);
        }
    }
}

/// QLoRA holds its frozen projections in NF4, and nothing else.
#[test]
fn quantized_projections_are_rounded() {
    let weights = Fixture::open().weights();
    let AdaptPlan::Lora { rank, alpha, targets, .. } = lora(4, 8.0, &[Target::Q, Target::V], true, true) else { unreachable!() };
    let adapt = AdaptPlan::Lora { rank, alpha, targets, embed: true, norm: true, quantized: true };
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

/// A head of one's own on the model's features, trained together with it by dfdx's optimiser.
#[test]
fn a_head_of_ones_own() {
    let fixture = Fixture::open();
    let mut model = Tiny::from_weights(&plan([Pattern::Full; 3]), &source(&fixture.weights())).unwrap();
    let mut head = Linear::<64, 2>::new(Cpu::default().tensor_from_vec(vec![0.01; 128], Default::default())).unwrap();
    let rows = fixture.rows("full");
    let view = model.view(&rows.input()).unwrap();
    let (mut adam, mut head_adam) = (Adam::new(&model.weights, SMALL), Adam::new(&head, SMALL));
    let mut last = f32::INFINITY;
    for _ in 0..4 {
        let gradients = tape(model.weights.alloc_grads());
        let scores = model.hidden(&view, gradients).unwrap().through(&head, &view).unwrap();
        let wanted = scores.device().tensor_from_vec(vec![1.0; 96], (48, Default::default()));
        let loss = (scores - wanted).square().mean();
        assert!(loss.array() < last);
        last = loss.array();
        let gradients = loss.backward();
        adam.update(&mut model.weights, &gradients).unwrap();
        // The head was not among what `alloc_grads` marked, so its gradient is gone with the temporaries.
        assert!(head_adam.update(&mut head, &gradients).is_err());
    }
}

/// A permuted view is not what its memory says; layers read it as what it is.
#[test]
fn permuted_tensors_are_read_in_order() {
    let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let cpu = Cpu::default();
    let wide: context_recipe::model::dfdx::tensor::Tensor<Rank2<3, 4>, f32, Cpu> = cpu.tensor_from_vec(values.clone(), Default::default());
    let tall = Linear::<3, 4>::new(wide.permute()).unwrap();
    assert_eq!(tall.weight().as_vec(), transpose(&values, 3, 4));
}

#[test]
fn wrong_weights_are_refused_by_name() {
    let weights = Fixture::open().weights();
    let plan = plan([Pattern::Full; 3]);
    let mut missing = weights.clone();
    missing.remove("model.layers.1.mlp.up_proj.weight");
    let error = Tiny::from_weights(&plan, &source(&missing)).unwrap_err();
    assert!(matches!(&error, Error::MissingWeight { name, .. } if name == "model.layers.1.mlp.up_proj.weight"), "{error}");
    let mut bent = weights.clone();
    bent.get_mut("model.norm.weight").unwrap().0 = vec![63];
    let error = Tiny::from_weights(&plan, &source(&bent)).unwrap_err();
    assert!(matches!(&error, Error::WrongShape { got, .. } if got == &[63]), "{error}");
}

#[test]
fn a_type_for_another_plan_is_refused() {
    let plan = plan([Pattern::Full; 3]);
    let refused = |error: Error| match error {
        Error::Mismatch { what, .. } => what,
        other => panic!("{other}"),
    };
    let wide: Error = Llama::<3, 97, 64, 64, 32, 192>::zeros(&plan).unwrap_err();
    assert_eq!(refused(wide), "`model.layers.0.mlp.gate_proj.weight`");
    let tied = TiedTiny::zeros(&plan).unwrap_err();
    assert_eq!(refused(tied), "`lm_head.weight`");
    let frozen = LoraTiny::zeros(&plan).unwrap_err();
    assert_eq!(refused(frozen), "`model.embed_tokens.weight`");
    let shallow: Error = Llama::<2, 97, 64, 64, 32, 160, 0, false, Full>::zeros(&plan).unwrap_err();
    assert_eq!(refused(shallow), "`model.layers.2.input_layernorm.weight`");
}

#[test]
fn wrong_inputs_are_refused() {
    let model = Tiny::zeros(&plan([Pattern::Full; 3])).unwrap();
    let check = |tokens: &[u32], positions: &[u32], starts: &[usize]| {
        model.try_forward(Input { tokens, positions, starts }).map(|_| ()).unwrap_err()
    };
    assert!(matches!(check(&[], &[], &[]), Error::Length { .. }));
    assert!(matches!(check(&[1, 2], &[0], &[0, 0]), Error::Length { what: "positions", tokens: 2, got: 1 }));
    assert!(matches!(check(&[1, 97], &[0, 1], &[0, 0]), Error::Vocabulary { row: 1, id: 97, .. }));
    assert!(matches!(check(&[1, 2], &[0, 1], &[0, 2]), Error::Start { row: 1, start: 2 }));
    assert!(matches!(check(&[1, 2, 3], &[0, 1, 2], &[0, 1, 0]), Error::Start { row: 2, start: 0 }));
    let rows = Rows::plain(vec![1, 2]);
    let loss = |targets: &[i32]| TypedModel::loss(&model, &rows.input(), targets).unwrap_err();
    assert!(matches!(loss(&[1]), Error::Length { what: "targets", .. }));
    assert!(matches!(loss(&[-100, -100]), Error::NoTargets { rows: 2 }));
    assert!(matches!(loss(&[-1, 3]), Error::Vocabulary { what: "target", row: 0, id: -1, .. }));
    let other = model.view(&Rows::plain(vec![1, 2, 3]).input()).unwrap();
    let view = model.view(&rows.input()).unwrap();
    let x = model.hidden(&view, NoneTape).unwrap();
    let block = &model.weights.model.layers.modules[0];
    assert!(matches!(x.through(block, &other).unwrap_err(), Error::Rows { expected: 3, got: 2 }));
}

/// Ignored targets take no part: the mean is over the others.
#[test]
fn ignored_targets_take_no_part() {
    let fixture = Fixture::open();
    let model = Tiny::from_weights(&plan([Pattern::Full; 3]), &source(&fixture.weights())).unwrap();
    let (rows, targets) = (fixture.rows("full"), fixture.targets());
    let input = rows.input();
    let only = |keep: &dyn Fn(usize) -> bool| {
        let masked: Vec<i32> = targets.iter().enumerate().map(|(row, &t)| if keep(row) { t } else { -100 }).collect();
        f64::from(TypedModel::loss(&model, &input, &masked).unwrap())
    };
    let (odd, even, all) = (only(&|row| row % 2 == 1), only(&|row| row % 2 == 0), only(&|_| true));
    assert!(((odd + even) / 2.0 - all).abs() < 1e-5, "{odd} {even} {all}");
}

const HYPER: Hyper = Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, clip: f64::INFINITY };
const SMALL: AdamConfig = AdamConfig { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: None };

fn against_pytorch(tag: &str, patterns: [Pattern; 3]) {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows(tag), fixture.targets());
    let model = Tiny::from_weights(&plan(patterns), &source(&fixture.weights())).unwrap();
    let logits = relative(&TypedModel::logits(&model, &rows.input()).unwrap(), fixture.file.values(&format!("{tag}.logits")));
    let (loss, gradients) = model.loss_and_gradients(&rows.input(), &targets).unwrap();
    let expected = fixture.file.values(&format!("{tag}.loss"))[0];
    assert_eq!(gradients.len(), 3 * 9 + 3);
    let errors = gradients.iter().map(|gradient| {
        let error = relative(&gradient.data, fixture.file.values(&format!("{tag}.grad.{}", gradient.name)));
        assert!(error < 1e-3, "{tag} {} {error}", gradient.name);
        error
    });
    let worst = errors.fold(0.0, f32::max);
    println!("{tag}: logits {logits:.1e}, loss {:.1e}, worst gradient {worst:.1e}", (loss - expected).abs() / expected);
    assert!(logits < 1e-4, "{tag} {logits}");
    assert!((loss - expected).abs() < 1e-5 * expected, "{tag} {loss} {expected}");
    assert_eq!(loss, TypedModel::loss(&model, &rows.input(), &targets).unwrap());
}

/// The plan of the fixture's model.
fn plan(layers: [Pattern; 3]) -> Plan {
    let model = Shape {
        layers: 3,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn: 160,
        vocab: 97,
        context: 64,
        rope_theta: 10_000.0,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: false,
    };
    Plan {
        name: Cow::Borrowed("Tiny"),
        target: 64,
        rope: RopePlan::native(&model),
        layers: layers.to_vec().into(),
        block: 4,
        adapt: AdaptPlan::Full,
        data: Cow::Borrowed(&[]),
        stages: Cow::Borrowed(&[]),
        eval: Cow::Borrowed(&[]),
        device: Device::Cpu { memory: u64::MAX },
        notes: Cow::Borrowed(&[]),
        model,
    }
}

fn lora(rank: usize, alpha: f64, targets: &[Target], embed: bool, norm: bool) -> AdaptPlan {
    AdaptPlan::Lora { rank, alpha, targets: targets.to_vec().into(), embed, norm, quantized: false }
}

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn source<'w>(weights: &'w Weights) -> impl Fn(&str) -> Option<(&'w [usize], &'w [f32])> + 'w {
    move |name| weights.get(name).map(|(shape, values)| (shape.as_slice(), values.as_slice()))
}

/// The weights with some values in every adapter that the plan has.
fn with_adapters(plan: &Plan, mut weights: Weights) -> Weights {
    for parameter in plan.parameters().into_iter().filter(|p| p.name.contains(".lora_")) {
        let seed = weights.len();
        let values = (0..parameter.count()).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 505.0 - 0.1).collect();
        weights.insert(parameter.name, (parameter.shape, values));
    }
    weights
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

fn transpose(a: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| a[at % rows * columns + at / rows]).collect()
}

/// max |ours − theirs| ÷ max |theirs|.
fn relative(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let difference = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(ours.iter().all(|x| x.is_finite()));
    difference / theirs.iter().fold(0.0_f32, |most, x| most.max(x.abs()))
}

/// The rows of a pass.
struct Rows {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    starts: Vec<usize>,
}

impl Rows {
    fn plain(tokens: Vec<i64>) -> Self {
        let rows = tokens.len();
        Self { tokens: tokens.iter().map(|&t| t as u32).collect(), positions: (0..rows as u32).collect(), starts: vec![0; rows] }
    }

    fn input(&self) -> Input<'_> {
        Input { tokens: &self.tokens, positions: &self.positions, starts: &self.starts }
    }
}

/// `tiny_llama.safetensors`.
struct Fixture {
    file: File,
}

impl Fixture {
    fn open() -> Self {
        Self { file: File::open("tiny_llama.safetensors") }
    }

    fn weights(&self) -> Weights {
        let named = |(name, value): (&String, &(Vec<usize>, Vec<f32>))| Some((name.strip_prefix("weight.")?.to_owned(), value.clone()));
        self.file.0.iter().filter_map(named).collect()
    }

    fn rows(&self, tag: &str) -> Rows {
        let plain = Rows::plain(self.file.ints("input_ids"));
        let positions = |name: &str| self.file.ints(name).iter().map(|&p| p as u32).collect();
        match tag {
            "skip" => Rows { positions: positions("skip_positions"), ..plain },
            "documents" => {
                let ids = self.file.ints("documents");
                let start = |&id: &i64| ids.iter().position(|&other| other == id).unwrap();
                let starts = ids.iter().map(start).collect();
                Rows { positions: positions("document_positions"), starts, ..plain }
            }
            _ => plain,
        }
    }

    fn targets(&self) -> Vec<i32> {
        self.file.ints("target_ids").iter().map(|&id| id as i32).collect()
    }
}

/// A safetensors file as f32; integers stay exact up to 2²⁴.
struct File(Weights);

impl File {
    fn open(name: &str) -> Self {
        Self::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
    }

    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
            safetensors::Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            safetensors::Dtype::I64 => view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
            _ => view.data().iter().map(|&b| f32::from(b)).collect(),
        };
        Self(tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(&view)))).collect())
    }

    fn values(&self, name: &str) -> &[f32] {
        &self.0[name].1
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        self.values(name).iter().map(|&x| x as i64).collect()
    }
}
