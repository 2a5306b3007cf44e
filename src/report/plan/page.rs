//! The page that a plan is printed on: labels on the left, bodies on the right.

use crate::report::table::{Align, clean, padded};

/// Characters before a body.
const LABEL: usize = 12;
/// Characters of a body's line.
const BODY: usize = 88;
/// Characters of a whole bar.
const BAR: usize = 40;

/// Text under construction.
#[derive(Debug)]
pub(super) struct Page(String);

impl Page {
    /// A page that begins with `title`.
    pub(super) fn new(title: &str) -> Self {
        let title = clean(title);
        Self(format!("{title}\n{}\n", "═".repeat(title.chars().count())))
    }

    /// A label and its words, wrapped.
    pub(super) fn line(&mut self, label: &str, words: &str) {
        self.body(label, &wrapped(&clean(words)));
    }

    /// An empty line, then a label beside ready lines.
    pub(super) fn block(&mut self, label: &str, lines: &str) {
        self.0.push('\n');
        self.body(label, lines);
    }

    fn body(&mut self, label: &str, lines: &str) {
        for (index, line) in lines.lines().enumerate() {
            let label = if index == 0 { label } else { "" };
            let line = format!("{}{line}", padded(label, LABEL, Align::Left));
            self.0.push_str(line.trim_end());
            self.0.push('\n');
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// `text` with lines broken between words; a line's continuation is indented by two.
pub(crate) fn wrapped(text: &str) -> String {
    text.lines().map(wrapped_line).collect()
}

fn wrapped_line(text: &str) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > BODY {
            out.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
    out
}

/// A bar of `share` of the full width, in eighths of a character; the least that is not nothing is visible.
pub(super) fn bar(share: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * (BAR * 8) as f64).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

/// A bar whose empty part is drawn too.
pub(super) fn gauge(share: f64) -> String {
    let bar = bar(share);
    let rest = BAR - bar.chars().count();
    format!("{bar}{}", "░".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_never_longer_than_the_scale() {
        let widths = [f64::NAN, -1.0, 0.0, 1e-9, 0.5, 1.0, 7.0].map(|share| bar(share).chars().count());
        assert_eq!(widths, [0, 0, 0, 1, 20, 40, 40]);
        assert!([0.0, 0.013, 0.999, 1.0].iter().all(|share| gauge(*share).chars().count() == 40));
    }

    #[test]
    fn long_lines_break_between_words() {
        let text = wrapped(&format!("{} end", "word ".repeat(40).trim_end()));
        assert!(text.lines().all(|line| line.chars().count() <= BODY));
        assert_eq!(text.split_whitespace().count(), 41);
        assert!(text.lines().skip(1).all(|line| line.starts_with("  w")));
    }
}
