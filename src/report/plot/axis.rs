//! Axes: from values to pixels, and where the ticks stand.

use crate::report::number;

/// How distance follows from value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences, equal distances.
    Linear,
    /// Equal ratios, equal distances; what is not positive is a gap.
    Log,
}

/// What the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Plain,
    /// Tokens: ticks at powers of two, written 4K.
    Tokens,
    /// Shares of 1, written 50%.
    Percent,
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// How distance follows from value.
    pub scale: Scale,
    /// What the numbers are.
    pub unit: Unit,
    /// Ends that do not follow from the data; values beyond them are drawn at the edge.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis of plain numbers.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear, unit: Unit::Plain, range: None }
    }

    /// A logarithmic axis of plain numbers.
    pub fn log(label: impl Into<String>) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }

    /// This axis in tokens.
    #[must_use]
    pub fn tokens(self) -> Self {
        Self { unit: Unit::Tokens, ..self }
    }

    /// This axis from `low` to `high`, whatever the data.
    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }
}

/// An axis with its ends settled.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    scale: Scale,
    unit: Unit,
    low: f64,
    high: f64,
}

/// An end this near to a round one moves there: in doublings, or as a share of the whole.
const CLOSE: f64 = 0.1;
/// Beyond this, differences of doubles overflow.
const MOST: f64 = 1e150;

impl Frame {
    /// Ends around `values`; `margin` is left free on both sides, as a share of the whole.
    pub(super) fn around(axis: &Axis, values: impl Iterator<Item = f64>, margin: f64) -> Self {
        let frame = Self { scale: axis.scale, unit: axis.unit, low: 0.0, high: 1.0 };
        let given = axis.range.and_then(|(low, high)| Some((frame.place(low)?, frame.place(high)?)));
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter_map(|value| frame.place(value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low <= high {
            (low, high) = frame.rounded(low, high);
        }
        let (low, high) = match given {
            Some((low, high)) if low < high => (low, high),
            _ if low > high => (0.0, 1.0),
            _ if high - low <= 1e-9 * high.abs().max(low.abs()) => (low - spread(low), high + spread(high)),
            _ => (low - margin * (high - low), high + margin * (high - low)),
        };
        Self { low, high, ..frame }
    }

    /// Ends that all but touch zero or a power of two, moved onto it: its tick is worth more than the exact end.
    fn rounded(&self, low: f64, high: f64) -> (f64, f64) {
        let near = |place: f64, round: f64| if (place - round).abs() < CLOSE { round } else { place };
        match (self.scale, self.unit) {
            (Scale::Log, Unit::Tokens) => (near(low, low.floor()), near(high, high.ceil())),
            (Scale::Log, _) => (low, high),
            (Scale::Linear, Unit::Tokens) if high >= 1.0 => {
                let high = near(high.log2(), high.log2().ceil()).exp2();
                (grounded(low, high), high)
            }
            (Scale::Linear, _) => (grounded(low, high), high),
        }
    }

    /// Where `value` lies on the scale, before pixels; nothing where it has no place.
    fn place(&self, value: f64) -> Option<f64> {
        match self.scale {
            Scale::Linear => value.is_finite().then(|| value.clamp(-MOST, MOST)),
            Scale::Log => (value.is_finite() && value > 0.0).then(|| value.log2()),
        }
    }

    /// Where `value` lies between the ends, from 0 to 1.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        let place = self.place(value)?.clamp(self.low, self.high);
        Some((place - self.low) / (self.high - self.low))
    }

    /// Whether `value` lies between the ends.
    pub(super) fn holds(&self, value: f64) -> bool {
        let inside = self.place(value).is_some_and(|place| (self.low..=self.high).contains(&place));
        inside && (self.scale == Scale::Log || value.abs() <= MOST)
    }

    /// Ticks between the ends, about `wanted` of them: where they lie from 0 to 1, and their words.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let values = match self.scale {
            Scale::Linear => self.linear_ticks(wanted),
            Scale::Log => self.log_ticks(wanted),
        };
        let step = values.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        let inside = values.into_iter().filter(|value| self.holds(*value));
        let mut ticks: Vec<(f64, String)> =
            inside.filter_map(|value| Some((self.share(value)?, self.words(value, step)))).collect();
        // Steps below a double's precision repeat themselves.
        ticks.dedup_by(|a, b| a.1 == b.1);
        ticks
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<f64> {
        let step = self.step((self.high - self.low) / wanted.max(1) as f64);
        let first = (self.low / step).ceil();
        (0..=2 * wanted).map(|index| (first + index as f64) * step).collect()
    }

    /// The round number next above `least`.
    fn step(&self, least: f64) -> f64 {
        if self.unit == Unit::Tokens && least >= 1.0 {
            return least.log2().ceil().exp2();
        }
        let power = 10f64.powf(least.log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= least * 0.999);
        round.unwrap_or(10.0) * power
    }

    /// Powers of two for tokens; otherwise powers of ten, with 2 and 5 between them where there is room.
    fn log_ticks(&self, wanted: usize) -> Vec<f64> {
        let base: f64 = if self.unit == Unit::Tokens { 2.0 } else { 10.0 };
        let spans = (self.high - self.low) / base.log2();
        if base == 10.0 && spans < 0.5 {
            let linear = Self { scale: Scale::Linear, low: self.low.exp2(), high: self.high.exp2(), ..*self };
            return linear.linear_ticks(wanted);
        }
        let every = (spans / wanted.max(1) as f64).ceil().max(1.0);
        let first = (self.low / base.log2() / every).floor() as i32;
        let count = (spans / every) as i32 + 2;
        let digits: &[f64] = if base == 10.0 && spans < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let power = |index: i32| base.powf(every * f64::from(first + index));
        (0..=count).flat_map(|index| digits.iter().map(move |digit| digit * power(index))).collect()
    }

    fn words(&self, value: f64, step: f64) -> String {
        let whole = value.fract() == 0.0 && value.abs() < 1e15;
        match self.unit {
            Unit::Tokens if whole && value >= 0.0 => number::tokens(value as usize),
            Unit::Percent => format!("{}%", number::plain((value * 1e4).round() / 100.0)),
            _ if value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-4) => number::scientific(value),
            _ if self.scale == Scale::Linear && step.is_finite() => {
                number::fixed(value, (-step.log10().floor()).clamp(0.0, 8.0) as usize)
            }
            _ => number::scientific(value),
        }
    }
}

/// Zero in place of a low end that is small beside the high one.
fn grounded(low: f64, high: f64) -> f64 {
    if low > 0.0 && low < CLOSE * high { 0.0 } else { low }
}

/// Half the height that a single value gets.
fn spread(value: f64) -> f64 {
    if value == 0.0 { 1.0 } else { value.abs() * 0.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(axis: &Axis, values: &[f64]) -> Vec<String> {
        Frame::around(axis, values.iter().copied(), 0.0).ticks(6).into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(words(&Axis::linear(""), &[1.93, 4.1]), ["2.0", "2.5", "3.0", "3.5", "4.0"]);
        assert_eq!(words(&Axis::linear(""), &[0.0, 1000.0]), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(words(&Axis::log("").tokens(), &[256.0, 8192.0]), ["256", "512", "1K", "2K", "4K", "8K"]);
        assert_eq!(words(&Axis::linear("").tokens(), &[0.0, 131_072.0]), ["0", "32K", "64K", "96K", "128K"]);
        assert_eq!(words(&Axis::log(""), &[0.5, 40.0]), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(words(&Axis::log(""), &[1.0, 1e12]), ["1", "100", "10000", "1e6", "1e8", "1e10", "1e12"]);
    }

    #[test]
    fn ticks_are_few_and_inside_for_any_values() {
        let cases: [&[f64]; 9] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[3.0],
            &[0.0, 0.0],
            &[-1e308, 1e308],
            &[1e-300, 2e-300],
            &[1e16, 1e16 + 2.0],
            &[5e-324, 1e308],
            &[-5.0, -4.0],
        ];
        for values in cases {
            for axis in [Axis::linear(""), Axis::log(""), Axis::log("").tokens(), Axis::linear("").tokens()] {
                let ticks = Frame::around(&axis, values.iter().copied(), 0.04).ticks(6);
                assert!(ticks.len() <= 13, "{values:?} {axis:?}: {ticks:?}");
                assert!(ticks.iter().all(|(share, _)| (0.0..=1.0).contains(share)), "{values:?} {ticks:?}");
            }
        }
    }
}
