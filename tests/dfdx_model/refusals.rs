//! Everything that is refused, and by which name.

use context_recipe::model::dfdx::nn::Module;
use context_recipe::model::dfdx::tensor::NoneTape;
use context_recipe::model::{Error, Full, Input, Llama, Through, TypedModel};
use context_recipe::plan::{Pattern, Plan, Target};

use crate::support::{Fixture, LoraPlusTiny, LoraTiny, Rows, TiedTiny, Tiny, lora, plan, source, with_adapters};

#[test]
fn wrong_weights_are_refused_by_name() {
    let weights = Fixture::open().weights();
    let plan = plan([Pattern::Full; 3]);
    let mut missing = weights.clone();
    missing.remove("model.layers.1.mlp.up_proj.weight");
    let error = Tiny::from_weights(&plan, &source(&missing)).unwrap_err();
    assert!(
        matches!(&error, Error::MissingWeight { name, .. } if name == "model.layers.1.mlp.up_proj.weight"),
        "{error}"
    );
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
    assert_eq!(refused(wide), "model.layers.0.mlp.gate_proj.weight");
    let tied = TiedTiny::zeros(&plan).unwrap_err();
    assert_eq!(refused(tied), "lm_head.weight");
    let lora = Plan { adapt: lora(4, 8.0, &[Target::Q, Target::V], true, false), ..plan.clone() };
    let weights = with_adapters(&lora, Fixture::open().weights());
    let norms = LoraPlusTiny::from_weights(&lora, &source(&weights)).unwrap_err();
    assert_eq!(refused(norms), "model.layers.0.input_layernorm.weight");
    assert!(LoraPlusTiny::load(&lora, &source(&weights)).is_ok());
    let frozen = LoraTiny::zeros(&plan).unwrap_err();
    assert_eq!(refused(frozen), "model.layers.0.self_attn.k_proj.weight");
    let shallow: Error = Llama::<2, 97, 64, 64, 32, 160, 0, false, Full>::zeros(&plan).unwrap_err();
    assert_eq!(refused(shallow), "model.layers.2.input_layernorm.weight");
}

#[test]
fn wrong_inputs_are_refused() {
    let model = Tiny::zeros(&plan([Pattern::Full; 3])).unwrap();
    let check = |tokens: &[u32], positions: &[u32], starts: &[usize]| {
        model.try_forward(Input { tokens, positions, starts, stretch: None, noise: None }).map(|_| ()).unwrap_err()
    };
    assert!(matches!(check(&[], &[], &[]), Error::Length { .. }));
    assert!(matches!(check(&[1, 2], &[0], &[0, 0]), Error::Length { what: "positions", tokens: 2, got: 1 }));
    assert!(matches!(check(&[1, 97], &[0, 1], &[0, 0]), Error::Vocabulary { row: 1, id: 97, .. }));
    assert!(matches!(check(&[1, 2], &[0, 1], &[0, 2]), Error::Start { row: 1, start: 2 }));
    assert!(matches!(check(&[1, 2, 3], &[0, 1, 2], &[0, 1, 0]), Error::Start { row: 2, start: 0 }));
    let rows = Rows::plain(vec![1, 2]);
    let loss = |targets: &[i32]| model.loss(&rows.input(), targets).unwrap_err();
    assert!(matches!(loss(&[1]), Error::Length { what: "targets", .. }));
    assert!(matches!(loss(&[-100, -100]), Error::NoTargets { rows: 2 }));
    assert!(matches!(loss(&[-1, 3]), Error::Vocabulary { what: "target", row: 0, id: -1, .. }));
    let other = model.view(&Rows::plain(vec![1, 2, 3]).input()).unwrap();
    let view = model.view(&rows.input()).unwrap();
    let x = model.hidden(&view, NoneTape).unwrap();
    let block = &model.weights.model.layers.modules[0];
    assert!(matches!(x.through(block, &other).unwrap_err(), Error::Rows { expected: 3, got: 2 }));
}
