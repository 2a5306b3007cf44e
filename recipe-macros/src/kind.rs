//! Kinds of values: how each is read from the tree, what it is called in a message, and what stands in for a broken one.

use proc_macro2::TokenStream;
use recipe_core::{FullLayers, nearest};

use crate::ast::{Node, Value};
use crate::number::Wrong;
use crate::report::Problem;

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `2e-5`.
    Number,
    /// `1000`.
    Count,
    /// `4K`.
    Length,
    /// `4K, 32K, 128K`: all arguments without a name.
    Lengths,
    /// `80GB`.
    Bytes,
    /// `1/3`, `30%`, `0.3`.
    Share,
    /// A share of the layers or a count.
    Layers,
    /// `"corpus/*.txt"`.
    Text,
    /// `true`.
    Flag,
    /// One word of a list.
    OneOf(&'static [&'static str]),
    /// `"gates.json"`, or one word of a list.
    TextOr(&'static [&'static str]),
    /// `[word, word]`.
    SomeOf(&'static [&'static str]),
    /// `(0.9, 0.95)`.
    Pair,
    /// `(5%, 95%)`.
    Between,
    /// `[1, 1.2, 4]`.
    Numbers,
    /// `text("a/*.txt")`; `lower` reads it like an element of the key `data`.
    Source,
    /// `[text("a/*.txt"), passkey * 10%]`; `lower` reads it like the key `data`.
    Sources,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Datum {
    Number(f64),
    Count(u64),
    Counts(Vec<u64>),
    Layers(FullLayers),
    Text(String),
    Flag(bool),
    Word(&'static str),
    Words(Vec<&'static str>),
    Pair(f64, f64),
    Numbers(Vec<f64>),
    /// It is there, and read elsewhere.
    Given,
}

/// Which of two opposite guesses stands in for a value that could not be read.
///
/// The rules run once with each; what both runs say does not depend on the guess, so it is true of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    Low,
    High,
}

impl Kind {
    /// Reads `value`, or says why not.
    pub(crate) fn read(self, value: &Value) -> Result<Datum, Vec<Problem>> {
        let one = |result: Result<Datum, Problem>| result.map_err(|problem| vec![problem]);
        match (self, &value.node) {
            (_, Node::Broken) => Err(Vec::new()),
            (Self::Sources | Self::Source, _) => Ok(Datum::Given),
            (Self::SomeOf(words), Node::List(list)) => some_of(words, list).map(Datum::Words),
            (Self::SomeOf(words), Node::Word(_)) => one(one_of(words, value).map(|word| Datum::Words(vec![word]))),
            (Self::Pair, Node::List(list)) if list.len() == 2 => {
                numbers(Self::Number, list).map(|pair| Datum::Pair(pair[0], pair[1]))
            }
            (Self::Between, Node::List(list)) if list.len() == 2 => {
                numbers(Self::Share, list).map(|pair| Datum::Pair(pair[0], pair[1]))
            }
            (Self::Numbers, Node::List(list)) => numbers(Self::Number, list).map(Datum::Numbers),
            (Self::Lengths, _) => one(Self::Length.scalar(value)),
            _ => one(self.scalar(value)),
        }
    }

    fn scalar(self, value: &Value) -> Result<Datum, Problem> {
        let datum = match (self, &value.node) {
            (Self::OneOf(words), Node::Word(_)) => return one_of(words, value).map(Datum::Word),
            (Self::Number, Node::Number(number)) => number.plain().map(Datum::Number),
            (Self::Count, Node::Number(number)) => number.count().map(Datum::Count),
            (Self::Length, Node::Number(number)) => number.length().map(Datum::Count),
            (Self::Bytes, Node::Number(number)) => number.bytes().map(Datum::Count),
            (Self::Layers, Node::Number(number)) if !number.digits.contains(['.', 'e', 'E']) => number
                .count()
                .map(|count| Datum::Layers(FullLayers::Count(usize::try_from(count).unwrap_or(usize::MAX)))),
            (Self::Layers, _) => share(&value.node, self).map(|share| Datum::Layers(FullLayers::Share(share))),
            (Self::Share, _) => share(&value.node, self).map(Datum::Number),
            (Self::TextOr(words), Node::Word(_)) => return one_of(words, value).map(Datum::Word),
            (Self::Text | Self::TextOr(_), Node::Text(text)) => Ok(Datum::Text(text.clone())),
            (Self::Flag, Node::Flag(flag)) => Ok(Datum::Flag(*flag)),
            _ => Err(self.mismatch(&value.node)),
        };
        datum.map_err(|wrong| Problem::new(value.tokens.clone(), wrong.message, wrong.help))
    }

    /// `expected a length, found a text`.
    pub(crate) fn mismatch(self, node: &Node) -> Wrong {
        let help = match (self.is_numeric(), node) {
            (true, Node::Path | Node::Word(_)) => {
                "constants cannot be used: a recipe is read before rustc knows their values; write the number"
                    .to_owned()
            }
            (true, Node::Share(..)) => "a recipe does no arithmetic; write the result".to_owned(),
            _ => format!("write {}", self.example()),
        };
        Wrong { message: format!("expected {}, found {}", self.name(), node.name()), help }
    }

    fn is_numeric(self) -> bool {
        let words = matches!(self, Self::OneOf(_) | Self::SomeOf(_) | Self::TextOr(_));
        !(words || matches!(self, Self::Text | Self::Flag | Self::Sources | Self::Source))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Count => "a whole number",
            Self::Length | Self::Lengths => "a length in tokens",
            Self::Bytes => "an amount of memory",
            Self::Share => "a share",
            Self::Layers => "a share of the layers or a number of layers",
            Self::Text => "a text",
            Self::TextOr(_) => "a text or a word",
            Self::Flag => "`true` or `false`",
            Self::OneOf(_) => "a word",
            Self::SomeOf(_) => "a list of words",
            Self::Pair => "a pair of numbers",
            Self::Between => "a pair of shares",
            Self::Source => "a source",
            Self::Numbers => "a list of numbers",
            Self::Sources => "a list of sources",
        }
    }

    pub(crate) fn example(self) -> String {
        match self {
            Self::Number => "a plain number such as `32` or `2e-5`".to_owned(),
            Self::Count => "a whole number such as `1000`".to_owned(),
            Self::Length => "a length such as `4096` or `4K`".to_owned(),
            Self::Lengths => "lengths such as `4K, 32K`".to_owned(),
            Self::Bytes => "memory such as `80GB` or `16GiB`".to_owned(),
            Self::Share => "a share such as `30%` or `1/3`".to_owned(),
            Self::Layers => "a share such as `1/3` or `30%`, or a number of layers such as `12`".to_owned(),
            Self::Text => "a text in quotes".to_owned(),
            Self::TextOr(words) => format!("a text in quotes, or {}", quoted(words)),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::OneOf(words) => format!("one of {}", quoted(words)),
            Self::SomeOf(words) => format!("a list of {}", quoted(words)),
            Self::Pair => "two numbers such as `(0.9, 0.95)`".to_owned(),
            Self::Between => "two shares such as `(5%, 95%)`".to_owned(),
            Self::Source => "a source such as `text(\"corpus/*.txt\")`".to_owned(),
            Self::Numbers => "numbers such as `[1, 1.2, 4]`".to_owned(),
            Self::Sources => "sources such as `[text(\"corpus/*.txt\")]`".to_owned(),
        }
    }

    /// A stand-in for a value that could not be read.
    pub(crate) fn guess(self, world: World) -> Datum {
        let high = world == World::High;
        match self {
            Self::Number | Self::Share => Datum::Number(if high { 1e6 } else { 0.5 }),
            Self::Count | Self::Length => Datum::Count(guessed_length(world)),
            Self::Bytes => Datum::Count(if high { u64::MAX } else { 0 }),
            Self::Lengths => Datum::Counts(vec![guessed_length(world)]),
            Self::Layers => Datum::Layers(FullLayers::Share(if high { 1.0 } else { 0.0 })),
            Self::Text | Self::TextOr(_) => Datum::Text(if high { "a" } else { "b" }.to_owned()),
            Self::Flag => Datum::Flag(high),
            Self::OneOf(words) => {
                Datum::Word(if high { words.last() } else { words.first() }.copied().unwrap_or_default())
            }
            Self::SomeOf(words) => Datum::Words(if high { words.to_vec() } else { words[..1].to_vec() }),
            Self::Pair | Self::Between if high => Datum::Pair(0.9, 0.99),
            Self::Pair | Self::Between => Datum::Pair(0.0, 0.0),
            Self::Numbers => Datum::Numbers(vec![1.0; usize::from(high)]),
            Self::Sources | Self::Source => Datum::Given,
        }
    }
}

impl Node {
    /// As it was written, long parts shortened.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.text(),
            Self::Percent(number) => format!("{}%", number.text()),
            Self::Ratio(above, below) => format!("{}/{}", above.text(), below.text()),
            Self::Text(text) => format!("{text:?}"),
            Self::Flag(flag) => flag.to_string(),
            Self::Word(word) if word.args.is_empty() => word.name.to_string(),
            Self::Word(word) if word.braces => format!("{} {{ … }}", word.name),
            Self::Word(word) => format!("{}(…)", word.name),
            Self::Share(left, right) => format!("{} * {}", left.node.text(), right.node.text()),
            Self::Arrow(left, right) => format!("{} -> {}", left.node.text(), right.node.text()),
            Self::List(_) | Self::Path | Self::Broken => "…".to_owned(),
        }
    }

    /// What it is, in words.
    fn name(&self) -> String {
        match self {
            Self::Number(number) if number.suffix.is_empty() => "a number".to_owned(),
            Self::Number(number) => format!("a number with the suffix `{}`", number.suffix),
            Self::Percent(_) => "a percentage".to_owned(),
            Self::Ratio(..) => "a fraction".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Flag(flag) => format!("`{flag}`"),
            Self::Word(word) => format!("`{}`", word.name),
            Self::List(_) => "a list".to_owned(),
            Self::Arrow(..) => "`->`".to_owned(),
            Self::Share(..) => "a product".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Broken => "something unreadable".to_owned(),
        }
    }
}

fn share(node: &Node, kind: Kind) -> Result<f64, Wrong> {
    match node {
        Node::Number(number) => number.plain(),
        Node::Percent(number) => number.plain().map(|percent| percent / 100.0),
        Node::Ratio(above, below) => {
            let (above, below) = (above.plain()?, below.plain()?);
            if below != 0.0 {
                return Ok(above / below);
            }
            Err(Wrong { message: "a fraction's lower part is 0".to_owned(), help: format!("write {}", kind.example()) })
        }
        _ => Err(kind.mismatch(node)),
    }
}

/// Every number of a list, or what is wrong with each that is none.
fn numbers(kind: Kind, list: &[Value]) -> Result<Vec<f64>, Vec<Problem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for value in list {
        match kind.read(value) {
            Ok(Datum::Number(number)) => found.push(number),
            Ok(_) => {}
            Err(wrong) => problems.extend(wrong),
        }
    }
    if found.len() == list.len() { Ok(found) } else { Err(problems) }
}

fn some_of(words: &'static [&'static str], list: &[Value]) -> Result<Vec<&'static str>, Vec<Problem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for value in list {
        match one_of(words, value) {
            Ok(word) if found.contains(&word) => {
                problems.push(Problem::new(
                    value.tokens.clone(),
                    format!("`{word}` is listed twice"),
                    "remove one of the two",
                ));
            }
            Ok(word) => found.push(word),
            Err(_) if matches!(value.node, Node::Broken) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn one_of(words: &'static [&'static str], value: &Value) -> Result<&'static str, Problem> {
    let Node::Word(word) = &value.node else {
        let wrong = Kind::OneOf(words).mismatch(&value.node);
        return Err(Problem::new(value.tokens.clone(), wrong.message, wrong.help));
    };
    let name = word.name.to_string();
    let known = words.iter().find(|known| **known == name && word.args.is_empty());
    known.copied().ok_or_else(|| unknown("word", &name, words, value.tokens.clone()))
}

/// A length that nobody writes.
pub(crate) fn guessed_length(world: World) -> u64 {
    match world {
        World::Low => 1,
        World::High => 1 << 40,
    }
}

/// The known name that `name` is a slip of. A single letter is nobody's slip of another.
pub(crate) fn meant<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    nearest(name, known).filter(|_| name.chars().count() > 1)
}

/// An unknown name: the one that was meant, and all there are.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str], place: TokenStream) -> Problem {
    let all = match known {
        [only] => format!("there is only `{only}`"),
        _ => format!("there are {}", quoted(known).replace(" or ", " and ")),
    };
    let help = match meant(name, known) {
        Some(meant) => format!("did you mean `{meant}`? {all}"),
        None => all,
    };
    Problem::new(place, format!("unknown {what} `{name}`"), help)
}

/// `a`, `b` or `c`.
pub(crate) fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
