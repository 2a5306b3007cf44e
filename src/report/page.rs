//! A report: blocks in order, written as a Markdown page with its pictures beside it, and as one HTML page that holds them.

use std::path::PathBuf;

use super::plan::summary;
use super::table::{Align, Table};
use recipe_core::{Note, Plan};

/// A page under construction.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

/// What a page is made of.
#[derive(Debug)]
pub(super) enum Block {
    Heading(String),
    Text(String),
    List(Vec<Item>),
    Table(Table),
    /// Text of fixed width, folded under a word.
    Folded {
        word: String,
        text: String,
    },
    Picture {
        name: String,
        alternative: String,
        svg: String,
    },
}

/// A line of a list: what is set in the type of code, and what stands beside it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) before: String,
    pub(super) code: String,
    pub(super) after: String,
}

impl Page {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), blocks: vec![] }
    }

    /// A heading and what stands under it; nothing where there is nothing.
    pub(super) fn section(&mut self, heading: &str, blocks: impl IntoIterator<Item = Block>) {
        let blocks: Vec<Block> = blocks.into_iter().filter(|block| !block.is_empty()).collect();
        if !blocks.is_empty() {
            self.blocks.push(Block::Heading(heading.to_owned()));
            self.blocks.extend(blocks);
        }
    }

    /// Adds to the section that stands last.
    pub(super) fn add(&mut self, block: Block) {
        if !block.is_empty() {
            self.blocks.push(block);
        }
    }
}

impl Block {
    fn is_empty(&self) -> bool {
        match self {
            Self::Heading(text) | Self::Text(text) | Self::Folded { text, .. } => text.trim().is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Table(_) | Self::Picture { .. } => false,
        }
    }

    pub(super) fn picture(name: &str, alternative: &str, svg: String) -> Self {
        Self::Picture { name: name.to_owned(), alternative: alternative.to_owned(), svg }
    }

    /// One item per line.
    pub(super) fn lines(lines: &[String]) -> Self {
        let item = |line: &String| Item { before: line.clone(), code: String::new(), after: String::new() };
        Self::List(lines.iter().map(item).collect())
    }

    /// One item per note.
    pub(super) fn notes(notes: &[Note]) -> Self {
        let item = |note: &Note| Item {
            before: String::new(),
            code: note.rule.to_string(),
            after: format!(": {}", note.message),
        };
        Self::List(notes.iter().map(item).collect())
    }

    /// What was written besides the report.
    pub(super) fn files(files: &[(String, PathBuf)]) -> Self {
        let item = |(what, path): &(String, PathBuf)| Item {
            before: format!("{what}: "),
            code: path.display().to_string(),
            after: String::new(),
        };
        Self::List(files.iter().map(item).collect())
    }

    /// The head of a plan.
    pub(super) fn plan(plan: &Plan) -> Self {
        let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
        for (label, words) in summary(plan) {
            table.row([label.to_owned(), words]);
        }
        Self::Table(table)
    }
}
