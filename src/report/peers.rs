//! What other programs do differently with an exported model, a sentence each.

use recipe_core::{AdaptPlan, HfConfig, Pattern, Plan, Scaling, readable_tokens};

use super::card::Exported;
use super::plan::attention;

/// Sentences for the terminal and the model card; none where other programs compute the same. `config` is what was written.
pub(crate) fn peers(plan: &Plan, config: &HfConfig, form: Exported) -> Vec<String> {
    let mut said = Vec::new();
    said.extend(of_attention(plan, config, form));
    said.extend(of_training(plan));
    if form != Exported::Gguf {
        said.extend(of_rope(plan));
    }
    if form == Exported::Adapter {
        said.extend(of_adapter(plan));
    }
    said
}

/// Windows, sinks, heads that stream, positions that are turned otherwise.
fn of_attention(plan: &Plan, config: &HfConfig, form: Exported) -> Option<String> {
    let served = plan.merged();
    if served.layers.iter().all(|pattern| *pattern == Pattern::Full) {
        return None;
    }
    let words = attention(&served);
    if form == Exported::Gguf {
        return Some(format!(
            "llama.cpp, Ollama and LM Studio run full attention in every layer, at positions that count on; this model was made \
             for: {words}."
        ));
    }
    let windows = config.get("sliding_window").is_some_and(|window| !window.is_null());
    let sink = served.layers.iter().map(sink).max().unwrap_or(0);
    let ours = windows && !matches!(config.get("model_type").and_then(|name| name.as_str()), Some("qwen2" | "qwen3"));
    match (ours, sink) {
        (true, 0) => None,
        (true, sink) => Some(format!(
            "Layers with a window see the window alone in transformers and vLLM; this model was made to see the first {sink} \
             tokens too, and no configuration can say so."
        )),
        (false, _) => Some(format!(
            "transformers and vLLM run full attention in every layer, at positions that count on; this model was made for: \
             {words}. `context_recipe_attention` in config.json keeps what each layer saw{}.",
            if windowed(&served) { "; `export --attention ministral` writes the windows, without sinks" } else { "" }
        )),
    }
}

fn sink(pattern: &Pattern) -> usize {
    match pattern {
        Pattern::Window { sink, .. } => *sink,
        _ => 0,
    }
}

/// Whether `HfConfig::as_ministral` takes it.
fn windowed(plan: &Plan) -> bool {
    let layers: Vec<Pattern> = plan.layers.to_vec();
    HfConfig::of(&plan.model).as_ministral(&layers).is_ok()
}

fn of_training(plan: &Plan) -> Option<String> {
    let grouped = plan.layers.iter().any(|pattern| matches!(pattern, Pattern::ShiftedGroups { .. }));
    grouped.then(|| "Shifted groups were for training alone: everything is served with full attention.".to_owned())
}

fn of_rope(plan: &Plan) -> Option<String> {
    let target = plan.target;
    match plan.rope.scaling {
        Scaling::Linear { .. } => Some(format!(
            "Some versions of vLLM multiply max_position_embeddings by a linear factor once more: start it with \
             `--max-model-len {target}`."
        )),
        Scaling::Dynamic { original, .. } => Some(format!(
            "Dynamic rope counts from max_position_embeddings, which therefore stays {}: allow {target} tokens where a \
             program asks (`--max-model-len {target}` of vLLM).",
            readable_tokens(original)
        )),
        Scaling::LongRope { original, .. } => Some(format!(
            "transformers chooses the long factors once a text is beyond {} tokens, and keys that a cache already holds keep \
             the short ones; vLLM chooses once for all texts.",
            readable_tokens(original)
        )),
        _ => None,
    }
}

fn of_adapter(plan: &Plan) -> Vec<String> {
    let mut said = vec![
        "An adapter carries no rope: PEFT has to load the base with the config.json that lies here, else positions are wrong."
            .to_owned(),
    ];
    let AdaptPlan::Lora { embed, norm, quantized, .. } = plan.adapt else { return said };
    if embed || norm {
        let what = match (embed, norm) {
            (true, true) => "embedding and norms",
            (true, false) => "the embedding",
            _ => "norms",
        };
        said.push(format!(
            "vLLM refuses this adapter, because {what} learned in full (modules_to_save): serve the merged model there \
             (`--format hf`)."
        ));
    }
    if quantized {
        said.push(
            "It was trained on a base in NF4: on the unquantised base its results differ by that rounding. The merged model \
             holds the NF4 values."
                .to_owned(),
        );
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::llama2_128k;
    use recipe_core::{GatesPlan, RopePlan};

    fn plan(layers: Vec<Pattern>) -> Plan {
        Plan { layers: layers.into(), gates: GatesPlan::Given, ..llama2_128k() }
    }

    fn said(plan: &Plan, form: Exported) -> String {
        peers(plan, &HfConfig::of(&plan.model).with_rope(&plan.rope, plan.target), form).join("\n")
    }

    const WINDOW: Pattern = Pattern::Window { window: 4096, sink: 4 };

    #[test]
    fn full_attention_is_nothing_to_speak_of() {
        let mut plan = plan(vec![Pattern::Full; 32]);
        plan.rope = RopePlan::native(&plan.model);
        assert_eq!(said(&plan, Exported::Hf), "");
        assert_eq!(said(&plan, Exported::Gguf), "");
    }

    #[test]
    fn windows_are_lost_or_lose_their_sinks() {
        let plan = plan([vec![WINDOW; 16], vec![Pattern::Full; 16]].concat());
        assert!(
            said(&plan, Exported::Hf).contains("full attention in every layer")
                && said(&plan, Exported::Hf).contains("ministral")
        );
        assert!(said(&plan, Exported::Gguf).contains("llama.cpp, Ollama and LM Studio run full attention"));
        let config = HfConfig::of(&plan.model).as_ministral(&plan.layers).unwrap();
        let as_ministral = peers(&plan, &config, Exported::Hf).join("\n");
        assert!(as_ministral.contains("first 4 tokens too") && !as_ministral.contains("every layer"), "{as_ministral}");
    }

    #[test]
    fn what_a_ministral_cannot_be_is_not_offered() {
        let words = said(&plan(vec![Pattern::SelfExtend { group: 8, window: 1024 }; 32]), Exported::Hf);
        assert!(words.contains("every layer") && !words.contains("ministral"), "{words}");
        let words = said(&plan(vec![Pattern::ShiftedGroups { size: 1024 }; 32]), Exported::Hf);
        assert!(words.contains("for training alone") && !words.contains("context_recipe_attention"), "{words}");
    }

    #[test]
    fn an_adapter_that_vllm_refuses_says_so() {
        let words = said(&llama2_128k(), Exported::Adapter);
        assert!(words.contains("vLLM refuses this adapter, because embedding and norms learned"), "{words}");
        assert!(words.contains("carries no rope") && words.contains("NF4") && words.contains("--max-model-len 131072"));
    }
}
