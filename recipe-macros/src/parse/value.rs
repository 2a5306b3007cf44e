//! Values: `4K -> 128K`, `1/3`, `yarn(32, truncate = false)`, `[passkey * 10%]`.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Lit, Token, braced, bracketed, parenthesized, token};

use super::tokens::{any_ident, at, between, next, skip_one, skip_to_comma};
use super::{Read, separator};
use crate::ast::{Arg, Node, Number, Value, Word};
use crate::report::{Problem, Problems};
use proc_macro2::Ident;

/// A recipe nests four deep; a wall far above that keeps a hostile input from exhausting the stack.
const DEEPEST: usize = 16;

/// A value; what cannot be read is reported, skipped, and stands in the tree as [`Node::Broken`].
pub(super) fn value(input: ParseStream, depth: usize, problems: &mut Problems) -> Value {
    let begin = input.fork();
    let node = arrow(input, depth, problems).unwrap_or_else(|problem| {
        problems.push(problem);
        skip_to_comma(input);
        Node::Broken
    });
    Value { tokens: between(&begin, input), node }
}

/// `share -> share`.
fn arrow(input: ParseStream, depth: usize, problems: &mut Problems) -> Read<Node> {
    let left = spanned(input, |input| share(input, depth, problems))?;
    if !input.peek(Token![->]) {
        return Ok(left.node);
    }
    let _ = input.parse::<Token![->]>();
    let right = spanned(input, |input| share(input, depth, problems))?;
    Ok(Node::Arrow(Box::new(left), Box::new(right)))
}

/// `atom * atom`.
fn share(input: ParseStream, depth: usize, problems: &mut Problems) -> Read<Node> {
    let left = spanned(input, |input| atom(input, depth, problems))?;
    if !input.peek(Token![*]) {
        return Ok(left.node);
    }
    skip_one(input);
    let right = spanned(input, |input| atom(input, depth, problems))?;
    Ok(Node::Share(Box::new(left), Box::new(right)))
}

/// What `read` reads, with its tokens.
fn spanned(input: ParseStream, read: impl FnOnce(ParseStream) -> Read<Node>) -> Read<Value> {
    let begin = input.fork();
    let node = read(input)?;
    Ok(Value { tokens: between(&begin, input), node })
}

fn atom(input: ParseStream, depth: usize, problems: &mut Problems) -> Read<Node> {
    if depth > DEEPEST {
        return Err(Problem::new(next(input), "nested too deep", "a recipe's values nest four deep at most"));
    }
    if input.peek(Lit) || input.peek(Token![-]) {
        return literal(input);
    }
    if input.peek(token::Bracket) || input.peek(token::Paren) {
        return list(input, depth, problems);
    }
    if input.peek(Token![::]) || (input.peek(Ident::peek_any) && input.peek2(Token![::])) {
        syn::Path::parse_mod_style(input).map_err(unreadable)?;
        return Ok(Node::Path);
    }
    if input.peek(Ident::peek_any) {
        return word(input, depth, problems);
    }
    let help = "a value is a number, a \"text\", a word, `word(…)` or a `[list]`";
    Err(Problem::new(next(input), format!("expected a value, found `{}`", next(input)), help))
}

/// `-4K`, `30%`, `1/3`, `"text"`, `true`.
fn literal(input: ParseStream) -> Read<Node> {
    let begin = input.fork();
    let minus = input.peek(Token![-]) && !input.peek(Lit);
    if minus {
        skip_one(input);
    }
    let number = match input.parse::<Lit>().map_err(unreadable)? {
        Lit::Int(int) => number(minus, int.base10_digits(), int.suffix()),
        Lit::Float(float) => number(minus, float.base10_digits(), float.suffix()),
        Lit::Str(text) if !minus => return Ok(Node::Text(text.value())),
        Lit::Bool(flag) if !minus => return Ok(Node::Flag(flag.value)),
        _ => {
            let (place, message) = (between(&begin, input), "this literal has no meaning in a recipe");
            return Err(Problem::new(place, message, "write a number or a \"text\""));
        }
    };
    if input.peek(Token![%]) {
        skip_one(input);
        return Ok(Node::Percent(number));
    }
    if input.peek(Token![/]) { ratio(input, number) } else { Ok(Node::Number(number)) }
}

/// A literal that a macro made may carry its own minus.
fn number(minus: bool, digits: &str, suffix: &str) -> Number {
    let negative = minus != digits.starts_with('-');
    Number { negative, digits: digits.trim_start_matches('-').to_owned(), suffix: suffix.to_owned() }
}

fn ratio(input: ParseStream, above: Number) -> Read<Node> {
    skip_one(input);
    match input.parse::<Lit>() {
        Ok(Lit::Int(int)) => Ok(Node::Ratio(above, number(false, int.base10_digits(), int.suffix()))),
        _ => Err(Problem::new(next(input), "expected a whole number after `/`", "a fraction reads `1/3`")),
    }
}

/// `name`, `name(…)`, `name { … }`.
fn word(input: ParseStream, depth: usize, problems: &mut Problems) -> Read<Node> {
    let name = any_ident(input)?;
    let braces = input.peek(token::Brace);
    if !braces && !input.peek(token::Paren) {
        return bare(input, name);
    }
    let args = inside(input, problems, "argument", |input, problems| arg(input, depth + 1, problems))?;
    Ok(Node::Word(Word { name, args, braces }))
}

/// A word without brackets, though it may have needed them.
fn bare(input: ParseStream, name: Ident) -> Read<Node> {
    if !input.peek(Lit) {
        return Ok(Node::Word(Word { name, args: Vec::new(), braces: false }));
    }
    let (place, message) = (next(input), format!("expected `(` after `{name}`"));
    let help = format!("arguments stand in parentheses: `{name}({place})`");
    Err(Problem::new(place, message, help))
}

/// `value`, `name = value`; `name: value` is understood and corrected.
fn arg(input: ParseStream, depth: usize, problems: &mut Problems) -> Arg {
    let colon = input.peek2(Token![:]) && !input.peek2(Token![::]);
    if !input.peek(Ident::peek_any) || !(colon || input.peek2(Token![=])) {
        return Arg { name: None, value: value(input, depth, problems) };
    }
    let name = any_ident(input).ok();
    if colon {
        problems.push(Problem::new(next(input), "an argument takes `=`", "keys take `:`, arguments take `=`"));
    }
    skip_one(input);
    Arg { name, value: value(input, depth, problems) }
}

/// `[…]` and, for pairs, `(…)`.
fn list(input: ParseStream, depth: usize, problems: &mut Problems) -> Read<Node> {
    inside(input, problems, "element", |input, problems| value(input, depth + 1, problems)).map(Node::List)
}

/// The items between brackets of any kind.
fn inside<T>(
    input: ParseStream,
    problems: &mut Problems,
    what: &str,
    mut item: impl FnMut(ParseStream, &mut Problems) -> T,
) -> Read<Vec<T>> {
    let content = group(input).map_err(unreadable)?;
    let parser = |input: ParseStream| {
        let mut items = Vec::new();
        while !input.is_empty() {
            items.push(item(input, problems));
            separator(input, what, problems);
        }
        Ok(items)
    };
    Ok(parser.parse2(content).unwrap_or_default())
}

fn group(input: ParseStream) -> syn::Result<TokenStream> {
    let content;
    if input.peek(token::Brace) {
        braced!(content in input);
    } else if input.peek(token::Bracket) {
        bracketed!(content in input);
    } else {
        parenthesized!(content in input);
    }
    TokenStream::parse(&content)
}

fn unreadable(error: syn::Error) -> Problem {
    Problem::new(at(error.span()), error.to_string(), "")
}
