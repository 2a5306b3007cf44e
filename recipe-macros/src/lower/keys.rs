//! One function for each key that has no file of its own: its words to the recipe's types.

use proc_macro2::Ident;
use recipe_core::{
    Adapt, Context as Native, Device, Eval, Field, Form, Needle, Optimizer, Positions, Select, Target, TokenType,
};

use super::missing;
use crate::ast::{Node, Value};
use crate::bind::{Bound, Context};
use crate::kind::{Datum, Kind, World, guessed_length};
use crate::words;

/// `context: 4K -> 128K`, `context: 8K`.
pub(super) fn context(context: &mut Context, value: Option<&Value>, name: &Ident) -> Native {
    let Some(value) = value else {
        missing(
            context,
            "context",
            name,
            "write `context: 4K -> 128K`: the model's own window and the new one".to_owned(),
        );
        return Native { native: None, target: length(context, None, "context.target") };
    };
    match &value.node {
        Node::Arrow(native, target) => Native {
            native: Some(length(context, Some(native), "context.native")),
            target: length(context, Some(target), "context.target"),
        },
        _ => Native { native: None, target: length(context, Some(value), "context.target") },
    }
}

fn length(context: &mut Context, value: Option<&Value>, path: &'static str) -> usize {
    let datum = value.map(|value| {
        context.spans.note(&Field::new(path), &value.tokens);
        Kind::Length.read(value)
    });
    match datum {
        Some(Ok(Datum::Count(length))) => return usize::try_from(length).unwrap_or(usize::MAX),
        Some(Err(problems)) => problems.into_iter().for_each(|problem| context.problems.push(problem)),
        _ => {}
    }
    usize::try_from(guessed_length(context.world)).unwrap_or(usize::MAX)
}

pub(super) fn positions(context: &mut Context, value: &Value) -> Positions {
    let Some((word, written)) = context.word("positions", words::POSITIONS, &[], value) else {
        return if context.world == World::Low { Positions::Contiguous } else { Positions::Random };
    };
    let bound = context.bind(word, written, &Field::new("positions"));
    match word.name {
        "longrecipe" => Positions::LongRecipe { keep: bound.maybe("keep") },
        "pose" => Positions::Pose { chunks: bound.maybe("chunks"), form: bound.maybe("form").map(form) },
        "cream" => Positions::Cream { sigma: bound.maybe("sigma") },
        "e2" => Positions::E2 { scale_max: bound.maybe("scale_max") },
        "random" => Positions::Random,
        _ => Positions::Contiguous,
    }
}

pub(super) fn select(context: &mut Context, value: &Value) -> Select {
    let Some((word, written)) = context.word("select", words::SELECT, &[], value) else {
        let impactful = Select::Impactful { types: None, keep: None, form: None };
        return if context.world == World::Low { Select::All } else { impactful };
    };
    let bound = context.bind(word, written, &Field::new("select"));
    if word.name == "all" {
        return Select::All;
    }
    let types = bound.maybe::<Vec<&'static str>>("types");
    Select::Impactful {
        types: types.map(|names| names.into_iter().filter_map(token_type).collect()),
        keep: bound.maybe("keep"),
        form: bound.maybe("form").map(form),
    }
}

fn token_type(word: &str) -> Option<TokenType> {
    TokenType::ALL.into_iter().find(|kind| kind.word() == word)
}

pub(super) fn form(word: &'static str) -> Form {
    if word == "code" { Form::Code } else { Form::Paper }
}

pub(super) fn adapt(context: &mut Context, value: &Value) -> Adapt {
    let Some((word, written)) = context.word("adapt", words::ADAPT, &[], value) else {
        let lora = Adapt::Lora {
            rank: 1,
            alpha: None,
            targets: None,
            embed: true,
            norm: true,
            quantized: true,
            rslora: false,
            dropout: None,
        };
        return if context.world == World::Low { lora } else { Adapt::Full };
    };
    let bound = context.bind(word, written, &Field::new("adapt"));
    if word.name == "full" {
        return Adapt::Full;
    }
    let whole: Vec<&str> = bound.need("train");
    let targets = bound.maybe::<Vec<&'static str>>("targets");
    Adapt::Lora {
        rank: bound.need("rank"),
        alpha: bound.maybe("alpha"),
        targets: targets.map(|names| names.into_iter().filter_map(target).collect()),
        embed: whole.contains(&"embed"),
        norm: whole.contains(&"norm"),
        quantized: word.name == "qlora",
        rslora: bound.maybe("rslora").unwrap_or(false),
        dropout: bound.maybe("dropout"),
    }
}

fn target(word: &str) -> Option<Target> {
    Some(match word {
        "q" => Target::Q,
        "k" => Target::K,
        "v" => Target::V,
        "o" => Target::O,
        "gate" => Target::Gate,
        "up" => Target::Up,
        "down" => Target::Down,
        _ => return None,
    })
}

pub(super) fn optimizer(context: &mut Context, value: &Value) -> Optimizer {
    let Some((word, written)) = context.word("optimizer", words::OPTIMIZER, &[], value) else {
        return if context.world == World::Low { Optimizer::AdamW } else { Optimizer::AdamW8bit };
    };
    context.bind(word, written, &Field::new("optimizer"));
    [Optimizer::AdamW, Optimizer::AdamW8bit].into_iter().find(|o| o.word() == word.name).unwrap_or(Optimizer::AdamW)
}

/// The elements of `key: […]`; one that cannot be read is left out.
pub(super) fn list<T>(
    context: &mut Context,
    key: &'static str,
    value: Option<&Value>,
    lower: fn(&mut Context, &Value, &Field) -> Option<T>,
) -> Vec<T> {
    value.map_or_else(Vec::new, |value| list_in(context, &Field::new(key), (key, ":"), value, lower))
}

/// The elements of the list at `list`, which is written `key:` or, as an argument, `key =`.
pub(super) fn list_in<T>(
    context: &mut Context,
    list: &Field,
    key: (&str, &str),
    value: &Value,
    lower: fn(&mut Context, &Value, &Field) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    for element in elements(context, key, value) {
        let field = list.index(found.len());
        if let Some(lowered) = lower(context, element, &field) {
            context.spans.note(&field, &element.tokens);
            found.push(lowered);
        }
    }
    found
}

/// What stands between the brackets; brackets that are missing are reported.
pub(super) fn elements<'a>(context: &mut Context, (key, sign): (&str, &str), value: &'a Value) -> &'a [Value] {
    match &value.node {
        Node::Broken => &[],
        Node::List(elements) => elements,
        node => {
            let help = format!("write `{key}{sign} [{}]`", node.text());
            context.problem(&value.tokens, format!("`{key}` takes a list"), help);
            std::slice::from_ref(value)
        }
    }
}

pub(super) fn eval(context: &mut Context, value: &Value, field: &Field) -> Option<Eval> {
    let (word, written) = context.word("eval", words::EVAL, &[], value)?;
    let bound = context.bind(word, written, field);
    let lengths = bound.need("lengths");
    Some(match word.name {
        "passkey" => Eval::Passkey(lengths),
        "k_max" => Eval::KMax(lengths),
        "needle" => Eval::Needle(needle(bound.need("kind")), lengths),
        "topics" => Eval::Topics(lengths),
        "short" => Eval::Short(bound.maybe("max_loss")),
        "choice" => Eval::Choice(bound.need("path")),
        _ => Eval::Perplexity(lengths),
    })
}

fn needle(word: &'static str) -> Needle {
    match word {
        "multikey" => Needle::MultiKey,
        "multivalue" => Needle::MultiValue,
        "multiquery" => Needle::MultiQuery,
        _ => Needle::Single,
    }
}

/// A rule's name; recipe-core knows which there are.
pub(super) fn rule(context: &mut Context, value: &Value, _: &Field) -> Option<String> {
    match &value.node {
        Node::Word(word) if word.args.is_empty() => Some(word.name.to_string()),
        Node::Broken => None,
        _ => {
            context.problem(
                &value.tokens,
                "`allow` takes names of rules",
                "a fault that can be allowed shows the name: `allow: [native_context]`",
            );
            None
        }
    }
}

pub(super) fn device(context: &mut Context, value: &Value) -> Device {
    let Some((word, written)) = context.word("device", words::DEVICE, &[], value) else {
        return Device::Cpu { memory: if context.world == World::Low { 0 } else { u64::MAX } };
    };
    let bound: Bound = context.bind(word, written, &Field::new("device"));
    let memory = bound.maybe("memory").unwrap_or(u64::MAX);
    match word.name {
        "cuda" => Device::Cuda { memory, deterministic: bound.maybe("deterministic").unwrap_or(false) },
        _ => Device::Cpu { memory },
    }
}
