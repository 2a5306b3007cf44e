//! Attention forward and backward: milliseconds, GFLOP/s of the visible part, share of the gemm ceiling.
//!
//! `cargo bench -p context-recipe-kernels --bench attention [-- TOKENS… NAMES…]`: the cases whose name contains one of
//! the names.

mod harness;

use harness::{fastest, gemm_ceiling, numbers};
use kernels::attention::{Mask, Pattern, Patterns, Shape, backward, forward};
use std::hint::black_box;

struct Case {
    name: &'static str,
    shape: Shape,
    patterns: Patterns<'static>,
    /// Tokens of a document.
    document: usize,
}

fn main() {
    let ceiling = gemm_ceiling();
    println!("{} threads, gemm ceiling {ceiling:.1} GFLOP/s", rayon::current_num_threads());
    println!(
        "{:34} {:>9} {:>9} {:>6} {:>9} {:>9} {:>6}",
        "case", "fwd ms", "GFLOP/s", "share", "bwd ms", "GFLOP/s", "share"
    );
    let (lengths, names): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|arg| arg != "--bench").partition(|arg| arg.parse::<usize>().is_ok());
    let lengths: Vec<usize> = lengths.iter().flat_map(|length| length.parse()).collect();
    let wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| case.name.contains(&name[..]));
    for tokens in if lengths.is_empty() { vec![256, 2048, 8192] } else { lengths } {
        cases(tokens).iter().filter(wanted).for_each(|case| run(case, ceiling));
    }
}

/// Nine heads, the last five shifted.
const HALF_SHIFTED: [Pattern; 9] = {
    let (plain, shifted) = (Pattern::Group { size: 2048, shift: 0 }, Pattern::Group { size: 2048, shift: 1024 });
    [plain, plain, plain, plain, shifted, shifted, shifted, shifted, shifted]
};

/// The heads of the first of three key/value heads see everything.
const DUO: [Pattern; 9] = {
    let (full, near) = (Pattern::Full, Pattern::Window { window: 256, sink: 64 });
    [full, full, full, near, near, near, near, near, near]
};

fn cases(tokens: usize) -> Vec<Case> {
    let shape = |heads, kv_heads, head_dim| Shape { queries: tokens, keys: tokens, heads, kv_heads, head_dim };
    let window = |window| Pattern::Window { window, sink: 4 };
    let strided = |stride, local| Pattern::Strided { block: 64, stride, local };
    let case = |name, shape, pattern: Pattern| Case { name, shape, patterns: pattern.into(), document: usize::MAX };
    vec![
        case("full 4×32", shape(4, 4, 32), Pattern::Full),
        case("window 256 4×32", shape(4, 4, 32), window(256)),
        case("full 9/3×64", shape(9, 3, 64), Pattern::Full),
        case("window 1024 9/3×64", shape(9, 3, 64), window(1024)),
        case("stride 4, 4 near 9/3×64", shape(9, 3, 64), strided(4, 4)),
        case("stride 16, 16 near 9/3×64", shape(9, 3, 64), strided(16, 16)),
        case("stride 64, 2 near 9/3×64", shape(9, 3, 64), strided(64, 2)),
        case("group 2048 9/3×64", shape(9, 3, 64), Pattern::Group { size: 2048, shift: 0 }),
        Case {
            patterns: Patterns::PerHead(&HALF_SHIFTED),
            ..case("half shifted 9/3×64", shape(9, 3, 64), Pattern::Full)
        },
        Case { patterns: Patterns::PerHead(&DUO), ..case("duo 9/3×64", shape(9, 3, 64), Pattern::Full) },
        case("full 4×128", shape(4, 4, 128), Pattern::Full),
        case("full 4×16", shape(4, 4, 16), Pattern::Full),
        Case { document: 256, ..case("documents of 256 4×32", shape(4, 4, 32), Pattern::Full) },
    ]
}

fn run(case: &Case, ceiling: f64) {
    let Case { name, shape, patterns, document } = case;
    let starts: Vec<usize> = (0..shape.queries).map(|row| row / document * document).collect();
    let mask = Mask { patterns: *patterns, query_row: 0, key_row: 0, starts: &starts };
    let (queries, keys) = (shape.queries * shape.heads * shape.head_dim, shape.keys * shape.kv_heads * shape.head_dim);
    let (q, k, v, dout) = (numbers(1, queries), numbers(2, keys), numbers(3, keys), numbers(4, queries));
    let (mut out, mut lse) = (vec![0.0; queries], vec![0.0; shape.queries * shape.heads]);
    let (mut dq, mut dk, mut dv) = (vec![0.0; queries], vec![0.0; keys], vec![0.0; keys]);
    let scale = (shape.head_dim as f32).powf(-0.5);
    forward(shape, &mask, scale, &q, &k, &v, &mut out, &mut lse);
    check(shape, &mask, scale, [&q, &k, &v], &out);
    let ahead = fastest(|| forward(shape, &mask, scale, &q, &k, &v, black_box(&mut out), &mut lse));
    let back = fastest(|| {
        backward(shape, &mask, scale, &q, &k, &v, &out, &lse, &dout, black_box(&mut dq), &mut dk, &mut dv);
    });
    let rows = (0..shape.heads).flat_map(|head| (0..shape.queries).map(move |i| (head, i)));
    let visible: usize = rows.flat_map(|(head, i)| mask.ranges(head, i, shape.keys)).map(|r| r.len()).sum();
    // Two products forward, five backward.
    let flops = |products: usize| (products * 2 * visible * shape.head_dim) as f64 / 1e9;
    let (f, b) = (flops(2) / ahead, flops(5) / back);
    let label = format!("T={} {name}", shape.queries);
    let (ahead, back) = (ahead * 1e3, back * 1e3);
    println!(
        "{label:34} {ahead:9.2} {f:9.1} {:5.0}% {back:9.2} {b:9.1} {:5.0}%",
        f / ceiling * 100.0,
        b / ceiling * 100.0
    );
}

/// Some rows against the formula, before anything is clocked.
fn check(shape: &Shape, mask: &Mask, scale: f32, [q, k, v]: [&[f32]; 3], out: &[f32]) {
    let dim = shape.head_dim;
    for (row, head) in [(0, 0), (shape.queries / 2, shape.heads - 1), (shape.queries - 1, 0)] {
        let at = (row * shape.heads + head) * dim;
        let kv = |key: usize| (key * shape.kv_heads + head / (shape.heads / shape.kv_heads)) * dim;
        let (mut sum, mut expected) = (0.0, vec![0.0f64; dim]);
        for key in mask.ranges(head, row, shape.keys).flatten() {
            let score: f64 = (0..dim).map(|d| f64::from(q[at + d]) * f64::from(k[kv(key) + d])).sum();
            let p = (score * f64::from(scale)).exp();
            sum += p;
            (0..dim).for_each(|d| expected[d] += p * f64::from(v[kv(key) + d]));
        }
        for d in 0..dim {
            let (got, expected) = (f64::from(out[at + d]), expected[d] / sum);
            assert!((got - expected).abs() < 1e-5, "row {row}, head {head}, {d}: {got}, not {expected}");
        }
    }
}
