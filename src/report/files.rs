//! The folder that a report is written into, and the Markdown that its page is made of.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;
use super::plan::summary;
use super::table::{Align, Table, clean, markdown_cell};
use recipe_core::{Note, Plan};

/// A Markdown page and the pictures beside it, written together at the end.
#[derive(Debug)]
pub(super) struct Folder {
    page: String,
    pictures: Vec<(String, String)>,
}

impl Folder {
    /// A page that begins with `title`.
    pub(super) fn new(title: &str) -> Self {
        Self { page: format!("# {}\n", markdown_cell(&clean(title))), pictures: vec![] }
    }

    /// A heading and what stands under it; nothing where there is nothing.
    pub(super) fn section(&mut self, heading: &str, body: &str) {
        if !body.trim().is_empty() {
            self.page += &format!("\n## {heading}\n\n{}\n", body.trim_end());
        }
    }

    /// Adds to the section that stands last.
    pub(super) fn paragraph(&mut self, body: &str) {
        if !body.trim().is_empty() {
            self.page += &format!("\n{}\n", body.trim_end());
        }
    }

    /// Shows a picture, which is written as `name`.
    pub(super) fn picture(&mut self, name: &str, alternative: &str, svg: String) {
        self.paragraph(&format!("![{alternative}]({name})"));
        self.pictures.push((name.to_owned(), svg));
    }

    /// Writes everything into `dir`; the page comes last, when its pictures are there.
    pub(super) fn write(self, dir: &Path) -> Result<PathBuf, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        for (name, svg) in &self.pictures {
            let path = dir.join(name);
            fs::write(&path, svg).map_err(Error::file(&path))?;
        }
        let path = dir.join("report.md");
        fs::write(&path, self.page).map_err(Error::file(&path))?;
        Ok(path)
    }
}

/// The head of a plan as a table.
pub(super) fn plan_table(plan: &Plan) -> String {
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    for (label, words) in summary(plan) {
        table.row([label.to_owned(), words]);
    }
    table.to_markdown()
}

/// One item per note.
pub(super) fn note_list(notes: &[Note]) -> String {
    notes.iter().map(|note| format!("- `{}`: {}\n", note.rule, markdown_cell(&note.message))).collect()
}

/// One item per line.
pub(super) fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {}\n", markdown_cell(&clean(line)))).collect()
}

/// What was written besides the report.
pub(super) fn file_list(files: &[(String, PathBuf)]) -> String {
    let item = |(what, path): &(String, PathBuf)| format!("- {}: `{}`\n", markdown_cell(what), path.display());
    files.iter().map(item).collect()
}
