//! Which of the user's tokens a message goes under.

use super::{expand, tokens};

/// The text between the first and the last token of each `compile_error!`.
fn underlined(recipe: &str) -> Vec<String> {
    let lines: Vec<&str> = recipe.lines().collect();
    let file: syn::File = syn::parse2(expand(tokens(recipe))).expect("an expansion is Rust");
    let mut found = Vec::new();
    for item in file.items {
        let syn::Item::Macro(item) = item else {
            continue;
        };
        let Some(first) = item.mac.path.segments.first() else {
            continue;
        };
        let (start, end) = (first.ident.span().start(), item.mac.delimiter.span().close().end());
        assert_eq!(start.line, end.line, "a caret stays on its line");
        let line: Vec<char> = lines[start.line - 1].chars().collect();
        found.push(line[start.column..end.column].iter().collect());
    }
    found
}

#[test]
fn the_caret_is_under_what_is_wrong() {
    let cases = [
        ("pub A { model: tiny, context: 512 -> 2K, rope: yarn(8) }", "512"),
        ("pub A { model: tiny, context: 2K }", "2K"),
        ("pub A { model: tiny, context: 256, rope: interpolate(-2) }", "-2"),
        ("pub A { model: tiny, context: 256, attention: hybrid(full = 3/2, window = 64) }", "3/2"),
        ("pub A { model: tiny, context: 256, attention: hybrid(full = 300%, window = 64) }", "300%"),
        ("pub A { model: tiny, context: 256, attention: hybrid(full = 1/3) }", "hybrid"),
        ("pub A { model: tiny, context: 256, data: [passkey * 10%, text(\"a\") * 120%] }", "120%"),
        ("pub A { model: tiny, context: 256, data: [passkey * 10%, text(\"a\") * 20%] }", "data"),
        ("pub A { model: tiny, context: 256, train: [extend(steps = 2, lr = 9)] }", "9"),
        ("pub A { model: tiny, context: 256, train: [extend(lr = 1e-3)] }", "extend(lr = 1e-3)"),
        ("pub A { model: tiny, context: 256, eval: [perplexity(128, 4K)] }", "4K"),
        ("pub A { model: tiny, context: 256, allow: [nonsense] }", "nonsense"),
        ("pub A { model: tiny, context: 256, rope: none attention: full }", "attention"),
        ("pub Name { context: 256 }", "Name"),
    ];
    for (recipe, expected) in cases {
        assert_eq!(underlined(recipe), [expected], "{recipe}");
    }
}

#[test]
fn a_place_of_several_lines_is_shortened_to_its_first_word() {
    let recipe = "model: tiny, context: 256,\ntrain: [extend(\n    lr = 1e-3,\n)]";
    assert_eq!(underlined(recipe), ["extend"]);
}

#[test]
fn problems_stand_in_the_order_of_the_text() {
    let recipe = "model: tiny, context: 2K,\nrope: yarnn(9),\ndevice: cpu(9)";
    assert_eq!(underlined(recipe), ["2K", "yarnn", "9"]);
}

#[test]
fn a_duplicate_shows_both() {
    assert_eq!(underlined("model: tiny, model: tiny, context: 256"), ["model", "model"]);
}
