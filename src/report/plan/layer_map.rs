//! What each layer sees, drawn: a strip with one character per layer, and a legend.

use recipe_core::Pattern;

use crate::report::number;
use crate::report::table::{Align, Table};

/// Layers on one line.
const ROW: usize = 80;
/// Lines that are drawn; models end long before.
const MOST_ROWS: usize = 4;
/// Runs of layers that the legend lists.
const MOST_RUNS: usize = 6;
/// For patterns other than full, in the order of their first layer.
const SPARSE: [char; 3] = ['▒', '░', '▓'];

/// The strip and its legend.
pub(super) fn layer_map(layers: &[Pattern]) -> String {
    let kinds = kinds(layers);
    let strip: Vec<char> = layers.iter().map(|pattern| glyph(*pattern, &kinds)).collect();
    let mut out: String =
        strip.chunks(ROW).take(MOST_ROWS).enumerate().map(|(row, part)| strip_row(row * ROW, part)).collect();
    if layers.len() > ROW * MOST_ROWS {
        out += "…\n";
    }
    out + &legend(layers, &kinds)
}

/// Every pattern once, in the order of its first layer.
fn kinds(layers: &[Pattern]) -> Vec<Pattern> {
    let mut kinds = vec![];
    for pattern in layers {
        if !kinds.contains(pattern) {
            kinds.push(*pattern);
        }
    }
    kinds
}

fn glyph(pattern: Pattern, kinds: &[Pattern]) -> char {
    let sparse = kinds.iter().filter(|kind| **kind != Pattern::Full);
    match sparse.into_iter().position(|kind| *kind == pattern) {
        Some(index) => SPARSE[index % SPARSE.len()],
        None => '█',
    }
}

/// Layer numbers above one line of the strip: every one of a few, every tenth of many.
fn strip_row(first: usize, part: &[char]) -> String {
    let step = if first == 0 && part.len() <= 10 { 1 } else { 10 };
    let ruler: String = (0..part.len()).step_by(step).map(|index| format!("{:<step$}", first + index)).collect();
    format!("{}\n{}\n", ruler.trim_end(), part.iter().collect::<String>())
}

fn legend(layers: &[Pattern], kinds: &[Pattern]) -> String {
    let mut table = Table::new([("", Align::Left), ("", Align::Left), ("", Align::Right), ("", Align::Left)]);
    for kind in kinds {
        let indices: Vec<usize> = (0..layers.len()).filter(|index| layers[*index] == *kind).collect();
        let count = if indices.len() == 1 { "1 layer".to_owned() } else { format!("{} layers", indices.len()) };
        table.row([glyph(*kind, kinds).to_string(), pattern_words(*kind), count, runs(&indices)]);
    }
    table.to_text()
}

/// `full`, `window 4K + 4 sinks`.
pub(super) fn pattern_words(pattern: Pattern) -> String {
    match pattern {
        Pattern::Full => "full".to_owned(),
        Pattern::Window { window, sink: 0 } => format!("window {}", number::tokens(window)),
        Pattern::Window { window, sink: 1 } => format!("window {} + 1 sink", number::tokens(window)),
        Pattern::Window { window, sink } => format!("window {} + {sink} sinks", number::tokens(window)),
        Pattern::Strided { stride, local, .. } => format!("every {stride}th block + {local} nearest"),
        Pattern::ShiftedGroups { size } => format!("shifted groups of {} in training", number::tokens(size)),
        Pattern::Duo { kv_heads, window, sink, .. } => {
            let full = (0..kv_heads).filter(|head| !pattern.streams(*head)).count();
            format!("{full} of {kv_heads} heads full, the others window {} + {sink} sinks", number::tokens(window))
        }
        Pattern::DualChunk { chunk, .. } => format!("dual chunks of {}", number::tokens(chunk)),
        Pattern::SelfExtend { group, window } => {
            format!("nearest {} exact, then groups of {group}", number::tokens(window))
        }
    }
}

/// Ascending numbers as runs: `0–9, 21–31`.
fn runs(indices: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = vec![];
    for index in indices {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let words =
        |(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    let shown: Vec<String> = runs.iter().take(MOST_RUNS).map(words).collect();
    let more = if runs.len() > MOST_RUNS { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARSE_LAYER: Pattern = Pattern::Window { window: 4096, sink: 4 };

    #[test]
    fn a_hybrid_is_drawn() {
        let layers = [vec![SPARSE_LAYER; 10], vec![Pattern::Full; 12], vec![SPARSE_LAYER; 10]].concat();
        assert_eq!(
            layer_map(&layers),
            [
                "0         10        20        30\n",
                "▒▒▒▒▒▒▒▒▒▒████████████▒▒▒▒▒▒▒▒▒▒\n",
                "▒  window 4K + 4 sinks  20 layers  0–9, 22–31\n",
                "█  full                 12 layers  10–21\n",
            ]
            .concat()
        );
    }

    #[test]
    fn a_few_layers_are_all_numbered() {
        assert!(layer_map(&[Pattern::Full; 6]).starts_with("012345\n██████\n█  full  6 layers  0–5\n"));
    }

    #[test]
    fn any_number_of_layers_stays_on_the_page() {
        let layers: Vec<Pattern> = (0..65_536).map(|i| if i % 3 == 0 { Pattern::Full } else { SPARSE_LAYER }).collect();
        let text = layer_map(&layers);
        assert!(text.lines().count() < 12 && text.lines().all(|line| line.chars().count() <= 88), "{text}");
        assert_eq!(layer_map(&[]), "");
    }
}
