//! One sentence: its words, which of them answer something, and which are the surnames of people.

use std::ops::Range;

/// Words of the [lexicon](super::lexicon), punctuation included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sentence {
    words: Vec<&'static str>,
    /// The words that state or recall a fact.
    pub(super) answer: Range<usize>,
    /// Where a person's surname stands, and whose it is.
    pub(super) surnames: Vec<(usize, usize)>,
}

impl Sentence {
    /// Words that are separated by spaces.
    pub(super) fn say(mut self, words: &'static str) -> Self {
        self.words.extend(words.split(' '));
        self
    }

    /// One word.
    pub(super) fn word(mut self, word: &'static str) -> Self {
        self.words.push(word);
        self
    }

    /// A person's two names.
    pub(super) fn person(mut self, [name, surname]: [&'static str; 2], person: usize) -> Self {
        self.words.extend([name, surname]);
        self.surnames.push((self.words.len() - 1, person));
        self
    }

    /// Everything that `write` appends is the answer.
    pub(super) fn answer(self, write: impl FnOnce(Self) -> Self) -> Self {
        let start = self.words.len();
        let mut written = write(self);
        written.answer = start..written.words.len();
        written
    }

    /// All words.
    pub(crate) fn words(&self) -> &[&'static str] {
        &self.words
    }

    /// The sentence as people write it, with the space before it, and the byte where each word ends: capitals, no
    /// space before punctuation, the digits of a key in one piece.
    pub(crate) fn prose(&self) -> (String, Vec<usize>) {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(self.words.len());
        for (index, word) in self.words.iter().enumerate() {
            let before = index.checked_sub(1).map_or(".", |index| self.words[index]);
            let number = |word: &str| word.starts_with(|letter: char| letter.is_ascii_digit());
            if !matches!(*word, "." | "," | "?") && !(number(word) && number(before)) {
                text.push(' ');
            }
            let named = self.surnames.iter().any(|&(surname, _)| surname == index || surname == index + 1);
            let capital = named || matches!(before, "." | "?") || super::lexicon::PLACES.contains(word);
            let first = if capital { word[..1].to_ascii_uppercase() } else { word[..1].to_owned() };
            text.push_str(&first);
            text.push_str(&word[1..]);
            ends.push(text.len());
        }
        (text, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::Sentence;

    #[test]
    fn prose_is_english() {
        let sentence = Sentence::default().say("what is the key of").person(["mira", "vale"], 0).word("?");
        let sentence = sentence.answer(|it| it.say("47 19")).word(".");
        let (text, ends) = sentence.prose();
        assert_eq!(text, " What is the key of Mira Vale? 4719.");
        let answer = ends[sentence.answer.start - 1]..ends[sentence.answer.end - 1];
        assert_eq!(&text[answer], " 4719");
        assert_eq!(ends.len(), sentence.words().len());
        let (text, _) = Sentence::default().person(["mira", "vale"], 0).say("lives in oldford .").prose();
        assert_eq!(text, " Mira Vale lives in Oldford.");
    }
}
