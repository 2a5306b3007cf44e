//! Numbers and their suffixes. `K` and `M` are binary and stand for lengths alone; bytes always carry a unit.

use crate::ast::Number;

const LENGTHS: &[(&str, f64)] = &[("", 1.0), ("K", 1024.0), ("M", 1_048_576.0)];

const BYTES: &[(&str, f64)] = &[
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

/// Above this an f64 no longer holds every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What is wrong with a number, and what to write instead.
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: String,
}

fn wrong(message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), help: help.into() }
}

impl Number {
    /// As written, without underscores.
    pub(crate) fn text(&self) -> String {
        format!("{}{}{}", if self.negative { "-" } else { "" }, self.digits, self.suffix)
    }

    fn plain_value(&self) -> Result<f64, Wrong> {
        let value: f64 = self.digits.parse().unwrap_or(f64::INFINITY);
        if value.is_finite() {
            return Ok(if self.negative { -value } else { value });
        }
        Err(wrong(format!("`{}` is too large for a number", self.text()), "the largest is about 1.8e308"))
    }

    /// `2e-5`, `5_000_000`, `-1`: no suffix.
    pub(crate) fn plain(&self) -> Result<f64, Wrong> {
        let value = self.plain_value()?;
        if self.suffix.is_empty() { Ok(value) } else { Err(self.suffix_misplaced(value)) }
    }

    /// A whole number, no suffix.
    pub(crate) fn count(&self) -> Result<u64, Wrong> {
        if self.suffix.is_empty()
            && !self.negative
            && let Ok(exact) = self.digits.parse()
        {
            return Ok(exact);
        }
        let value = self.plain()?;
        self.whole(value, "a whole number")
    }

    /// `4096`, `4K`, `1M`, `1.5K`.
    pub(crate) fn length(&self) -> Result<u64, Wrong> {
        let value = self.plain_value()?;
        match unit(LENGTHS, &self.suffix) {
            Some(size) => self.whole(value * size, "a whole number of tokens"),
            None => {
                Err(self.unit_unknown("length", LENGTHS, "a length is written `4096` or `4K` (1K = 1024, 1M = 1024K)"))
            }
        }
    }

    /// `80GB`, `16GiB`.
    pub(crate) fn bytes(&self) -> Result<u64, Wrong> {
        let value = self.plain_value()?;
        match unit(BYTES, &self.suffix) {
            Some(size) => self.whole((value * size).round(), "an amount of memory"),
            None if self.suffix.is_empty() => {
                let (text, digits) = (self.text(), &self.digits);
                let help =
                    format!("write `{digits}GB` (10⁹ bytes each, as cards are sold) or `{digits}GiB` (2³⁰ bytes each)");
                Err(wrong(format!("`{text}` says no unit of memory"), help))
            }
            None => Err(self.unit_unknown("memory", BYTES, "memory is written `80GB` or `16GiB`")),
        }
    }

    fn whole(&self, value: f64, what: &str) -> Result<u64, Wrong> {
        if value < 0.0 {
            return Err(wrong(format!("`{}` is negative", self.text()), format!("write {what}, 0 or more")));
        }
        if value.fract() != 0.0 {
            return Err(wrong(
                format!("`{}` is not whole", self.text()),
                format!("write {what}, such as {}", value.round()),
            ));
        }
        if value > EXACT {
            return Err(wrong(format!("`{}` is too large", self.text()), format!("write {what} up to 2^53")));
        }
        Ok(value as u64)
    }

    /// A suffix that is no unit: perhaps its case is wrong.
    fn unit_unknown(&self, of: &str, units: &[(&str, f64)], help: &str) -> Wrong {
        let near = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(&self.suffix));
        let help = match near {
            Some((name, _)) => format!("did you mean `{}{name}`?", self.digits),
            None => help.to_owned(),
        };
        wrong(format!("`{}` is not a unit of {of}", self.suffix), help)
    }

    /// A suffix where a plain number belongs.
    fn suffix_misplaced(&self, value: f64) -> Wrong {
        let (text, digits) = (self.text(), &self.digits);
        match unit(LENGTHS, &self.suffix) {
            Some(size) => {
                let round = value * if size > 1024.0 { 1e6 } else { 1e3 };
                let message = format!("`{text}`: the suffix `{}` is for lengths in tokens alone", self.suffix);
                wrong(
                    message,
                    format!("write the number out: `{round}`, or `{}` if you mean the binary one", value * size),
                )
            }
            None if unit(BYTES, &self.suffix).is_some() => {
                wrong(format!("`{text}` is an amount of memory, not a number"), format!("write `{digits}`"))
            }
            None => wrong(format!("`{text}` has a suffix that means nothing here"), format!("write `{digits}`")),
        }
    }
}

fn unit(units: &[(&str, f64)], suffix: &str) -> Option<f64> {
    units.iter().find(|(name, _)| *name == suffix).map(|(_, size)| *size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(digits: &str, suffix: &str) -> Number {
        Number { negative: false, digits: digits.to_owned(), suffix: suffix.to_owned() }
    }

    #[test]
    fn suffixes_are_binary_for_lengths_and_as_written_for_memory() {
        assert_eq!(number("4", "K").length().ok(), Some(4096));
        assert_eq!(number("1.5", "K").length().ok(), Some(1536));
        assert_eq!(number("80", "GB").bytes().ok(), Some(80_000_000_000));
        assert_eq!(number("16", "GiB").bytes().ok(), Some(17_179_869_184));
        assert_eq!(number("2e8", "").count().ok(), Some(200_000_000));
        assert_eq!(number("18446744073709551615", "").count().ok(), Some(u64::MAX));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let message = |result: Result<u64, Wrong>| result.err().map(|wrong| wrong.message).unwrap_or_default();
        assert_eq!(message(number("1", "K").count()), "`1K`: the suffix `K` is for lengths in tokens alone");
        assert_eq!(message(number("4", "k").length()), "`k` is not a unit of length");
        assert_eq!(message(number("80", "").bytes()), "`80` says no unit of memory");
        assert_eq!(message(number("0.3", "K").length()), "`0.3K` is not whole");
        assert_eq!(message(number("1e999", "").count()), "`1e999` is too large for a number");
        assert_eq!(message(Number { negative: true, ..number("3", "") }.count()), "`-3` is negative");
    }
}
