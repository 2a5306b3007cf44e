//! The model card: a README.md with the header that model hubs read, written from the plan and from what was measured.

use recipe_core::Plan;
use serde_json::Value;

use super::markdown;
use super::number::{plain, scientific};
use super::page::{Block, Page};
use super::plan::{data, training};
use super::table::{Align, Table, clean, markdown_cell};
use super::training::training_table;
use crate::train::StepMetrics;

/// The form that a model leaves in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exported {
    /// A Hugging Face directory.
    Hf,
    /// A PEFT directory.
    Adapter,
    /// A GGUF file, which has no card.
    Gguf,
}

/// What a card is made of; what is empty is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Card<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) form: Exported,
    /// What the base model is called.
    pub(crate) base: &'a str,
    /// Where the weights come from.
    pub(crate) weights: &'a str,
    pub(crate) dtype: &'a str,
    /// Every optimiser step of the run.
    pub(crate) metrics: &'a [StepMetrics],
    /// What `eval --json` printed.
    pub(crate) evaluation: Option<&'a Value>,
    /// What other programs do differently.
    pub(crate) peers: &'a [String],
}

impl Card<'_> {
    /// The keys that hubs read, then the page.
    pub(crate) fn markdown(&self) -> String {
        let plan = self.plan;
        let mut page = Page::new(&plan.name);
        page.add(Block::Text(format!(
            "Made by the recipe `{}` of context-recipe {}: {}, stored as {}.",
            markdown_cell(&clean(&plan.name)),
            env!("CARGO_PKG_VERSION"),
            markdown_cell(&clean(self.weights)),
            self.dtype
        )));
        page.section("Recipe", [Block::plan(plan)]);
        page.section("How to load it", [Block::Text(self.loading())]);
        page.section("What other programs do differently", [Block::lines(self.peers)]);
        if !plan.stages.is_empty() {
            page.section("Training, as planned", [Block::Text(fence("text", &training(plan)))]);
            page.section("Data", [Block::Text(fence("text", &data(plan)))]);
        }
        if !self.metrics.is_empty() {
            page.section("Training, as measured", [Block::Table(training_table(plan, self.metrics))]);
        }
        page.section("Evaluation", self.evaluation.map(evaluated).unwrap_or_default());
        page.section("Notes", [Block::notes(&plan.notes)]);
        self.keys() + &markdown::page(&page)
    }

    fn keys(&self) -> String {
        let library = if self.form == Exported::Adapter { "peft" } else { "transformers" };
        format!(
            "---\nlibrary_name: {library}\npipeline_tag: text-generation\nbase_model: {}\ntags:\n- long-context\n\
             - context-recipe\n---\n\n",
            Value::from(self.base)
        )
    }

    fn loading(&self) -> String {
        let program = match self.form {
            Exported::Hf | Exported::Gguf => {
                "from transformers import AutoModelForCausalLM\n\n\
                 model = AutoModelForCausalLM.from_pretrained(\"this directory\", dtype=\"auto\")\n"
            }
            Exported::Adapter => {
                "from transformers import AutoConfig, AutoModelForCausalLM\nfrom peft import PeftModel\n\n\
                 config = AutoConfig.from_pretrained(\"this directory\")  # the rope\n\
                 base = AutoModelForCausalLM.from_pretrained(\"the base model\", config=config, dtype=\"auto\")\n\
                 model = PeftModel.from_pretrained(base, \"this directory\")\n"
            }
        };
        fence("python", program)
    }
}

fn fence(language: &str, text: &str) -> String {
    format!("```{language}\n{}\n```\n", text.trim_end())
}

/// A table for each list of figures, with the columns that hold plain values.
fn evaluated(found: &Value) -> Vec<Block> {
    let lists = found.as_object().into_iter().flatten();
    let tables = lists.filter_map(|(name, rows)| Some((name, table(rows.as_array()?)?)));
    tables.flat_map(|(name, table)| [Block::Text(markdown_cell(&clean(name))), Block::Table(table)]).collect()
}

fn table(rows: &[Value]) -> Option<Table> {
    let plain_value = |value: &&Value| !value.is_object() && !value.is_array() && !value.is_null();
    let columns: Vec<&String> =
        rows.first()?.as_object()?.iter().filter(|(_, value)| plain_value(value)).map(|(name, _)| name).collect();
    let mut table = Table::new(columns.iter().map(|name| (name.as_str(), Align::Right)));
    for row in rows {
        table.row(columns.iter().map(|name| cell(&row[name.as_str()])).collect::<Vec<_>>());
    }
    Some(table)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => scientific(number.as_f64().unwrap_or(f64::NAN)),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), plain),
        Value::String(text) => clean(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{llama2_128k, metrics};
    use serde_json::json;

    fn card<'a>(plan: &'a Plan, form: Exported) -> Card<'a> {
        Card {
            plan,
            form,
            base: "Llama-2",
            weights: "step 7",
            dtype: "bf16",
            metrics: &[],
            evaluation: None,
            peers: &[],
        }
    }

    fn headings(page: &str) -> Vec<&str> {
        page.lines().filter(|line| line.starts_with("## ")).collect()
    }

    #[test]
    fn a_card_says_what_there_is() {
        let plan = llama2_128k();
        let page = card(&plan, Exported::Hf).markdown();
        assert!(page.starts_with("---\nlibrary_name: transformers\n") && page.contains("base_model: \"Llama-2\"\n"));
        let expected = ["## Recipe", "## How to load it", "## Training, as planned", "## Data", "## Notes"];
        assert_eq!(headings(&page), expected);
        assert!(page.contains("| rope | linear, theta 10000, factor 32, attention factor 1 |"), "{page}");
    }

    #[test]
    fn figures_are_shown_where_they_were_measured() {
        let plan = llama2_128k();
        let found = json!({ "perplexity": [{ "context": 4096, "mean_nll": 2.0, "nll": [1.0], "protocol": {} },
            { "context": 8192, "mean_nll": 2.5, "nll": [1.0], "protocol": {} }], "passkey": [] });
        let (metrics, peers) = (metrics(&plan), ["vLLM refuses".to_owned()]);
        let page =
            Card { metrics: &metrics, evaluation: Some(&found), peers: &peers, ..card(&plan, Exported::Adapter) }
                .markdown();
        assert!(page.contains("library_name: peft") && page.contains("PeftModel.from_pretrained"));
        assert!(page.contains("## Training, as measured") && page.contains("- vLLM refuses"));
        assert!(page.contains("| context | mean_nll |") && page.contains("| 8192 | 2.5 |"), "{page}");
        assert!(!page.contains("passkey\n\n|"));
    }
}
