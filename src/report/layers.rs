//! What each layer and head sees, as a picture.

use recipe_core::{Pattern, Plan};

use super::number::tokens;
use super::plot::HeatGrid;

/// Layers from the top, key/value heads side by side where a layer tells them apart: the share of a full layer's query-key
/// pairs that they see at the target length.
pub(super) fn layer_map(plan: &Plan) -> HeatGrid {
    let apart = plan.layers.iter().any(|pattern| matches!(pattern, Pattern::Duo { .. }));
    let heads = if apart { plan.model.kv_heads } else { 1 };
    let full = Pattern::Full.visible_pairs(plan.target).max(1.0);
    let share = |pattern: &Pattern, head: usize| of_head(*pattern, head).visible_pairs(plan.target) / full;
    let rows = plan.layers.iter().rev();
    HeatGrid {
        title: "What each layer sees".to_owned(),
        x_label: if apart { "key/value head".to_owned() } else { String::new() },
        y_label: format!("layer; share of all query-key pairs at {} tokens", tokens(plan.target)),
        columns: if apart { (0..heads).map(|head| head.to_string()).collect() } else { vec!["all heads".to_owned()] },
        rows: (0..plan.layers.len()).rev().map(|layer| layer.to_string()).collect(),
        values: rows.map(|pattern| (0..heads).map(|head| share(pattern, head)).collect()).collect(),
    }
}

/// What one key/value head of a layer sees.
fn of_head(pattern: Pattern, head: usize) -> Pattern {
    match pattern {
        Pattern::Duo { window, sink, .. } if pattern.streams(head) => Pattern::Window { window, sink },
        Pattern::Duo { .. } => Pattern::Full,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::llama2_128k;

    #[test]
    fn full_layers_see_everything_and_heads_are_told_apart() {
        let mut plan = llama2_128k();
        let map = layer_map(&plan);
        assert_eq!((map.rows.len(), map.columns.len()), (32, 1));
        assert_eq!(map.rows[0], "31");
        assert_eq!(map.values.iter().filter(|row| row[0] == 1.0).count(), 11);
        let duo = Pattern::Duo { retrieval: 0b10, kv_heads: 2, window: 256, sink: 64 };
        (plan.model.kv_heads, plan.layers) = (2, vec![duo; 32].into());
        let map = layer_map(&plan);
        assert!(map.values.iter().all(|row| row[0] < 0.01 && row[1] == 1.0), "{:?}", map.values[0]);
    }
}
