//! Token types by closed lists of English words, and numbers of any language by their digits.
//!
//! A list cannot tell two uses of a word apart. What is mostly something else is left out: demonstratives, `so`, `like`.
//! `one` is a number here, `to` an adposition.

use recipe_core::TokenType;

/// A set of types, a bit each.
pub(crate) type Types = u8;

/// A word with a digit, which the released program looks for.
pub(crate) const DIGIT: Types = 1 << 7;

/// The bit of a type.
pub(crate) const fn bit(kind: TokenType) -> Types {
    1 << kind as u8
}

const NUM: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
];

const PRON: &[&str] = &[
    "i",
    "me",
    "my",
    "mine",
    "myself",
    "we",
    "us",
    "our",
    "ours",
    "ourselves",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
    "he",
    "him",
    "his",
    "himself",
    "she",
    "her",
    "hers",
    "herself",
    "it",
    "its",
    "itself",
    "they",
    "them",
    "their",
    "theirs",
    "themselves",
    "who",
    "whom",
    "whose",
    "what",
    "which",
    "someone",
    "somebody",
    "something",
    "anyone",
    "anybody",
    "anything",
    "everyone",
    "everybody",
    "everything",
    "nobody",
    "nothing",
];

const AUX: &[&str] = &[
    "be", "am", "is", "are", "was", "were", "been", "being", "have", "has", "had", "having", "do", "does", "did",
    "will", "would", "shall", "should", "can", "could", "may", "might", "must", "cannot",
];

const CCONJ: &[&str] = &["and", "or", "but", "nor", "yet"];

const ADP: &[&str] = &[
    "about",
    "above",
    "across",
    "after",
    "against",
    "along",
    "among",
    "around",
    "at",
    "before",
    "behind",
    "below",
    "beneath",
    "beside",
    "besides",
    "between",
    "beyond",
    "by",
    "despite",
    "down",
    "during",
    "except",
    "for",
    "from",
    "in",
    "inside",
    "into",
    "near",
    "of",
    "off",
    "on",
    "onto",
    "out",
    "outside",
    "over",
    "per",
    "since",
    "through",
    "throughout",
    "till",
    "to",
    "toward",
    "towards",
    "under",
    "until",
    "up",
    "upon",
    "via",
    "with",
    "within",
    "without",
];

/// The types of all words in a text of lower case.
pub(crate) fn types_in(text: &str) -> Types {
    text.split(|letter: char| !in_word(letter)).map(types_of).fold(0, |all, word| all | word)
}

/// Whether a character goes on with a word; an apostrophe does.
pub(crate) fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '\'' || letter == '’'
}

fn types_of(word: &str) -> Types {
    if word.contains(char::is_numeric) {
        return DIGIT | bit(TokenType::Num);
    }
    let word = word.trim_matches(['\'', '’']);
    match word.split_once(['\'', '’']) {
        Some((head, tail)) => contracted(head, tail),
        None => listed(word),
    }
}

/// `they're`, `don't`, `it's`; an `'s` behind a noun is a genitive.
fn contracted(head: &str, tail: &str) -> Types {
    let types = listed(head);
    let auxiliary = match tail {
        "re" | "ve" | "ll" | "d" | "m" => true,
        "t" => head.ends_with('n'),
        "s" => types & bit(TokenType::Pron) != 0,
        _ => false,
    };
    types | if auxiliary { bit(TokenType::Aux) } else { 0 }
}

fn listed(word: &str) -> Types {
    let lists = [NUM, PRON, AUX, CCONJ, ADP].into_iter().zip(TokenType::ALL);
    lists.filter(|(list, _)| list.contains(&word)).fold(0, |all, (_, kind)| all | bit(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_their_types() {
        let [num, pron, aux, cconj, adp] = TokenType::ALL.map(bit);
        for (text, types) in [
            ("the mill of brenton", adp),
            ("in 1843 or thereabouts", adp | num | DIGIT | cconj),
            ("the 3rd", num | DIGIT),
            ("twenty-one", num),
            ("don't", aux),
            ("it’s", pron | aux),
            ("the mill's wheel", 0),
            ("they'd 'said' heroes", pron | aux),
            ("", 0),
            ("٤٢", num | DIGIT),
        ] {
            assert_eq!(types_in(text), types, "{text:?}");
        }
    }
}
