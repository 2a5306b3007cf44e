//! A page as Markdown.

use super::page::{Block, Item, Page};
use super::table::{clean, markdown_cell};

pub(super) fn page(page: &Page) -> String {
    let title = format!("# {}\n", markdown_cell(&clean(&page.title)));
    page.blocks.iter().fold(title, |text, block| text + "\n" + &of(block))
}

fn of(block: &Block) -> String {
    match block {
        Block::Heading(text) => format!("## {text}\n"),
        Block::Text(text) => format!("{}\n", text.trim_end()),
        Block::List(items) => items.iter().map(item).collect(),
        Block::Table(table) => table.to_markdown(),
        Block::Folded { word, text } => {
            format!("<details><summary>{word}</summary>\n\n```text\n{text}```\n\n</details>\n")
        }
        Block::Picture { name, alternative, .. } => format!("![{alternative}]({name})\n"),
    }
}

fn item(Item { before, code, after }: &Item) -> String {
    let code = if code.is_empty() { String::new() } else { format!("`{code}`") };
    format!("- {}{code}{}\n", markdown_cell(&clean(before)), markdown_cell(&clean(after)))
}
