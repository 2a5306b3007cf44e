//! A word and its arguments against the vocabulary.

use std::collections::BTreeMap;

use proc_macro2::{Ident, TokenStream, TokenTree};
use recipe_core::{Field, FullLayers};

use crate::ast::{self, Node, Value};
use crate::kind::{Datum, Kind, World, guessed_length, meant, quoted, unknown};
use crate::report::{Problem, Problems};
use crate::spans::Spans;
use crate::words::{Arg, Word};

/// What lowering writes to while it walks the tree.
pub(crate) struct Context {
    pub(crate) world: World,
    pub(crate) spans: Spans,
    pub(crate) problems: Problems,
    /// Files that were read; rustc must know them.
    pub(crate) files: Vec<String>,
}

impl Context {
    pub(crate) fn problem(&mut self, place: &TokenStream, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(place.clone(), message, help));
    }

    /// The word in `value`, looked up under `key`; nothing, with the reason reported, if it is not one of `words`.
    pub(crate) fn word<'a>(
        &mut self,
        key: &str,
        words: &'static [Word],
        more: &[&str],
        value: &'a Value,
    ) -> Option<(&'static Word, &'a ast::Word)> {
        let names: Vec<&str> = more.iter().copied().chain(words.iter().map(|word| word.name)).collect();
        match &value.node {
            Node::Word(written) => {
                let name = written.name.to_string();
                let find = |name: &str| words.iter().find(|word| word.name == name);
                let found = find(&name).or_else(|| {
                    self.problems.push(unknown(&format!("word for `{key}`:"), &name, &names, place(&written.name)));
                    // A bare slip of a word that needs arguments may have been anything.
                    let whole = |word: &&Word| !written.args.is_empty() || word.args.iter().all(|arg| !arg.required);
                    meant(&name, &names).and_then(find).filter(whole)
                });
                found.map(|word| (word, written))
            }
            Node::Broken => None,
            _ => {
                self.problem(
                    &value.tokens,
                    format!("`{key}` takes a word here"),
                    format!("it can be {}", quoted(&names)),
                );
                None
            }
        }
    }

    /// The arguments of `written`, each read by its kind. What is missing or broken is reported, and a guess stands in.
    pub(crate) fn bind(&mut self, word: &'static Word, written: &ast::Word, field: &Field) -> Bound {
        if written.braces != word.braces && !written.args.is_empty() {
            let brackets = if word.braces { "braces" } else { "parentheses" };
            let message = format!("the arguments of `{}` stand in {brackets}", word.name);
            self.problem(&place(&written.name), message, format!("write `{}`", word.usage()));
        }
        let mut bound = Bound { data: BTreeMap::new() };
        let mut seen: BTreeMap<&'static str, TokenStream> = BTreeMap::new();
        let mut stranger = false;
        for (index, given) in written.args.iter().enumerate() {
            let Some(arg) = self.which(word, written, index) else {
                stranger = true;
                continue;
            };
            if arg.kind == Kind::Lengths {
                self.add_length(arg, &given.value, field, &mut bound);
            } else if let Some(first) = seen.insert(arg.name, label(given)) {
                self.twice("argument", arg.name, first, label(given));
            } else {
                self.read(arg, &given.value, field, &mut bound);
            }
        }
        self.missing(word, written, stranger, &mut bound);
        bound
    }

    /// The argument of the vocabulary that the one at `index` stands for; a slip stands for what was meant.
    fn which(&mut self, word: &'static Word, written: &ast::Word, index: usize) -> Option<&'static Arg> {
        let given = &written.args[index];
        match &given.name {
            Some(name) => self.named(word, written, name),
            None => self.positional(word, written, index),
        }
    }

    fn named(&mut self, word: &'static Word, written: &ast::Word, name: &Ident) -> Option<&'static Arg> {
        let find = |name: &str| word.args.iter().find(|arg| arg.name == name);
        let text = name.to_string();
        if let Some(arg) = find(&text) {
            return Some(arg);
        }
        if word.args.is_empty() {
            self.problem(&place(name), format!("`{}` takes no arguments", word.name), "");
            return None;
        }
        let names: Vec<&str> = word.args.iter().map(|arg| arg.name).collect();
        self.problems.push(unknown(&format!("argument of `{}`:", word.name), &text, &names, place(name)));
        let also_given =
            |name: &&str| written.args.iter().any(|arg| arg.name.as_ref().is_some_and(|other| other == name));
        meant(&text, &names).filter(|name| !also_given(name)).and_then(find)
    }

    fn positional(&mut self, word: &'static Word, written: &ast::Word, index: usize) -> Option<&'static Arg> {
        // Lengths are all that follows the arguments before them.
        let lengths = word.args.iter().enumerate().find(|(place, arg)| arg.kind == Kind::Lengths && *place <= index);
        let found = lengths.map(|(_, arg)| arg).or(word.args.get(index).filter(|_| index < word.positional));
        // One message for all of them.
        let first = written.args[word.positional.min(index)..index].iter().all(|arg| arg.name.is_some());
        let value = &written.args[index].value;
        if found.is_none() && first && !matches!(value.node, Node::Broken) {
            let message = match word.args.len() {
                0 => format!("`{}` takes no arguments", word.name),
                most if most <= index => {
                    format!("`{}` takes no argument after `{}`", word.name, word.args[most - 1].name)
                }
                _ => format!("from here on, the arguments of `{}` need their names", word.name),
            };
            self.problem(&value.tokens, message, format!("it is written `{}`", word.usage()));
        }
        found
    }

    fn read(&mut self, arg: &'static Arg, value: &Value, field: &Field, bound: &mut Bound) {
        let field = field.key(arg.name);
        self.spans.note(&field, &value.tokens);
        if let Node::List(list) = &value.node {
            for (index, element) in list.iter().enumerate() {
                self.spans.note(&field.index(index), &element.tokens);
            }
        }
        let datum = arg.kind.read(value).unwrap_or_else(|problems| {
            problems.into_iter().for_each(|problem| self.problems.push(problem));
            arg.kind.guess(self.world)
        });
        bound.data.insert(arg.name, datum);
    }

    /// One more of `perplexity(4K, 32K)`.
    fn add_length(&mut self, arg: &'static Arg, value: &Value, field: &Field, bound: &mut Bound) {
        let length = match arg.kind.read(value) {
            Ok(Datum::Count(length)) => length,
            Ok(_) => return,
            Err(problems) => {
                problems.into_iter().for_each(|problem| self.problems.push(problem));
                guessed_length(self.world)
            }
        };
        if let Datum::Counts(lengths) = bound.data.entry(arg.name).or_insert_with(|| Datum::Counts(Vec::new())) {
            self.spans.note(&field.index(lengths.len()), &value.tokens);
            lengths.push(length);
        }
    }

    /// Required arguments that were not given. Where one is missing, or a stranger stands for nobody knows what, the word
    /// is unfinished: a guess stands in for everything that is absent, and no default is held against the user.
    fn missing(&mut self, word: &'static Word, written: &ast::Word, stranger: bool, bound: &mut Bound) {
        let absent: Vec<&'static Arg> = word.args.iter().filter(|arg| !bound.data.contains_key(arg.name)).collect();
        // Lengths of an evaluation that are missing have a rule of their own.
        let needed = |arg: &&&Arg| arg.required && arg.kind != Kind::Lengths;
        let required: Vec<&str> = absent.iter().filter(needed).map(|arg| arg.name).collect();
        if stranger || !required.is_empty() {
            for arg in &absent {
                bound.data.insert(arg.name, arg.kind.guess(self.world));
            }
        }
        let unnamed = |(index, arg): (usize, &ast::Arg)| {
            arg.name.is_none() && (index >= word.positional || matches!(arg.value.node, Node::Broken))
        };
        let excused = written.args.iter().enumerate().any(unnamed);
        if required.is_empty() || excused {
            return;
        }
        let message = format!("`{}` lacks {}", word.name, quoted(&required).replace(" or ", " and "));
        self.problem(&place(&written.name), message, format!("it is written `{}`", word.usage()));
    }

    /// A name given twice: both places are shown.
    pub(crate) fn twice(&mut self, what: &str, name: &str, first: TokenStream, second: TokenStream) {
        self.problem(&second, format!("{what} `{name}` is written twice"), "remove one of the two");
        self.problem(&first, format!("{what} `{name}` is first written here"), "");
    }
}

/// What a duplicate is shown by: its name, or the value where there is none.
fn label(given: &ast::Arg) -> TokenStream {
    match &given.name {
        Some(name) => place(name),
        None => given.value.tokens.clone(),
    }
}

/// An identifier as a place.
pub(crate) fn place(ident: &Ident) -> TokenStream {
    TokenTree::from(ident.clone()).into()
}

/// A word's arguments by name.
pub(crate) struct Bound {
    data: BTreeMap<&'static str, Datum>,
}

impl Bound {
    /// The argument, where it was given.
    pub(crate) fn maybe<T: FromDatum>(&self, name: &str) -> Option<T> {
        self.data.get(name).cloned().and_then(T::from)
    }

    /// A required argument: [`Context::bind`] has put a guess where it was missing.
    pub(crate) fn need<T: FromDatum + Default>(&self, name: &str) -> T {
        self.maybe(name).unwrap_or_default()
    }
}

/// What a kind of value becomes in a recipe.
pub(crate) trait FromDatum: Sized {
    fn from(datum: Datum) -> Option<Self>;
}

macro_rules! from_datum {
    ($($type:ty: $pattern:pat => $value:expr;)*) => {
        $(impl FromDatum for $type {
            fn from(datum: Datum) -> Option<Self> {
                match datum { $pattern => $value, _ => None }
            }
        })*
    };
}

from_datum! {
    f64: Datum::Number(number) => Some(number);
    usize: Datum::Count(count) => Some(usize::try_from(count).unwrap_or(usize::MAX));
    u64: Datum::Count(count) => Some(count);
    String: Datum::Text(text) => Some(text);
    bool: Datum::Flag(flag) => Some(flag);
    &'static str: Datum::Word(word) => Some(word);
    Vec<&'static str>: Datum::Words(words) => Some(words);
    Vec<usize>: Datum::Counts(counts) => counts.into_iter().map(|count| usize::try_from(count).ok()).collect();
    (f64, f64): Datum::Pair(first, second) => Some((first, second));
    Vec<f64>: Datum::Numbers(numbers) => Some(numbers);
    FullLayers: Datum::Layers(layers) => Some(layers);
}
