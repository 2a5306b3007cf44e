use serde_json::json;

use super::*;

const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Llama 2's shape: a prompt is no header of its own, methods are Python's, and odd orders are refused.
const INST: &str = "{{ bos_token }}{% for message in messages %}\n    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n        {{ raise_exception('roles must alternate') }}\n    {% endif %}\n    {% if message['role'] == 'user' %}\n        {{ '[INST] ' + message['content'].strip() + ' [/INST]' }}\n    {% elif message['role'] == 'assistant' %}\n        {{ ' ' + message['content'].strip() + ' ' + eos_token }}\n    {% endif %}\n{% endfor %}";

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, ["<s>".to_owned(), "</s>".to_owned()]).unwrap()
}

fn talk() -> Vec<Value> {
    let says = |role: &str, content: &str| json!({ "role": role, "content": content });
    vec![says("user", "Hi"), says("assistant", "Hello."), says("user", "Bye"), says("assistant", "So long.")]
}

fn said(source: &str) -> (String, Vec<String>) {
    let (text, spans) = template(source).render(&talk()).unwrap();
    let parts = spans.into_iter().map(|span| text[span].to_owned()).collect();
    (text, parts)
}

#[test]
fn the_assistant_is_found_behind_a_generation_prompt() {
    let (text, parts) = said(CHATML);
    assert!(text.starts_with("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"), "{text}");
    assert_eq!(parts, ["Hello.<|im_end|>\n", "So long.<|im_end|>\n"]);
}

#[test]
fn the_assistant_is_found_without_one() {
    let (text, parts) = said(INST);
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>().concat(),
        "<s>[INST]Hi[/INST]Hello.</s>[INST]Bye[/INST]Solong.</s>"
    );
    assert!(
        parts[0].contains("Hello. </s>") && parts[1].contains("So long. </s>") && !parts[0].contains("INST"),
        "{parts:?}"
    );
}

#[test]
fn markers_of_generation_change_nothing() {
    let marked =
        CHATML.replace("message['content'] +", "'' }}{%- generation -%}{{ message['content'] }}{% endgeneration %}{{");
    assert_eq!(said(&marked), said(CHATML));
}

#[test]
fn refusals_are_in_the_templates_words() {
    let wrong = template(INST).render(&talk()[1..]).unwrap_err();
    assert!(wrong.contains("roles must alternate"), "{wrong}");
    assert!(ChatTemplate::new("{% for %}", [String::new(), String::new()]).is_err());
    // Answers but the last are left out.
    let forgetful = CHATML.replace("message['content'] +", "(message['content'] if loop.last else '') +");
    let wrong = template(&forgetful).render(&talk()).unwrap_err();
    assert!(wrong.contains("turn 2 (\"Hello.\")"), "{wrong}");
}

#[test]
fn every_day_is_the_same_day() {
    let dated = template("{{ strftime_now('%d %b %Y') }}");
    assert_eq!(dated.render(&[]).unwrap().0, "26 Jul 2024");
}
