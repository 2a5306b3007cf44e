//! One sentence: its words, which of them answer something, and which are names.

use std::ops::Range;

/// Words of the [lexicon](super::lexicon), punctuation included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sentence {
    words: Vec<&'static str>,
    /// The words that state or recall a fact.
    pub(super) answer: Range<usize>,
    /// Where a person's name stands.
    names: Vec<usize>,
    /// Where a word stands that only prose has.
    prose_only: Vec<usize>,
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

    /// A person's name.
    pub(super) fn person(mut self, name: &'static str) -> Self {
        self.names.push(self.words.len());
        self.word(name)
    }

    /// A word that English wants, and that the embedded tokenizer leaves out: an answer stands right behind the name that
    /// it belongs to there, which is what a small model learns to look up first (induction, arXiv 2209.11895).
    pub(super) fn prose_only(mut self, word: &'static str) -> Self {
        self.prose_only.push(self.words.len());
        self.word(word)
    }

    /// Everything that `write` appends is the answer.
    pub(super) fn answer(self, write: impl FnOnce(Self) -> Self) -> Self {
        let start = self.words.len();
        let mut written = write(self);
        written.answer = start..written.words.len();
        written
    }

    /// All words; nothing in the place of those that only prose has.
    pub(crate) fn words(&self) -> impl Iterator<Item = Option<&'static str>> {
        self.words.iter().enumerate().map(|(index, word)| (!self.prose_only.contains(&index)).then_some(*word))
    }

    /// The sentence as people write it, with the space before it, and the byte where each word ends: capitals, no
    /// space before punctuation, the digits of a key in one piece.
    pub(crate) fn prose(&self) -> (String, Vec<usize>) {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(self.words.len());
        for (index, word) in self.words.iter().enumerate() {
            let before = index.checked_sub(1).map_or(".", |index| self.words[index]);
            let number = |word: &str| word.starts_with(|letter: char| letter.is_ascii_digit());
            let joined = matches!(*word, "." | "," | "?") || (number(word) && number(before));
            if !joined {
                text.push(' ');
            }
            let named = self.names.contains(&index) || super::lexicon::PLACES.contains(word);
            let first = if named || matches!(before, "." | "?") {
                word[..1].to_ascii_uppercase()
            } else {
                word[..1].to_owned()
            };
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
        let sentence = Sentence::default().say("what is the key of").person("mira").prose_only("?");
        let sentence = sentence.answer(|it| it.say("47 19")).word(".");
        let (text, ends) = sentence.prose();
        assert_eq!(text, " What is the key of Mira? 4719.");
        let answer = ends[sentence.answer.start - 1]..ends[sentence.answer.end - 1];
        assert_eq!(&text[answer], " 4719");
        let words: Vec<&str> = sentence.words().flatten().collect();
        assert_eq!(words.join(" "), "what is the key of mira 47 19 .");
        assert_eq!(ends.len(), sentence.words().count());
    }
}
