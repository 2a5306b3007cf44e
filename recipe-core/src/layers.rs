//! The layer map: which layers keep full attention.

use crate::pattern::Pattern;
use crate::recipe::{FullLayers, Place};

/// How many of `layers` stay full: a share rounds to the nearest count, and to 1 at least.
pub(crate) fn full_count(full: FullLayers, layers: usize) -> usize {
    match full {
        FullLayers::Count(count) => count,
        FullLayers::Share(share) => ((share * layers as f64).round() as usize).max(1),
    }
}

/// One pattern per layer, bottom to top: `full` full layers at `place`, `sparse` elsewhere.
pub(crate) fn layer_map(layers: usize, full: usize, place: Place, sparse: Pattern) -> Vec<Pattern> {
    let full = full.min(layers);
    let mut map = vec![sparse; layers];
    for index in 0..full {
        map[full_layer(index, layers, full, place)] = Pattern::Full;
    }
    map
}

/// The layer that the `index`-th of `full` full layers stands at. LongGen (arXiv 2410.01485) keeps the middle ones.
fn full_layer(index: usize, layers: usize, full: usize, place: Place) -> usize {
    match place {
        Place::Bottom => index,
        Place::Middle => (layers - full) / 2 + index,
        Place::Top => layers - full + index,
        // The centres of `full` equal slices.
        Place::Interleaved => (2 * index + 1) * layers / (2 * full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARSE: Pattern = Pattern::Window { window: 64, sink: 4 };

    fn map(layers: usize, full: usize, place: Place) -> String {
        let letter = |p: &Pattern| if *p == Pattern::Full { 'F' } else { '-' };
        layer_map(layers, full, place, SPARSE).iter().map(letter).collect()
    }

    #[test]
    fn shares_round_to_the_nearest_layer() {
        assert_eq!(full_count(FullLayers::Share(1.0 / 3.0), 32), 11);
        assert_eq!(full_count(FullLayers::Share(0.5), 5), 3);
        assert_eq!(full_count(FullLayers::Share(0.01), 6), 1);
        assert_eq!(full_count(FullLayers::Count(12), 32), 12);
    }

    #[test]
    fn places() {
        assert_eq!(map(6, 2, Place::Middle), "--FF--");
        assert_eq!(map(7, 2, Place::Middle), "--FF---");
        assert_eq!(map(6, 2, Place::Top), "----FF");
        assert_eq!(map(6, 2, Place::Bottom), "FF----");
        assert_eq!(map(6, 2, Place::Interleaved), "-F--F-");
        assert_eq!(map(8, 3, Place::Interleaved), "-F--F-F-");
        assert_eq!(map(3, 3, Place::Interleaved), "FFF");
        assert_eq!(map(2, 5, Place::Middle), "FF");
    }

    #[test]
    fn longgen_keeps_ten_on_each_side() {
        let longgen = map(32, 12, Place::Middle);
        assert_eq!(longgen, format!("{0}{1}{0}", "-".repeat(10), "F".repeat(12)));
    }

    #[test]
    fn interleaving_never_puts_two_in_one_place() {
        for layers in 1..80 {
            for full in 1..=layers {
                assert_eq!(map(layers, full, Place::Interleaved).matches('F').count(), full);
            }
        }
    }
}
