//! What a training step reads. Tokens, positions and documents are separate inputs: none is ever inferred from another,
//! because skip positions would then pass for document borders.

use super::error::Error;

/// The target that the loss leaves out; Hugging Face's `ignore_index`.
pub const IGNORE: i32 = -100;

/// One or several token sequences laid end to end, four vectors of equal length T.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids `[T]`.
    pub tokens: Vec<u32>,
    /// Position ids `[T]`, what the rotary embedding turns by.
    pub positions: Vec<u32>,
    /// Document ids `[T]`, each a contiguous run; attention never crosses from one to the next.
    pub documents: Vec<u32>,
    /// The token that `logits[t]` should predict `[T]`; [`IGNORE`] leaves a row out of the loss.
    pub targets: Vec<i32>,
    /// E2-LLM's scale (arXiv 2401.06951): divides the model's own rotary frequencies, in place of the recipe's law.
    pub stretch: Option<u32>,
    /// Short text among longer sequences: a stage leaves its documents and positions as they are.
    pub replay: bool,
}

impl Batch {
    /// One sequence of several documents. `starts` are the rows where a document begins, ascending from 0; positions
    /// restart there, and a target is the next token of the same document.
    ///
    /// # Errors
    /// When `starts` does not begin at 0, does not ascend, or leaves the sequence.
    pub fn sequence(tokens: Vec<u32>, starts: &[usize]) -> Result<Self, Error> {
        check_starts(starts, tokens.len())?;
        let mut batch = Self { tokens, ..Self::default() };
        for (document, &start) in starts.iter().enumerate() {
            let end = starts.get(document + 1).copied().unwrap_or(batch.tokens.len());
            batch.positions.extend(0..(end - start) as u32);
            batch.documents.resize(end, document as u32);
            batch.targets.extend(batch.tokens[start + 1..end].iter().map(|&token| token as i32));
            batch.targets.push(IGNORE);
        }
        Ok(batch)
    }

    /// The same rows as one document: positions go on across its borders, and a document's last row predicts the first
    /// token of the next, where that one's own first row counts.
    #[must_use]
    pub fn joined(mut self) -> Self {
        let last = self.len().saturating_sub(1);
        for row in 0..last {
            let border = self.documents[row] != self.documents[row + 1];
            if border && self.targets[row + 1] != IGNORE {
                self.targets[row] = self.tokens[row + 1] as i32;
            }
        }
        self.positions = (0..self.len() as u32).collect();
        self.documents.fill(0);
        self
    }

    /// Several batches of one optimiser step as one; documents are numbered anew, so two batches never share one.
    pub fn concat(batches: &[Self]) -> Self {
        let mut whole = Self::default();
        let mut next = 0;
        for batch in batches {
            let mut last = None;
            for &document in &batch.documents {
                if last.is_some_and(|last| last != document) {
                    next += 1;
                }
                last = Some(document);
                whole.documents.push(next);
            }
            next += u32::from(last.is_some());
            whole.tokens.extend_from_slice(&batch.tokens);
            whole.positions.extend_from_slice(&batch.positions);
            whole.targets.extend_from_slice(&batch.targets);
            whole.stretch = batch.stretch;
        }
        whole
    }

    /// T.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether T is 0.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Rows that the loss counts.
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORE).count()
    }

    /// For each row, the first row of its document `[T]`.
    pub fn starts(&self) -> Vec<usize> {
        let mut start = 0;
        let rows = self.documents.iter().enumerate();
        rows.map(|(row, document)| {
            if row > 0 && self.documents[row - 1] != *document {
                start = row;
            }
            start
        })
        .collect()
    }

    /// Holds a batch that came from outside against its invariants: equal lengths, documents in one run each, tokens
    /// and targets inside the vocabulary.
    ///
    /// # Errors
    /// Names the first row that breaks one.
    pub fn check(&self, vocab: usize) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Batch { what });
        let lengths = [self.positions.len(), self.documents.len(), self.targets.len()];
        if lengths.iter().any(|&length| length != self.len()) {
            let [positions, documents, targets] = lengths;
            return wrong(format!(
                "{} tokens, {positions} positions, {documents} documents, {targets} targets; all four need one length",
                self.len(),
            ));
        }
        if let Some(row) = self.tokens.iter().position(|&token| token as usize >= vocab) {
            return wrong(format!("tokens[{row}] is {}, the vocabulary ends at {}", self.tokens[row], vocab - 1));
        }
        let legal = |target: i32| target == IGNORE || usize::try_from(target).is_ok_and(|target| target < vocab);
        if let Some(row) = self.targets.iter().position(|&target| !legal(target)) {
            let (target, last) = (self.targets[row], vocab - 1);
            return wrong(format!("targets[{row}] is {target}; a target is {IGNORE} (ignored) or in 0..={last}"));
        }
        self.check_documents()
    }

    fn check_documents(&self) -> Result<(), Error> {
        let mut seen = std::collections::HashSet::new();
        for (row, document) in self.documents.iter().enumerate() {
            let border = row == 0 || self.documents[row - 1] != *document;
            if border && !seen.insert(document) {
                let what = format!("documents[{row}] returns to {document}; a document is one run of rows");
                return Err(Error::Batch { what });
            }
        }
        Ok(())
    }
}

fn check_starts(starts: &[usize], length: usize) -> Result<(), Error> {
    let first = starts.first() == Some(&0) || (starts.is_empty() && length == 0);
    let ascending = starts.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = starts.last().is_none_or(|&last| last < length);
    if first && ascending && inside {
        return Ok(());
    }
    let what = format!("documents start at {starts:?} in {length} tokens; starts ascend from 0 and stay inside");
    Err(Error::Batch { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_inside_their_document() {
        let batch = Batch::sequence(vec![5, 6, 7, 8, 9], &[0, 3]).unwrap();
        assert_eq!(batch.positions, [0, 1, 2, 0, 1]);
        assert_eq!(batch.documents, [0, 0, 0, 1, 1]);
        assert_eq!(batch.targets, [6, 7, IGNORE, 9, IGNORE]);
        assert_eq!(batch.starts(), [0, 0, 0, 3, 3]);
        assert_eq!(batch.counted(), 3);
        batch.check(10).unwrap();
    }

    #[test]
    fn concatenation_never_joins_documents() {
        let one = Batch::sequence(vec![1, 2, 3], &[0, 2]).unwrap();
        let whole = Batch::concat(&[one.clone(), Batch::default(), one]);
        assert_eq!(whole.documents, [0, 0, 1, 2, 2, 3]);
        assert_eq!(whole.starts(), [0, 0, 2, 3, 3, 5]);
        assert_eq!(whole.targets, [2, IGNORE, IGNORE, 2, IGNORE, IGNORE]);
        whole.check(4).unwrap();
    }

    #[test]
    fn joined_documents_are_one() {
        let mut batch = Batch::sequence(vec![5, 6, 7, 8, 9, 4], &[0, 2, 4]).unwrap();
        batch.targets[4] = IGNORE;
        let joined = batch.joined();
        assert_eq!(joined.positions, [0, 1, 2, 3, 4, 5]);
        assert_eq!(joined.starts(), [0; 6]);
        // The third document's first row does not count, so it is not predicted either.
        assert_eq!(joined.targets, [6, 7, 8, IGNORE, IGNORE, IGNORE]);
        assert!(Batch::default().joined().is_empty());
    }

    #[test]
    fn starts_are_checked() {
        for starts in [&[][..], &[1], &[0, 0], &[0, 2, 1], &[0, 3]] {
            assert!(Batch::sequence(vec![1, 2, 3], starts).is_err(), "{starts:?}");
        }
        assert!(Batch::sequence(vec![], &[]).unwrap().is_empty());
    }

    #[test]
    fn a_batch_from_outside_is_checked() {
        let good = Batch::sequence(vec![1, 2, 3], &[0, 1]).unwrap();
        let says = |change: &dyn Fn(&mut Batch)| {
            let mut batch = good.clone();
            change(&mut batch);
            batch.check(4).unwrap_err().to_string()
        };
        assert!(says(&|batch| batch.positions.truncate(2)).contains("3 tokens, 2 positions"));
        assert!(says(&|batch| batch.tokens[2] = 4).contains("tokens[2] is 4"));
        assert!(says(&|batch| batch.targets[0] = -1).contains("targets[0] is -1"));
        assert!(says(&|batch| batch.targets[1] = 4).contains("targets[1] is 4"));
        assert!(says(&|batch| batch.documents[2] = 0).contains("documents[2] returns to 0"));
    }
}
