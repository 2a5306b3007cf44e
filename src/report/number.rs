//! Numbers as people read them. What is not a number is `–`, what is infinite `∞`.

pub use recipe_core::{readable_bytes as bytes, readable_tokens as tokens};

const COUNTS: [&str; 5] = ["", " K", " M", " B", " T"];
const FLOPS: [&str; 7] = [" FLOP", " KFLOP", " MFLOP", " GFLOP", " TFLOP", " PFLOP", " EFLOP"];

/// `value` with `digits` significant digits and no exponent: `1.70`, `12.3`, `123`.
pub fn significant(value: f64, digits: usize) -> String {
    with_sign(value, |size| {
        let decimals = digits as i32 - 1 - exponent(size, digits);
        format!("{size:.*}", decimals.clamp(0, 300) as usize)
    })
}

/// `value` with `digits` decimals: `2.345`.
pub fn fixed(value: f64, digits: usize) -> String {
    with_sign(value, |size| format!("{size:.digits$}"))
}

/// Three significant digits at most, with an exponent where the number is very small or large: `0.95`, `1.23e-5`, `2e-5`.
pub fn scientific(value: f64) -> String {
    with_sign(value, |size| {
        if size == 0.0 || (1e-2..1e5).contains(&size) {
            return trimmed(&significant(size, 3)).to_owned();
        }
        let text = format!("{size:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{power}", trimmed(digits))
    })
}

/// `value` as it was written, without trailing zeros: `10000`, `0.95`, `1`.
pub fn plain(value: f64) -> String {
    let long = value != 0.0 && !(1e-3..1e9).contains(&value.abs());
    if long { scientific(value) } else { with_sign(value, |size| trimmed(&format!("{size:.4}")).to_owned()) }
}

/// Decimal thousands: `6.74 B`, `33.6 M`, `12.3 K`, `17`.
pub fn count(value: f64) -> String {
    let whole = value.fract() == 0.0 && value.abs() < 1000.0;
    if whole { format!("{value}") } else { with_sign(value, |size| scaled(size, &COUNTS)) }
}

/// Floating-point operations: `1.70 PFLOP`.
pub fn flops(value: f64) -> String {
    with_sign(value, |size| if size == 0.0 { "0".to_owned() } else { scaled(size, &FLOPS) })
}

/// Tokens per second: `12.3 K tok/s`.
pub fn rate(tokens_per_second: f64) -> String {
    format!("{} tok/s", with_sign(tokens_per_second, |size| scaled(size, &COUNTS)))
}

/// Lengths in a row: `4K, 32K, 128K`.
pub fn token_list(lengths: &[usize]) -> String {
    lengths.iter().map(|length| tokens(*length)).collect::<Vec<_>>().join(", ")
}

/// A share of 1: `83%`, `2.4%`; `>99%` where rounding would hide that something is missing.
pub fn percent(share: f64) -> String {
    with_sign(share * 100.0, |size| match size {
        0.0 => "0%".to_owned(),
        size if size < 0.01 => "<0.01%".to_owned(),
        size if size < 9.95 => format!("{}%", trimmed(&significant(size, 2))),
        size if (99.5..100.0).contains(&size) && share < 1.0 - 1e-9 => ">99%".to_owned(),
        size if size >= 1e5 => format!("{}%", scientific(size)),
        size => format!("{size:.0}%"),
    })
}

/// A share of 1 with one decimal, for columns of them: `83.1%`, `0.4%`.
pub fn percent_tenths(share: f64) -> String {
    with_sign(share * 100.0, |size| if size > 0.0 && size < 0.05 { "<0.1%".to_owned() } else { format!("{size:.1}%") })
}

/// A time in seconds: `7.5 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3.1 days`.
pub fn duration(seconds: f64) -> String {
    with_sign(seconds, |seconds| {
        let whole = seconds.round();
        match seconds {
            0.0 => "0 s".to_owned(),
            s if s < 0.9995 => format!("{} ms", significant(s * 1e3, 2)),
            s if s < 9.95 => format!("{s:.1} s"),
            _ if whole < 60.0 => format!("{whole:.0} s"),
            _ if whole < 3600.0 => pair((whole / 60.0).floor(), "min", whole % 60.0, "s"),
            s if s < 48.0 * 3600.0 - 30.0 => {
                let minutes = (s / 60.0).round();
                pair((minutes / 60.0).floor(), "h", minutes % 60.0, "min")
            }
            s if s < 1000.0 * 86_400.0 => format!("{} days", significant(s / 86_400.0, 2)),
            s => format!("{} years", scientific(s / 86_400.0 / 365.25)),
        }
    })
}

fn pair(large: f64, large_unit: &str, small: f64, small_unit: &str) -> String {
    if small == 0.0 {
        format!("{large:.0} {large_unit}")
    } else {
        format!("{large:.0} {large_unit} {small:.0} {small_unit}")
    }
}

/// `text` of the size of `value`, with its sign; words for what has no digits.
fn with_sign(value: f64, text: impl Fn(f64) -> String) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    match value {
        value if value.is_nan() => "–".to_owned(),
        value if value.is_infinite() => format!("{sign}∞"),
        value => format!("{sign}{}", text(value.abs())),
    }
}

/// The power of ten of `size` once it is rounded to `digits` digits.
fn exponent(size: f64, digits: usize) -> i32 {
    let text = format!("{size:.*e}", digits.saturating_sub(1));
    text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0)
}

/// Three significant digits and the unit of its thousands; beyond the largest unit, an exponent.
fn scaled(size: f64, units: &[&str]) -> String {
    let thousands = exponent(size, 3).div_euclid(3).max(0) as usize;
    let last = units.len() - 1;
    if thousands > last {
        return format!("{}{}", scientific(size / 1000f64.powi(last as i32)), units[last]);
    }
    format!("{}{}", significant(size / 1000f64.powi(thousands as i32), 3), units[thousands])
}

/// Without the zeros behind the point.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_binary_and_exact() {
        assert_eq!(
            [0, 1000, 4096, 131_072, 1 << 20, 1536 << 10].map(tokens),
            ["0", "1000", "4K", "128K", "1M", "1536K"]
        );
    }

    #[test]
    fn rounding_moves_to_the_next_unit() {
        assert_eq!(count(6.738e9), "6.74 B");
        assert_eq!(count(999_999.0), "1.00 M");
        assert_eq!(count(17.0), "17");
        assert_eq!(rate(12_345.0), "12.3 K tok/s");
        assert_eq!(flops(1.699e15), "1.70 PFLOP");
        assert_eq!(flops(1e40), "1e22 EFLOP");
        assert_eq!(significant(9.996, 3), "10.0");
    }

    #[test]
    fn small_numbers_keep_their_exponent() {
        assert_eq!(
            [2e-5, 1.234e-5, 1e-3, 0.95, 0.0, 1e6].map(scientific),
            ["2e-5", "1.23e-5", "1e-3", "0.95", "0", "1e6"]
        );
        assert_eq!([10_000.0, 0.95, 1.0, 1.346_574].map(plain), ["10000", "0.95", "1", "1.3466"]);
    }

    #[test]
    fn shares_never_round_up_to_all() {
        assert_eq!([0.0, 1e-6, 0.0244, 1.0].map(percent_tenths), ["0.0%", "<0.1%", "2.4%", "100.0%"]);
        assert_eq!(
            [0.0, 1e-6, 0.0244, 0.0996, 0.83, 0.999, 1.0].map(percent),
            ["0%", "<0.01%", "2.4%", "10%", "83%", ">99%", "100%"]
        );
    }

    #[test]
    fn times() {
        let all = [0.0, 0.0432, 9.97, 59.6, 250.0, 7500.0, 47.9 * 3600.0, 3.1 * 86_400.0, f64::INFINITY].map(duration);
        assert_eq!(all, ["0 s", "43 ms", "10 s", "1 min", "4 min 10 s", "2 h 5 min", "47 h 54 min", "3.1 days", "∞"]);
    }

    #[test]
    fn what_is_no_number_says_so() {
        assert_eq!([fixed(f64::NAN, 3), count(f64::NAN), percent(f64::NAN), fixed(-1.5, 1)], ["–", "–", "–", "−1.5"]);
    }
}
