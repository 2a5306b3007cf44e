//! The keys one query sees, or all queries of a block, in a form that does not grow with their number.

use std::ops::Range;

/// A strip without end.
pub(crate) const SOLID: usize = usize::MAX;

/// Strips of `len` keys, one every `step` keys, cut to `far`; behind them the keys of `near`. All are key indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    far: Range<usize>,
    /// How many keys before `far` the first strip begins.
    before: usize,
    len: usize,
    step: usize,
    near: Range<usize>,
}

impl Seen {
    pub(crate) const NOTHING: Seen = Seen { far: 0..0, before: 0, len: SOLID, step: SOLID, near: 0..0 };

    /// Strips from 0 on as far as `far`, which is not behind the start of `near`.
    pub(crate) fn new(far: usize, len: usize, step: usize, near: Range<usize>) -> Seen {
        Seen { far: 0..far, before: 0, len, step, near }
    }

    /// Where strips lie.
    pub(crate) fn far(&self) -> Range<usize> {
        self.far.clone()
    }

    /// The keys behind the strips.
    pub(crate) fn near(&self) -> Range<usize> {
        self.near.clone()
    }

    /// How many keys before [`Seen::far`] the first strip begins, the length of a strip, and from one to the next; nothing where
    /// all of it is seen.
    pub(crate) fn strips(&self) -> Option<[usize; 3]> {
        (self.len != SOLID).then_some([self.before, self.len, self.step])
    }

    /// The same keys `start` rows further on, as indices of the `keys` keys from row `key_row` on.
    pub(crate) fn placed(self, start: usize, key_row: usize, keys: usize) -> Seen {
        let index = |row: usize| (start + row).saturating_sub(key_row).min(keys);
        let place = |rows: Range<usize>| index(rows.start)..index(rows.end);
        let before = key_row.saturating_sub(start) % self.step;
        Seen { far: place(self.far), before, near: place(self.near), ..self }
    }

    /// The ranges of seen keys inside `keys`: ascending, not empty.
    pub(crate) fn within(&self, keys: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (far, near) = (cut(&self.far, &keys), cut(&self.near, &keys));
        let (begin, before, len, step) = (self.far.start, self.before, self.len, self.step);
        // Saturating: an endless strip, and whatever follows it, ends behind every key.
        let strip = move |n: usize| {
            let at = begin.saturating_add(step.saturating_mul(n));
            at.saturating_sub(before)..at.saturating_add(len).saturating_sub(before)
        };
        let first = (far.start - begin + before) / step;
        let end = far.end;
        let strips =
            (first..).map(strip).take_while(move |strip| strip.start < end).map(move |strip| cut(&strip, &far));
        strips.chain([near]).filter(|range| !range.is_empty())
    }

    /// The first two ranges of seen keys inside `keys`, empty where there are fewer, and where a third begins or `keys`
    /// end.
    #[inline]
    pub(crate) fn two_within(&self, keys: Range<usize>) -> ([Range<usize>; 2], usize) {
        if self.step == SOLID {
            return ([cut(&self.far, &keys), cut(&self.near, &keys)], keys.end);
        }
        let mut ranges = self.within(keys.clone());
        let mut next = || ranges.next().unwrap_or(keys.end..keys.end);
        ([next(), next()], next().start)
    }

    /// Takes in the keys of a neighbouring query if the two together still have this form.
    pub(crate) fn join(&mut self, next: &Seen) -> bool {
        let apart = self.near.end < next.near.start || next.near.end < self.near.start;
        if !self.same_strips(next) || apart {
            return false;
        }
        self.near = self.near.start.min(next.near.start)..self.near.end.max(next.near.end);
        self.far.end = self.far.end.max(next.far.end).min(self.near.start);
        true
    }

    /// Keeps keys that `other` sees too; of two different rows of strips none.
    pub(crate) fn meet(&mut self, other: &Seen) {
        let far = if self.same_strips(other) { self.far.end.min(other.far.end) } else { self.far.start };
        self.far.end = far;
        self.near = cut(&self.near, &other.near);
    }

    fn same_strips(&self, other: &Seen) -> bool {
        let strips = |seen: &Seen| (seen.far.start, seen.before, seen.len, seen.step);
        strips(self) == strips(other)
    }
}

#[inline]
fn cut(range: &Range<usize>, to: &Range<usize>) -> Range<usize> {
    let from = range.start.max(to.start);
    from..range.end.min(to.end).max(from)
}
