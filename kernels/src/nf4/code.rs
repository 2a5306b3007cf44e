//! The two tables of values: NF4 for weights, the signed 8-bit dynamic map for scales.

use std::sync::OnceLock;

/// The 16 NF4 values, quantiles of a normal distribution (QLoRA, appendix E).
#[allow(clippy::excessive_precision, reason = "the published digits")]
pub(crate) const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The 256 values of the dynamic map (Dettmers 2015): seven decades, the larger the finer, both signs, 0 and 1.
pub(crate) fn dynamic() -> &'static [f32; 256] {
    static MAP: OnceLock<[f32; 256]> = OnceLock::new();
    MAP.get_or_init(|| map(1, |mean| vec![mean, -mean]))
}

/// The same without negative values, twice as fine.
pub(crate) fn dynamic_unsigned() -> [f32; 256] {
    map(2, |mean| vec![mean])
}

/// 0, 1, and `finest · 2^decade` means of equal parts of each decade.
fn map(finest: usize, signs: fn(f32) -> Vec<f32>) -> [f32; 256] {
    let mut values = vec![0.0, 1.0];
    for decade in 0..7 {
        let (steps, power) = (finest << decade, 10f64.powi(decade - 6) as f32);
        for i in 0..steps {
            values.extend(signs((border(i, steps) + border(i + 1, steps)) / 2.0 * power));
        }
    }
    values.sort_by(f32::total_cmp);
    let mut map = [0.0; 256];
    map.copy_from_slice(&values);
    map
}

/// Finds the nearest value of a map without a search, which would cost more than everything else in a quantisation.
#[derive(Debug)]
pub(crate) struct Nearest {
    /// By the upper half of a number: how many borders lie below all numbers that share it. One more at most lies among them,
    /// since borders are farther apart.
    below: Box<[u8; 1 << 16]>,
    /// The largest number that is nearer to a value than to the next one, or as near; behind the last value none is larger.
    borders: [f32; 256],
}

impl Nearest {
    /// Of an ascending map.
    pub(crate) fn new(map: &[f32; 256]) -> Self {
        let mut borders = [f32::INFINITY; 256];
        borders.iter_mut().zip(map.windows(2)).for_each(|(border, pair)| *border = middle(pair[0], pair[1]));
        let mut below = Box::new([0; 1 << 16]);
        for (key, below) in below.iter_mut().enumerate() {
            *below = borders[..255].partition_point(|&border| (ordered(border) >> 16) < key as u32) as u8;
        }
        Self { below, borders }
    }

    /// The index of the value nearest to `x`, the lower of equals.
    #[inline(always)]
    pub(crate) fn code(&self, x: f32) -> u8 {
        let first = self.below[(ordered(x) >> 16) as usize];
        first + u8::from(x > self.borders[usize::from(first)])
    }
}

/// The largest number not above (a + b) ÷ 2.
fn middle(a: f32, b: f32) -> f32 {
    let exact = (f64::from(a) + f64::from(b)) / 2.0;
    let rounded = exact as f32;
    if f64::from(rounded) > exact { rounded.next_down() } else { rounded }
}

/// [`Nearest`] of [`dynamic`].
pub(crate) fn nearest_dynamic() -> &'static Nearest {
    static NEAREST: OnceLock<Nearest> = OnceLock::new();
    NEAREST.get_or_init(|| Nearest::new(dynamic()))
}

/// Bits in the order of the numbers.
fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_sign_negative() { !bits } else { bits | 1 << 31 }
}

/// Border `i` of `steps` equal parts of `[0.1, 1]`, rounded as `torch.linspace` rounds: fused, from the nearer end.
fn border(i: usize, steps: usize) -> f32 {
    let step = (1.0 - 0.1f32) / steps as f32;
    if i < steps.div_ceil(2) { step.mul_add(i as f32, 0.1) } else { (-step).mul_add((steps - i) as f32, 1.0) }
}
