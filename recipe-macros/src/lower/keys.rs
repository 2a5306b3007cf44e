//! One function a key: its words to the recipe's types.

use proc_macro2::Ident;
use recipe_core::{
    Adapt, Attention, Context as Native, Device, Eval, Field, Form, LongRopeFactors, Needle, Place, Positions, Rope,
    Select, Source, SourceKind, Sparse, Strided, Target, TokenType, Window,
};

use super::missing;
use super::model::names_a_file;
use crate::ast::{self, Node, Value};
use crate::bind::{Bound, Context, place as place_of};
use crate::config;
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

pub(super) fn rope(context: &mut Context, value: &Value) -> Rope {
    let Some((word, written)) = context.word("rope", words::ROPE, &[], value) else {
        return if context.world == World::Low { Rope::None } else { Rope::Interpolate { scale: 1e6 } };
    };
    let bound = context.bind(word, written, &Field::new("rope"));
    let scale = bound.need("scale");
    match word.name {
        "interpolate" => Rope::Interpolate { scale },
        "theta" => Rope::Theta { theta: bound.need("theta") },
        "ntk" => Rope::Ntk { scale },
        "dynamic_ntk" => Rope::DynamicNtk { scale },
        "yarn" => Rope::Yarn {
            scale,
            beta_fast: bound.maybe("beta_fast"),
            beta_slow: bound.maybe("beta_slow"),
            attention_factor: bound.maybe("attention_factor"),
            truncate: bound.maybe("truncate"),
        },
        "longrope" => longrope(context, value, &bound),
        "llama3" => Rope::Llama3 { scale, low: bound.maybe("low"), high: bound.maybe("high") },
        _ => Rope::None,
    }
}

/// Both lists are written, or a file names them.
fn longrope(context: &mut Context, value: &Value, bound: &Bound) -> Rope {
    let lists: [Option<Vec<f64>>; 2] = ["short", "long"].map(|name| bound.maybe(name));
    let attention_factor = bound.maybe("attention_factor");
    if let (true, Some(path)) = (names_a_file(value), bound.maybe::<String>("path")) {
        if lists.iter().any(Option::is_some) {
            context.problem(
                &value.tokens,
                "a file holds both lists, and a list stands beside it",
                "write one of the two",
            );
        }
        return match config::factors(&path) {
            Ok((factors, file)) => {
                context.files.push(file);
                Rope::LongRope(LongRopeFactors {
                    attention_factor: attention_factor.or(factors.attention_factor),
                    ..factors
                })
            }
            Err(wrong) => {
                let place = context.spans.place(&Field::new("rope.path"));
                context.problem(&place, wrong.message, wrong.help);
                Rope::None
            }
        };
    }
    let [Some(short), Some(long)] = lists else {
        let help = "write longrope(\"factors.json\"), or longrope(short = […], long = […])";
        context.problem(&value.tokens, "`longrope` lacks its factors", help);
        return Rope::None;
    };
    Rope::LongRope(LongRopeFactors { short, long, attention_factor })
}

pub(super) fn attention(context: &mut Context, value: &Value) -> Attention {
    let Some((word, written)) = context.word("attention", words::ATTENTION, &[], value) else {
        let sparse = Sparse::Window(Window { window: 64, sink: None, block: None });
        return if context.world == World::Low { Attention::Full } else { Attention::Sparse(sparse) };
    };
    let bound = context.bind(word, written, &Field::new("attention"));
    match word.name {
        "window" | "strided" => Attention::Sparse(sparse(&bound, word.name == "strided")),
        "hybrid" => hybrid(context, written, &bound),
        "shifted_groups" => Attention::ShiftedGroups { group: bound.maybe("group") },
        "duo" if names_a_file(value) => duo(context, &bound),
        "dual_chunk" => Attention::DualChunk {
            chunk: bound.maybe("chunk"),
            local: bound.maybe("local"),
            form: bound.maybe("form").map(form),
        },
        "self_extend" => Attention::SelfExtend { group: bound.need("group"), window: bound.need("window") },
        _ => Attention::Full,
    }
}

fn duo(context: &mut Context, bound: &Bound) -> Attention {
    let path: String = bound.need("gates");
    match config::gates(&path) {
        Ok((gates, file)) => {
            context.files.push(file);
            let (sink, recent) = (bound.maybe("sink"), bound.maybe("recent"));
            Attention::Duo { gates, sparsity: bound.maybe("sparsity"), sink, recent }
        }
        Err(wrong) => {
            let place = context.spans.place(&Field::new("attention.gates"));
            context.problem(&place, wrong.message, wrong.help);
            Attention::Full
        }
    }
}

fn sparse(bound: &Bound, strided: bool) -> Sparse {
    let block = bound.maybe("block");
    if strided {
        return Sparse::Strided(Strided { stride: bound.need("stride"), local: bound.maybe("local"), block });
    }
    Sparse::Window(Window { window: bound.need("window"), sink: bound.maybe("sink"), block })
}

/// Its other layers are a window or strided; exactly one of the two is written.
fn hybrid(context: &mut Context, written: &ast::Word, bound: &Bound) -> Attention {
    let given = |name: &str| written.args.iter().find(|arg| arg.name.as_ref().is_some_and(|given| given == name));
    let strided = match (given("window"), given("stride")) {
        (Some(_), Some(stride)) => {
            let message = "`window` and `stride` are two kinds of sparse layers";
            context.problem(&stride.value.tokens, message, "write one of the two");
            true
        }
        (_, stride) => stride.is_some(),
    };
    let named = written.args.iter().all(|arg| arg.name.is_some());
    if given("window").is_none() && !strided && named {
        let message = "`hybrid` lacks what its other layers see";
        context.problem(&place_of(&written.name), message, "write window = 4096, or stride = 64");
        return Attention::Full;
    }
    match bound.maybe("full") {
        Some(full) => {
            Attention::Hybrid { full, place: bound.maybe("place").map(place), sparse: sparse(bound, strided) }
        }
        None => Attention::Sparse(sparse(bound, strided)),
    }
}

fn place(word: &'static str) -> Place {
    match word {
        "top" => Place::Top,
        "bottom" => Place::Bottom,
        "interleaved" => Place::Interleaved,
        _ => Place::Middle,
    }
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

fn form(word: &'static str) -> Form {
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

/// `jsonl("corpus/*.jsonl") * 90%`.
pub(super) fn source(context: &mut Context, value: &Value, field: &Field) -> Option<Source> {
    let (source, share) = match &value.node {
        Node::Share(source, share) => (&**source, Some(&**share)),
        _ => (value, None),
    };
    if let (Some(written), Node::Percent(_) | Node::Number(_) | Node::Ratio(..)) = (share, &source.node) {
        let help = format!("write `{} * {}`", written.node.text(), source.node.text());
        context.problem(&value.tokens, "a share stands behind its source", help);
        return broken_source(context);
    }
    let Some((word, written)) = context.word("data", words::DATA, &[], source) else {
        return broken_source(context);
    };
    let share = share.map(|share| share_of(context, share, field));
    let bound = context.bind(word, written, field);
    let glob = bound.need::<String>("glob").into();
    let named = |usual: &'static str| bound.maybe::<String>("field").map_or(usual.into(), Into::into);
    let kind = match word.name {
        "text" => SourceKind::Text { glob },
        "jsonl" => SourceKind::Jsonl { glob, field: named("text") },
        "chat" => SourceKind::Chat { glob, field: named("messages") },
        _ => SourceKind::Passkey,
    };
    let (upsample, times) = (bound.maybe("upsample"), bound.maybe("times"));
    Some(Source { kind, share, upsample, times })
}

/// Kept, without a share, in one of two worlds: no sum of shares is then the same in both.
fn broken_source(context: &Context) -> Option<Source> {
    (context.world == World::High).then_some(Source {
        kind: SourceKind::Passkey,
        share: None,
        upsample: None,
        times: None,
    })
}

fn share_of(context: &mut Context, value: &Value, field: &Field) -> f64 {
    context.spans.note(&field.key("share"), &value.tokens);
    match Kind::Share.read(value) {
        Ok(Datum::Number(share)) => return share,
        Ok(_) => {}
        Err(problems) => problems.into_iter().for_each(|problem| context.problems.push(problem)),
    }
    if context.world == World::Low { 0.01 } else { 0.02 }
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
    if word.name == "cuda" { Device::Cuda { memory } } else { Device::Cpu { memory } }
}
