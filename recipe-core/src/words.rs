//! "Did you mean".

/// The candidate nearest to `word`, if one is near enough to be a slip of the keyboard.
///
/// Distance counts insertions, deletions, replacements and swaps of neighbours; a third of the word's letters may differ.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    let near = candidates.iter().map(|candidate| (distance(word, candidate), *candidate));
    near.filter(|(d, _)| *d <= allowed).min_by_key(|(d, _)| *d).map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (lower(a), lower(b));
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["model", "context", "rope", "attention", "adapt"];
        assert_eq!(nearest("ropee", &keys), Some("rope"));
        assert_eq!(nearest("attnetion", &keys), Some("attention"));
        assert_eq!(nearest("Rope", &keys), Some("rope"));
        assert_eq!(nearest("optimizer", &keys), None);
        assert_eq!(nearest("", &keys), None);
    }

    #[test]
    fn a_swap_counts_once() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
