//! Tables of text: aligned columns for a terminal, and the same table in Markdown.

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under named columns; neighbouring columns may share a name above their own.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<(String, Align)>,
    groups: Vec<(String, usize)>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    Cells(Vec<String>),
    Rule,
}

/// Between columns.
const GAP: &str = "  ";
/// Between groups of columns.
const GROUP_GAP: &str = "    ";

impl Table {
    /// A table without rows.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Align)>) -> Self {
        let columns = columns.into_iter().map(|(name, align)| (name.into(), align)).collect();
        Self { columns, ..Self::default() }
    }

    /// Puts `name` above the next `columns` columns that have no group yet.
    #[must_use]
    pub fn group(mut self, name: &str, columns: usize) -> Self {
        self.groups.push((clean(name), columns));
        self
    }

    /// Appends a row; missing cells are empty, surplus cells stand under no name.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| clean(&cell.into())).collect();
        while self.columns.len() < cells.len() {
            self.columns.push((String::new(), Align::Left));
        }
        self.lines.push(Line::Cells(cells));
    }

    /// Appends a line across; Markdown leaves it out.
    pub fn rule(&mut self) {
        self.lines.push(Line::Rule);
    }

    /// For a terminal: the names, a line across, the rows. Every line ends in a newline and in no space.
    pub fn to_text(&self) -> String {
        let widths = self.widths();
        let mut lines = vec![];
        if !self.groups.is_empty() {
            lines.push(self.group_line(&widths));
        }
        let names = self.own_names();
        if names.iter().any(|name| !name.is_empty()) {
            lines.push(self.text_line(&names, &widths));
            lines.push(self.rule_line(&widths));
        }
        lines.extend(self.lines.iter().map(|line| match line {
            Line::Cells(cells) => self.text_line(cells, &widths),
            Line::Rule => self.rule_line(&widths),
        }));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// For a Markdown file; a group's name is put before its columns' names.
    pub fn to_markdown(&self) -> String {
        let names = self.names().into_iter().map(|name| markdown_cell(&name));
        let dashes = self.columns.iter().map(|(_, align)| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        let head = markdown_line(names) + &markdown_line(dashes);
        self.rows().fold(head, |out, cells| {
            let cell = |index: usize| cells.get(index).map_or_else(String::new, |cell| markdown_cell(cell));
            out + &markdown_line((0..self.columns.len()).map(cell))
        })
    }

    /// Where each column's text stands.
    pub(super) fn aligns(&self) -> Vec<Align> {
        self.columns.iter().map(|(_, align)| *align).collect()
    }

    /// The columns' names by themselves.
    pub(super) fn own_names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The columns' names, a group's name before those of its columns.
    fn names(&self) -> Vec<String> {
        let name = |(index, (name, _)): (usize, &(String, Align))| match self.group_of(index) {
            Some(group) if !group.is_empty() => format!("{group}: {name}"),
            _ => name.clone(),
        };
        self.columns.iter().enumerate().map(name).collect()
    }

    /// The rows without the lines across.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[String]> {
        self.lines.iter().filter_map(|line| match line {
            Line::Cells(cells) => Some(&cells[..]),
            Line::Rule => None,
        })
    }

    /// Each column's width in characters; a group's last column grows until the group's name fits.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| width(name)).collect();
        for (index, cell) in self.rows().flat_map(|cells| cells.iter().enumerate()) {
            widths[index] = widths[index].max(width(cell));
        }
        for (name, first, end) in self.spans() {
            let missing = width(name).saturating_sub(span_width(&widths[first..end]));
            if let Some(last) = widths[first..end].last_mut() {
                *last += missing;
            }
        }
        widths
    }

    /// Every group with its first column and the one behind its last.
    pub(super) fn spans(&self) -> Vec<(&str, usize, usize)> {
        let mut first = 0_usize;
        let mut spans = vec![];
        for (name, columns) in &self.groups {
            let end = first.saturating_add(*columns).min(self.columns.len());
            spans.push((name.as_str(), first, end));
            first = end;
        }
        spans
    }

    fn group_of(&self, column: usize) -> Option<&str> {
        let spans = self.spans();
        spans.into_iter().find(|(_, first, end)| (*first..*end).contains(&column)).map(|(name, _, _)| name)
    }

    /// What stands before column `index`.
    fn gap(&self, index: usize) -> &'static str {
        let begins = self.spans().iter().any(|(_, first, end)| *first == index || *end == index);
        match index {
            0 => "",
            _ if begins => GROUP_GAP,
            _ => GAP,
        }
    }

    fn group_line(&self, widths: &[usize]) -> String {
        let mut line = String::new();
        for (name, first, end) in self.spans() {
            line += self.gap(first);
            line += &padded(name, span_width(&widths[first..end]), Align::Left);
        }
        line
    }

    fn text_line(&self, cells: &[String], widths: &[usize]) -> String {
        let cell = |(index, (_, align)): (usize, &(String, Align))| {
            let text = cells.get(index).map_or("", String::as_str);
            format!("{}{}", self.gap(index), padded(text, widths[index], *align))
        };
        self.columns.iter().enumerate().map(cell).collect()
    }

    fn rule_line(&self, widths: &[usize]) -> String {
        widths
            .iter()
            .enumerate()
            .map(|(index, width)| {
                let gap = self.gap(index);
                let gap = if gap == GAP { "──" } else { gap };
                format!("{gap}{}", "─".repeat(*width))
            })
            .collect()
    }
}

/// Columns side by side, with the gaps between them.
fn span_width(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// `text` filled up with spaces.
pub(super) fn padded(text: &str, to: usize, align: Align) -> String {
    let space = " ".repeat(to.saturating_sub(width(text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

/// Without line breaks and terminal control, which would tear the table.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn markdown_line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// With a backslash before what Markdown would take for its own.
pub(super) fn markdown_cell(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '\\' | '|' | '*' | '`' | '<' | '[' | ']' => format!("\\{letter}"),
        _ => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([("name", Align::Left), ("a", Align::Right), ("b", Align::Right)])
            .group("", 1)
            .group("numbers", 2);
        table.row(["first", "1", "22"]);
        table.rule();
        table.row(["x|y\n", "333"]);
        table
    }

    #[test]
    fn text_is_aligned() {
        assert_eq!(
            sample().to_text(),
            [
                "         numbers\n",
                "name       a   b\n",
                "─────    ───────\n",
                "first      1  22\n",
                "─────    ───────\n",
                "x|y      333\n",
            ]
            .concat()
        );
    }

    #[test]
    fn markdown_has_the_same_cells() {
        assert_eq!(
            sample().to_markdown(),
            "| name | numbers: a | numbers: b |\n| --- | ---: | ---: |\n| first | 1 | 22 |\n| x\\|y  | 333 |  |\n"
        );
    }

    #[test]
    fn rows_of_any_length_are_shown() {
        let mut table = Table::new([("a", Align::Left)]);
        table.row(["1", "surplus"]);
        table.row(Vec::<String>::new());
        assert_eq!(table.to_text(), "a\n──────────\n1  surplus\n\n");
    }
}
