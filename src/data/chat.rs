//! Conversations: the tokenizer's own chat template turns them into text, and the loss counts what the assistant says.

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Rendered};
use minijinja::{Environment, ErrorKind, context};
use serde_json::Value;

/// Marks a token that nothing learns to predict; ids stay below it.
pub(super) const UNCOUNTED: u32 = 1 << 31;

/// The only name in the environment.
const NAME: &str = "chat";

/// A `chat_template` of Hugging Face, with the texts of the tokenizer's begin and end tokens.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// What decides its output: the template and the special tokens.
    pub(super) rules: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles `source`; an error is in words.
    pub(super) fn new(source: &str, [bos, eos]: [String; 2]) -> Result<Self, String> {
        let mut environment = Environment::new();
        // As transformers sets jinja2 up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise);
        environment.add_function("strftime_now", |format: &str| date(format));
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(|error| error.to_string())?;
        Ok(Self { environment, rules: [source, &bos, &eos].join("\0"), bos, eos })
    }

    /// The text of a conversation, and where in it the assistant speaks.
    ///
    /// A turn of the assistant goes from where a prompt for it would end to where the conversation up to it ends.
    pub(super) fn render(&self, messages: &[Value]) -> Result<(String, Vec<Range<usize>>), String> {
        let whole = self.text(messages, false)?;
        let mut spans = Vec::new();
        for (turn, message) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant") {
            let (prompt, end) = (self.text(&messages[..turn], true)?, self.text(&messages[..=turn], false)?);
            if !whole.starts_with(&end) || !end.starts_with(&prompt) {
                let said = message["content"].as_str().unwrap_or_default().chars().take(40).collect::<String>();
                return Err(format!(
                    "the chat template writes turn {} ({said:?}) in another way once turns follow it, so its tokens \
                     cannot be found; cut the conversation behind it",
                    turn + 1
                ));
            }
            spans.push(prompt.len()..end.len());
        }
        Ok((whole, spans))
    }

    fn text(&self, messages: &[Value], add_generation_prompt: bool) -> Result<String, String> {
        let values = context! {
            messages => Rendered::from(Serde(messages)),
            add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(values));
        rendered.map_err(|error| format!("the chat template refuses this conversation: {error}"))
    }
}

fn raise(message: String) -> Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// transformers' markers of what the assistant says; the place is found by rendering instead.
fn without_generation_tags(source: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(begin) = rest.find("{%") {
        let Some(length) = rest[begin..].find("%}") else { break };
        let (inside, behind) = (&rest[begin + 2..begin + length], begin + length);
        text.push_str(&rest[..begin + 2]);
        let (word, signs) = (inside.trim_matches(['-', '+', ' ', '\n', '\t']), ['-', '+']);
        let instead = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => "",
        };
        match instead {
            "" => text.push_str(inside),
            _ => {
                text.extend(inside.chars().next().filter(|sign| signs.contains(sign)));
                text.push_str(&format!(" {instead} "));
                text.extend(inside.chars().last().filter(|sign| signs.contains(sign)));
            }
        }
        rest = &rest[behind..];
    }
    text + rest
}

/// `strftime_now`: always 26 July 2024, which templates of Llama 3.1 take where there is no clock. Training text must not
/// depend on the day that it is read.
fn date(format: &str) -> String {
    let fields = [
        ("%Y", "2024"),
        ("%m", "07"),
        ("%d", "26"),
        ("%B", "July"),
        ("%b", "Jul"),
        ("%A", "Friday"),
        ("%a", "Fri"),
        ("%y", "24"),
        ("%j", "208"),
        ("%H", "00"),
        ("%M", "00"),
        ("%S", "00"),
    ];
    fields.iter().fold(format.to_owned(), |text, (field, value)| text.replace(field, value))
}

#[cfg(test)]
mod tests;
