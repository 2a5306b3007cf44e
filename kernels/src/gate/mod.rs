//! Gated heads (DuoAttention, arXiv 2410.10819 §3.2): `out = α · full + (1 − α) · stream`, one α for each key/value head, which
//! the query heads of its group share.
//!
//! `gates` `[G]`; `full`, `stream`, `out` and their gradients `[queries, H, D]`.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::attention::Shape;
use crate::expect_len;

/// Mixes two attentions of the same queries.
pub fn forward(shape: &Shape, gates: &[f32], full: &[f32], stream: &[f32], out: &mut [f32]) {
    check(shape, gates, [("full", full.len()), ("stream", stream.len()), ("out", out.len())]);
    cpu::forward(shape, gates, full, stream, out);
}

/// Gradients of [`forward`]: `dout` becomes that of `full`, `dstream` is overwritten, and to `dgates` `[G]` each head's
/// `Σ dout · (full − stream)` is added.
pub fn backward(
    shape: &Shape,
    gates: &[f32],
    full: &[f32],
    stream: &[f32],
    dout: &mut [f32],
    dstream: &mut [f32],
    dgates: &mut [f32],
) {
    let lens = [("full", full.len()), ("stream", stream.len()), ("dout", dout.len()), ("dstream", dstream.len())];
    check(shape, gates, lens);
    expect_len("dgates", dgates.len(), shape.kv_heads);
    cpu::backward(shape, gates, full, stream, dout, dstream, dgates);
}

fn check<const N: usize>(shape: &Shape, gates: &[f32], buffers: [(&str, usize); N]) {
    expect_len("gates", gates.len(), shape.kv_heads);
    for (name, len) in buffers {
        expect_len(name, len, shape.queries * shape.heads * shape.head_dim);
    }
}

#[cfg(test)]
mod tests {
    use super::{backward, forward, reference};
    use crate::attention::Shape;
    use crate::conformance::{Random, cast, close, close_sum, same_bits_on_any_threads};

    /// Groups of one, two and three heads, on both sides of a task's border.
    const SHAPES: [Shape; 3] = [shape(1, 1, 1, 4), shape(67, 4, 2, 16), shape(300, 6, 2, 33)];

    const fn shape(queries: usize, heads: usize, kv_heads: usize, head_dim: usize) -> Shape {
        Shape { queries, keys: queries, heads, kv_heads, head_dim }
    }

    struct Case {
        gates: Vec<f32>,
        full: Vec<f32>,
        stream: Vec<f32>,
        dout: Vec<f32>,
    }

    fn case(shape: &Shape) -> Case {
        let (mut random, len) = (Random::new(shape.queries as u64), shape.queries * shape.heads * shape.head_dim);
        let gates = (0..shape.kv_heads).map(|gate| (gate + 1) as f32 / (shape.kv_heads as f32 + 0.5)).collect();
        Case { gates, full: random.normal(len), stream: random.normal(len), dout: random.normal(len) }
    }

    fn gradients(shape: &Shape, case: &Case) -> [Vec<f32>; 3] {
        let (mut dfull, mut dstream) = (case.dout.clone(), vec![f32::NAN; case.dout.len()]);
        let mut dgates = vec![0.0; shape.kv_heads];
        backward(shape, &case.gates, &case.full, &case.stream, &mut dfull, &mut dstream, &mut dgates);
        [dfull, dstream, dgates]
    }

    #[test]
    fn both_directions_follow_the_formula() {
        for shape in SHAPES {
            let case = case(&shape);
            let (gates, full, stream) = (cast::<f64>(&case.gates), cast::<f64>(&case.full), cast::<f64>(&case.stream));
            let mut out = vec![f32::NAN; case.full.len()];
            forward(&shape, &case.gates, &case.full, &case.stream, &mut out);
            let plain = reference::forward(&shape, &case.gates, &case.full, &case.stream);
            close("gated out", &out, &plain, &reference::forward(&shape, &gates, &full, &stream), 2.0);
            let plain = reference::backward(&shape, &case.gates, &case.full, &case.stream, &case.dout);
            let exact = reference::backward(&shape, &gates, &full, &stream, &cast::<f64>(&case.dout));
            for (name, ((fast, plain), exact)) in
                ["dfull", "dstream", "dgates"].iter().zip(gradients(&shape, &case).iter().zip(&plain).zip(&exact))
            {
                close_sum(name, fast, plain, exact, 3.0, 1.0);
            }
        }
    }

    #[test]
    fn gradients_of_gates_are_added() {
        let shape = SHAPES[1];
        let case = case(&shape);
        let [_, _, once] = gradients(&shape, &case);
        let (mut dfull, mut dstream) = (case.dout.clone(), case.dout.clone());
        let mut twice = once.clone();
        backward(&shape, &case.gates, &case.full, &case.stream, &mut dfull, &mut dstream, &mut twice);
        assert!(twice.iter().zip(&once).all(|(twice, once)| (twice - 2.0 * once).abs() <= 1e-5 * once.abs()));
    }

    #[test]
    fn an_open_gate_is_full_and_a_closed_one_streams() {
        let shape = SHAPES[1];
        let case = case(&shape);
        for (gate, expected) in [(1.0, &case.full), (0.0, &case.stream)] {
            let mut out = vec![f32::NAN; case.full.len()];
            forward(&shape, &[gate; 2], &case.full, &case.stream, &mut out);
            assert_eq!(&out, expected);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let shape = SHAPES[2];
        let case = case(&shape);
        same_bits_on_any_threads("gates", || gradients(&shape, &case).concat());
    }
}
