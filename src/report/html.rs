//! A page as one HTML file: pictures inline, no script, nothing from the network, light or dark as the reader's system is.

use super::page::{Block, Item, Page};
use super::table::{Align, Table};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d1f23; --grey: #63676e; --ground: #ffffff; --line: #dfe1e5; --code: #f3f4f6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7ea; --grey: #9aa0a8; --ground: #16181c; --line: #33373e; --code: #22252b }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 54rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--ground);
  font: 16px/1.5 system-ui, Helvetica, Arial, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.2rem; margin-top: 2.2rem }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; overflow-wrap: normal }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { color: var(--grey); font-weight: 600; white-space: nowrap } .g th { border-bottom: 0; text-align: center } .n { text-align: right; white-space: nowrap }
svg { max-width: 100%; height: auto; margin: .8rem 0 }
code, pre { font: .85rem/1.45 ui-monospace, 'DejaVu Sans Mono', Menlo, monospace; background: var(--code); border-radius: 4px }
code { padding: .1em .3em } pre { padding: .8rem; overflow-x: auto; white-space: pre }
summary { cursor: pointer; color: var(--grey) }
";

pub(super) fn page(page: &Page) -> String {
    let title = escaped(&page.title);
    let body: String = page.blocks.iter().map(of).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

fn of(block: &Block) -> String {
    match block {
        Block::Heading(text) => format!("<h2>{}</h2>\n", escaped(text)),
        Block::Text(text) => format!("<p>{}</p>\n", escaped(text.trim())),
        Block::List(items) => format!("<ul>\n{}</ul>\n", items.iter().map(item).collect::<String>()),
        Block::Table(table) => format!("<div class=\"wide\">{}</div>\n", of_table(table)),
        Block::Folded { word, text } => {
            format!("<details><summary>{}</summary><pre>{}</pre></details>\n", escaped(word), escaped(text))
        }
        Block::Picture { svg, .. } => svg.clone(),
    }
}

fn item(Item { before, code, after }: &Item) -> String {
    let code = if code.is_empty() { String::new() } else { format!("<code>{}</code>", escaped(code)) };
    format!("<li>{}{code}{}</li>\n", escaped(before), escaped(after))
}

fn of_table(table: &Table) -> String {
    let aligns = table.aligns();
    let cell = |tag: &str, column: usize, text: &str| {
        let class = if aligns.get(column) == Some(&Align::Right) { " class=\"n\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", escaped(text))
    };
    let row = |tag: &str, cells: &[String]| {
        let cells: String =
            (0..aligns.len()).map(|at| cell(tag, at, cells.get(at).map_or("", String::as_str))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let group =
        |(name, first, end): (&str, usize, usize)| format!("<th colspan=\"{}\">{}</th>", end - first, escaped(name));
    let groups: String = table.spans().into_iter().map(group).collect();
    let groups = if groups.is_empty() { String::new() } else { format!("<tr class=\"g\">{groups}</tr>\n") };
    let names = table.own_names();
    let head = if names.iter().all(|name| name.is_empty()) { String::new() } else { groups + &row("th", &names) };
    let body: String = table.rows().map(|cells| row("td", cells)).collect();
    format!("<table>\n{head}{body}</table>")
}

/// With entities for HTML's own letters.
pub(super) fn escaped(text: &str) -> String {
    let letter = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        letter => letter.to_string(),
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_cannot_be_broken_out_of() {
        let mut table = Table::new([("name", Align::Left), ("value", Align::Right)]);
        table.row(["<script>alert(1)</script>", "1 & 2"]);
        let mut built = Page::new("a <b>");
        built.section("Numbers", [Block::Table(table), Block::lines(&["x < y".to_owned()])]);
        built.add(Block::picture("a.svg", "a", "<svg></svg>".to_owned()));
        let text = page(&built);
        assert!(
            text.contains("<td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td class=\"n\">1 &amp; 2</td>"),
            "{text}"
        );
        assert!(text.contains("<title>a &lt;b&gt;</title>") && text.contains("<li>x &lt; y</li>"));
        assert!(text.contains("<svg></svg>"));
        for outside in ["<script", "http:", "https:", "src=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
    }
}
