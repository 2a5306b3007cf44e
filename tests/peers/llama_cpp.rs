//! Greedy text of llama.cpp from exported GGUF files.

use std::path::{Path, PathBuf};

use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{Checkpoint, GgufOptions, GgufType, Special, Tokenizer, Weights, write_gguf};
use context_recipe::plan::{HfConfig, Llama, Plan, Rope};
use serde_json::{Value, json};

use crate::answers;
use crate::cases::{base, plan, random, ropes, tokens};

/// Tokens that are generated.
const COUNT: usize = 32;
/// Below this difference of the two best logits either may win.
const MARGIN: f32 = 1e-2;

/// A file, what is asked of it, and the engine that answers first.
struct Case {
    name: String,
    file: PathBuf,
    prompt: Value,
    tokens: Vec<u32>,
    context: usize,
    engine: Engine<Cpu>,
}

fn case(dir: &Path, name: &str, plan: &Plan, weights: &Weights, tokenizer: &Tokenizer) -> Case {
    let file = dir.join(format!("{name}.gguf"));
    let config = HfConfig::of(&plan.model).with_rope(&plan.rope, plan.target);
    let options = GgufOptions { kind: GgufType::F32, name, tokenizer: Some(tokenizer) };
    write_gguf(&file, &config, weights.views(), &options).unwrap();
    let engine = Engine::new(Cpu::new(), &plan.merged(), weights, 0, Mode::Infer).unwrap();
    let tokens = tokens(plan.model.vocab);
    Case { name: name.to_owned(), file, prompt: json!(tokens), tokens, context: plan.target, engine }
}

/// Both best log-probabilities of the token after `text`, and which token is best.
fn best(engine: &mut Engine<Cpu>, text: &[u32]) -> (usize, [f32; 2], f32) {
    let logits = engine.logits(&Batch::sequence(text.to_vec(), &[0]).unwrap()).unwrap();
    let vocab = engine.plan().model.vocab;
    let row = &logits[logits.len() - vocab..];
    let mut order: Vec<usize> = (0..vocab).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let most = row[order[0]];
    let total = row.iter().map(|logit| f64::from(logit - most).exp()).sum::<f64>().ln() as f32;
    (order[0], [-total, row[order[1]] - most - total], most - row[order[1]])
}

/// Follows llama.cpp's own text, so that one tight place does not end the comparison.
fn follows(case: &mut Case, found: &Value) {
    let mut text = case.tokens.clone();
    let (mut worst, mut tight) = (0f32, 0);
    let theirs = found["tokens"].as_array().unwrap();
    assert_eq!((theirs.len(), &found["read"]), (COUNT, &json!(text.len())), "{}: {found}", case.name);
    for (token, top) in theirs.iter().zip(found["top"].as_array().unwrap()) {
        let (ours, logs, margin) = best(&mut case.engine, &text);
        let theirs = token.as_u64().unwrap();
        tight += usize::from(margin < MARGIN);
        assert!(
            theirs == ours as u64 || margin < MARGIN,
            "{} after {}: {theirs} instead of {ours}, margin {margin}",
            case.name,
            text.len()
        );
        for (log, top) in logs.iter().zip(top.as_array().unwrap()) {
            worst = worst.max((top.as_f64().unwrap() as f32 - log).abs());
        }
        text.push(theirs as u32);
    }
    println!("{}: {} tokens, {tight} tight, log-probabilities within {worst:.1e}", case.name, theirs.len());
    assert!(worst < 2e-3, "{}: log-probabilities differ by {worst:e}", case.name);
}

#[test]
fn llama_cpp_writes_the_same_text() {
    let dir = tempfile::tempdir().unwrap();
    let llama = base();
    let lost = ["yarn, other betas", "yarn, not truncated", "dynamic"];
    let laws = ropes().into_iter().filter(|(name, _)| !lost.contains(name));
    let mut cases: Vec<Case> = laws
        .map(|(name, rope)| case(dir.path(), name, &plan(&llama.model, Some(rope)), &llama.weights, &llama.tokenizer))
        .collect();
    for (name, model) in [
        ("qwen2", Llama { qkv_bias: true, tied: false, ..llama.model.clone() }),
        ("qwen3", Llama { qk_norm: true, kv_heads: 2, tied: false, ..llama.model.clone() }),
        ("grouped llama", Llama { kv_heads: 2, tied: false, ..llama.model.clone() }),
    ] {
        let yarn = Rope::Yarn { scale: 4.0, beta_fast: None, beta_slow: None, attention_factor: None, truncate: None };
        cases.push(case(dir.path(), name, &plan(&model, Some(yarn)), &wordy(&model), &llama.tokenizer));
    }
    cases.extend(smollm2(dir.path()));
    let asked: Vec<Value> = cases
        .iter()
        .map(|case| json!({ "name": case.name, "file": case.file, "prompt": case.prompt, "count": COUNT, "context": case.context }))
        .collect();
    let found = answers("llama_cpp.py", dir.path(), &asked);
    cases.iter_mut().zip(&found).for_each(|(case, found)| follows(case, found));
}

/// A model that was never trained and never says the first tokens of the embedded vocabulary, the ends and single bytes:
/// llama.cpp's server does not report a byte that begins no letter.
fn wordy(model: &Llama) -> Weights {
    let mut weights = random(model);
    weights.get_mut("lm_head.weight").unwrap().data[..258 * model.hidden].fill(0.0);
    weights
}

/// A real model, asked in text: its vocabulary has to cut it as ours does.
fn smollm2(dir: &Path) -> Option<Case> {
    let path = PathBuf::from(std::env::var("SMOLLM2").ok()?);
    let Checkpoint { model, weights, tokenizer, .. } = Checkpoint::open(&path).unwrap();
    let tokenizer = tokenizer.unwrap();
    let plan = crate::common::recipe(model).plan().unwrap();
    let prompt = "Gravity is the force that 12345 physicists call";
    let tokens = tokenizer.encode(prompt, Special::Add).unwrap();
    let case = case(dir, "SmolLM2", &plan, &weights, &tokenizer);
    Some(Case { prompt: json!(prompt), tokens, context: 256, ..case })
}
