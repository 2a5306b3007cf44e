//! The typed dfdx model against PyTorch, and what a person may do with it.
//!
//! `fixtures/tiny_llama.safetensors` holds transformers' logits, losses and gradients in f64, rounded to f32. Errors are
//! relative to a tensor's largest value: max |ours − theirs| ÷ max |theirs|. Logits are held to 1e-4 and gradients to
//! 1e-3, some hundred times what f32 sums of this size lose.

mod adapters;
mod passes;
mod refusals;
mod research;
mod support;
mod training;

use context_recipe::model::TypedModel;
use context_recipe::plan::{Pattern, Plan, Target};

use support::{File, Fixture, PeftTiny, Rows, SPARSE, Tiny, lora, plan, relative, source};

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
fn equals_pytorch_with_strided_blocks() {
    against_pytorch("strided", [Pattern::Strided { block: 4, stride: 3, local: 2 }; 3]);
}

#[test]
fn equals_pytorch_with_shifted_groups() {
    against_pytorch("shifted_groups", [Pattern::ShiftedGroups { size: 12 }; 3]);
}

#[test]
fn equals_pytorch_with_retrieval_heads() {
    against_pytorch("duo", [Pattern::Duo { retrieval: 0b01, kv_heads: 2, window: 8, sink: 2 }; 3]);
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
    let error = relative(&model.logits(&rows.input()).unwrap(), theirs.values("logits"));
    println!("peft: logits {error:.1e}");
    assert!(error < 1e-4, "{error}");
}

fn against_pytorch(tag: &str, patterns: [Pattern; 3]) {
    let fixture = Fixture::open();
    let (rows, targets) = (fixture.rows(tag), fixture.targets());
    let model = Tiny::from_weights(&plan(patterns), &source(&fixture.weights())).unwrap();
    let logits = relative(&model.logits(&rows.input()).unwrap(), fixture.file.values(&format!("{tag}.logits")));
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
    assert_eq!(loss, model.loss(&rows.input(), &targets).unwrap());
}
