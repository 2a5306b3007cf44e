//! Elementwise and row-wise kernels.

use super::{Random, close, close_sum, emulate, normal, rounded};
use crate::conformance::cast;
use crate::linear::Write;
use crate::{adamw, bias, cross_entropy, dropout, embedding, gate, nf4, rms_norm, rope, swiglu};

#[test]
fn rms_norm() {
    const EPS: f32 = 1e-5;
    // Of the last, blocks of the backward pass take 17 rows.
    for (rows, hidden) in [(1, 8), (3, 128), (33, 264), (40, 2304), (33_000, 8)] {
        let mut random = Random::new(rows as u64);
        let (x, weight, dy) =
            (normal(&mut random, rows * hidden), normal(&mut random, hidden), normal(&mut random, rows * hidden));
        let (before_x, before_w) = (normal(&mut random, rows * hidden), random.normal(hidden));
        let eps = f64::from(EPS);
        let (x64, weight64) = (cast::<f64>(&x), cast::<f64>(&weight));
        let y_plain = rounded(&rms_norm::reference::forward(&x, &weight, eps));
        let y_exact = rms_norm::reference::forward(&x64, &weight64, eps);
        let (dx_plain, dweight_plain) = rms_norm::reference::backward(&x, &weight, eps, &dy);
        let (dx_exact, dweight_exact) = rms_norm::reference::backward(&x64, &weight64, eps, &cast::<f64>(&dy));
        emulate(|gpu| {
            let op = rms_norm::cuda::RmsNorm { hidden };
            let (gx, gw, gdy) = (gpu.bf16(&x), gpu.bf16(&weight), gpu.bf16(&dy));
            let (y, dx, dweight) = (gpu.room(2 * x.len()), gpu.bf16(&before_x), gpu.f32(&before_w));
            let partial = gpu.room(op.partial_bytes(rows) as usize);
            op.forward(gpu.queue(), rows, [gx.all(), gw.all()], EPS, y.all()).expect("forward");
            close("y", &gpu.read_bf16(&y), &y_plain, &y_exact, 2.0);
            let inputs = [gx.all(), gw.all(), gdy.all()];
            let to = rms_norm::cuda::Dweight { dweight: dweight.all(), partial: partial.all() };
            op.backward(gpu.queue(), rows, inputs, EPS, dx.all(), Some(to)).expect("backward");
            let plain = rounded(&sum(&before_x, &dx_plain));
            close("dx", &gpu.read_bf16(&dx), &plain, &sum_exact(&before_x, &dx_exact), 3.0);
            let plain = sum(&before_w, &dweight_plain);
            close("dweight", &gpu.read_f32(&dweight), &plain, &sum_exact(&before_w, &dweight_exact), 3.0);
            let frozen = gpu.bf16(&before_x);
            op.backward(gpu.queue(), rows, inputs, EPS, frozen.all(), None).expect("backward");
            assert_eq!(gpu.read_bf16(&frozen), gpu.read_bf16(&dx), "dx with a frozen weight");
        });
    }
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn sum_exact(a: &[f32], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) + b).collect()
}

/// Both directions at positions into the millions.
#[test]
fn rope() {
    for (tokens, heads, head_dim) in [(1, 1, 16), (70, 3, 32), (33, 2, 128), (5, 9, 64)] {
        let half = head_dim / 2;
        let inv_freq: Vec<f64> = (0..half).map(|i| 10000f64.powf(-(i as f64) / half as f64)).collect();
        let positions: Vec<u32> = (0..tokens).map(|t| (t * t * 2477) as u32).collect();
        let x = normal(&mut Random::new(3), tokens * heads * head_dim);
        let tables = rope::Tables::new(&inv_freq, 1.25, &positions);
        let (cos, sin) = tables.halves();
        for (direction, sign) in [(rope::Direction::Forward, 1.0), (rope::Direction::Backward, -1.0)] {
            let (mut plain, mut exact) = (x.clone(), cast::<f64>(&x));
            rope::reference::apply(&inv_freq, 1.25, &positions, heads, &mut plain, sign);
            rope::reference::apply(&inv_freq, 1.25, &positions, heads, &mut exact, sign);
            emulate(|gpu| {
                let (fast, cos, sin) = (gpu.bf16(&x), gpu.f32(cos), gpu.f32(sin));
                let op = rope::cuda::Rope { head_dim };
                let tables = [cos.all(), sin.all()];
                op.apply(gpu.queue(), [tokens, heads], tables, fast.all(), direction).expect("rope");
                close("rope", &gpu.read_bf16(&fast), &rounded(&plain), &exact, 2.0);
            });
        }
    }
}

/// Ordinary and extreme gates.
#[test]
fn swiglu() {
    for len in [8, 2048, 2056, 20_000] {
        let mut random = Random::new(len as u64);
        let [mut gate, up, dout] = [(); 3].map(|()| normal(&mut random, len));
        gate.iter_mut().step_by(7).for_each(|g| *g = rounded(&[*g * 60.0])[0]);
        let (gate64, up64, dout64): (Vec<f64>, Vec<f64>, Vec<f64>) = (cast(&gate), cast(&up), cast(&dout));
        let plain = rounded(&swiglu::reference::forward(&gate, &up));
        let exact = swiglu::reference::forward(&gate64, &up64);
        let (dgate_plain, dup_plain) = swiglu::reference::backward(&dout, &gate, &up);
        let (dgate_exact, dup_exact) = swiglu::reference::backward(&dout64, &gate64, &up64);
        emulate(|gpu| {
            let (gate, up, dout, out) = (gpu.bf16(&gate), gpu.bf16(&up), gpu.bf16(&dout), gpu.room(2 * len));
            let both = [gate.all(), up.all()];
            swiglu::cuda::forward(gpu.queue(), len, both, out.all()).expect("forward");
            close("out", &gpu.read_bf16(&out), &plain, &exact, 2.0);
            swiglu::cuda::backward(gpu.queue(), len, dout.all(), both).expect("backward");
            close("dgate", &gpu.read_bf16(&gate), &rounded(&dgate_plain), &dgate_exact, 3.0);
            close("dup", &gpu.read_bf16(&up), &rounded(&dup_plain), &dup_exact, 3.0);
        });
    }
}

/// Lookup is exact; repeated tokens add up in order.
#[test]
fn embedding_adds_up() {
    for (tokens, vocab, hidden) in [(1, 1, 8), (50, 7, 40), (100, 20, 2304)] {
        let mut random = Random::new(9);
        let ids: Vec<u32> = (0..tokens).map(|_| random.below(vocab) as u32).collect();
        let (table, dx) = (normal(&mut random, vocab * hidden), normal(&mut random, tokens * hidden));
        let mut expected = table.clone();
        embedding::reference::backward(&ids, hidden, &dx, &mut expected);
        let occurrences = embedding::cuda::Occurrences::new(&ids);
        emulate(|gpu| {
            let op = embedding::cuda::Embedding { hidden };
            let (gids, gtable, x) = (gpu.u32(&ids), gpu.bf16(&table), gpu.room(2 * dx.len()));
            op.forward(gpu.queue(), [tokens, vocab], [gids.all(), gtable.all()], x.all()).expect("forward");
            assert_eq!(gpu.read_bf16(&x), embedding::reference::forward(&ids, hidden, &table));
            let (dx, dtable) = (gpu.bf16(&dx), gpu.f32(&table));
            let lists = [&occurrences.tokens, &occurrences.first, &occurrences.rows].map(|list| gpu.u32(list));
            let regions = [lists[0].all(), lists[1].all(), lists[2].all()];
            op.backward(gpu.queue(), (regions, &occurrences), vocab, dx.all(), dtable.all()).expect("backward");
            assert_eq!(gpu.read_f32(&dtable), expected);
        });
    }
}

/// Several steps against the naive formula; the bf16 copy is the master, rounded.
#[test]
fn adamw() {
    for len in [1, 37, 3000] {
        let mut random = Random::new(len as u64);
        let param = random.normal(len);
        let grads: Vec<Vec<f32>> = (0..3).map(|_| random.normal(len)).collect();
        let hyper = |step| adamw::Hyper {
            lr: 1e-2,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            step,
            grad_scale: 0.25,
        };
        let (mut pp, mut pm, mut pv) = (param.clone(), vec![0f32; len], vec![0f32; len]);
        let (mut ep, mut em, mut ev): (Vec<f64>, Vec<f64>, Vec<f64>) = (cast(&pp), cast(&pm), cast(&pv));
        for (step, grad) in (1..).zip(&grads) {
            adamw::reference::step(&hyper(step), &mut pp, grad, &mut pm, &mut pv);
            adamw::reference::step(&hyper(step), &mut ep, &cast(grad), &mut em, &mut ev);
        }
        emulate(|gpu| {
            let (p, m, v) = (gpu.f32(&param), gpu.f32(&vec![0.0; len]), gpu.f32(&vec![0.0; len]));
            let copy = gpu.room(2 * len);
            let state = adamw::cuda::State { param: p.all(), copy: Some(copy.all()), m: m.all(), v: v.all() };
            for (step, grad) in (1..).zip(&grads) {
                adamw::cuda::step(gpu.queue(), &hyper(step), len, state, gpu.f32(grad).all()).expect("a step");
            }
            close("adamw param", &gpu.read_f32(&p), &pp, &ep, 2.0);
            close("adamw m", &gpu.read_f32(&m), &pm, &em, 2.0);
            close("adamw v", &gpu.read_f32(&v), &pv, &ev, 2.0);
            assert_eq!(gpu.read_bf16(&copy), rounded(&gpu.read_f32(&p)));
        });
    }
}

/// Sums of two buffers add up in one total, on both sides of a chunk's border.
#[test]
fn sum_of_squares() {
    for len in [1, 1 << 14, 40_000] {
        let values = Random::new(1).normal(len);
        let exact: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        emulate(|gpu| {
            let (x, total) = (gpu.f32(&values), gpu.f32(&[0.0, 0.0]));
            let partial = gpu.room(adamw::cuda::partial_bytes(len) as usize);
            for _ in 0..2 {
                adamw::cuda::sum_of_squares(gpu.queue(), len, x.all(), partial.all(), total.all()).expect("a sum");
            }
            let bits =
                gpu.read_f32(&total).iter().rev().fold(0u64, |bits, half| bits << 32 | u64::from(half.to_bits()));
            assert!((f64::from_bits(bits) - 2.0 * exact).abs() <= exact * 1e-12);
        });
    }
}

/// Moments of 8 bits: a step from any state, its parameters, and the state it leaves. Codes may be a neighbour's where a value lies
/// between two.
#[test]
fn adamw_8bit() {
    use adamw::eight_bit::{BLOCK, Moments, tables};
    for len in [1, 256, 700] {
        let mut random = Random::new(len as u64);
        let (param, grad) = (random.normal(len), random.normal(len));
        let hyper =
            adamw::Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 3, grad_scale: 0.25 };
        let mut before = Moments::zeros(len);
        before.m.iter_mut().chain(&mut before.v).for_each(|code| *code = random.below(256) as u8);
        before.scales.iter_mut().flatten().for_each(|scale| *scale = 0.1 + random.below(100) as f32 / 50.0);
        let (mut plain, mut exact) = (param.clone(), cast::<f64>(&param));
        adamw::reference::step_8bit(&hyper, &mut plain, &grad, &mut before.clone());
        let mut after = before.clone();
        adamw::reference::step_8bit(&hyper, &mut exact, &cast(&grad), &mut after);
        emulate(|gpu| {
            let (p, grad, copy, tables) = (gpu.f32(&param), gpu.f32(&grad), gpu.room(2 * len), gpu.f32(&tables()));
            let (m, v) = (gpu.bytes(&before.m), gpu.bytes(&before.v));
            let scales = [gpu.f32(&before.scales[0]), gpu.f32(&before.scales[1])];
            let moments = adamw::cuda::Moments {
                codes: [m.all(), v.all()],
                scales: [scales[0].all(), scales[1].all()],
                tables: tables.all(),
            };
            adamw::cuda::step_8bit(gpu.queue(), &hyper, len, (p.all(), Some(copy.all())), grad.all(), moments)
                .expect("a step");
            close("param", &gpu.read_f32(&p), &plain, &exact, 2.0);
            assert_eq!(gpu.read_bf16(&copy), rounded(&gpu.read_f32(&p)));
            for (which, (codes, expected)) in [(&m, &after.m), (&v, &after.v)].into_iter().enumerate() {
                let (got, scales) = (gpu.read(codes), gpu.read_f32(&scales[which]));
                let far = got.iter().zip(expected).filter(|(a, b)| a.abs_diff(**b) > 1).count();
                let other = got.iter().zip(expected).filter(|(a, b)| a != b).count();
                assert!(far == 0 && other * 100 <= len, "{other} other codes, {far} far ones, of {len}");
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b;
                assert!(scales.iter().zip(&after.scales[which]).all(near), "{scales:?}");
                assert_eq!(scales.len(), len.div_ceil(BLOCK));
            }
        });
    }
}

/// Loss, prediction and gradient of every row; an ignored row has none, whatever its logits. The gradient takes the logits' place.
#[test]
fn cross_entropy() {
    for (rows, vocab) in [(1, 8), (5, 264), (9, 1032)] {
        let mut random = Random::new(vocab as u64);
        let mut logits: Vec<f32> = random.normal(rows * vocab).iter().map(|l| l * 4.0).collect();
        let mut targets: Vec<i32> = (0..rows).map(|row| (row * 77 % vocab) as i32).collect();
        if rows > 4 {
            targets[1] = cross_entropy::IGNORED;
            logits[vocab] = 3e4;
            // The first of two equals is the prediction.
            (logits[2 * vocab + 260], logits[2 * vocab + 3]) = (40.0, 40.0);
        }
        // With the identity as the matrix, rows are logits and their gradients are the logits'.
        let identity: Vec<f32> = (0..vocab * vocab).map(|i| if i % (vocab + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let plain = cross_entropy::reference::run(vocab, vocab, &logits, &identity, &targets);
        let exact = cross_entropy::reference::run(vocab, vocab, &cast::<f64>(&logits), &cast(&identity), &targets);
        let scaled: Vec<f32> = plain.dx.iter().map(|d| d * 0.25).collect();
        let scaled_exact: Vec<f64> = exact.dx.iter().map(|d| d * 0.25).collect();
        emulate(|gpu| {
            let (chunk, wanted) = (gpu.f32(&logits), gpu.u32(&targets.iter().map(|&t| t as u32).collect::<Vec<_>>()));
            let (nll, predictions) = (gpu.room(4 * rows), gpu.room(4 * rows));
            let scores = cross_entropy::cuda::Scores { nll: nll.all(), predictions: predictions.all() };
            let op = cross_entropy::cuda::CrossEntropy { vocab };
            let untouched = gpu.read_f32(&chunk);
            op.rows(gpu.queue(), (rows, vocab), chunk.all(), wanted.all(), scores, None).expect("scores");
            assert_eq!(gpu.read_f32(&chunk), untouched, "without gradients the logits stay");
            // A difference of the sum's logarithm and a logit.
            close_sum("nll", &gpu.read_f32(&nll), &plain.nll, &exact.nll, 2.0, 4.0);
            op.rows(gpu.queue(), (rows, vocab), chunk.all(), wanted.all(), scores, Some(0.25)).expect("gradients");
            let words =
                gpu.read(&predictions).as_chunks::<4>().0.iter().map(|&w| u32::from_le_bytes(w)).collect::<Vec<_>>();
            assert_eq!(words, plain.predictions);
            let all = gpu.read_bf16(&chunk);
            let gradient: Vec<f32> = all.chunks(2 * vocab).flat_map(|row| row[..vocab].to_vec()).collect();
            close("dlogits", &gradient, &rounded(&scaled), &scaled_exact, 3.0);
        });
    }
}

/// Rows that hold nothing: what fills them up is larger than all logits, and no token.
#[test]
fn no_token_beyond_the_vocabulary() {
    let (vocab, tokens) = (16, 13);
    let row = |logit: f32| (0..vocab).map(move |column| if column < tokens { logit } else { -1.7e38 });
    let logits: Vec<f32> = row(f32::NEG_INFINITY).chain(row(f32::NAN)).chain(row(1.0)).collect();
    emulate(|gpu| {
        let (chunk, wanted) = (gpu.f32(&logits), gpu.u32(&[0; 3]));
        let (nll, predictions) = (gpu.room(12), gpu.room(12));
        let scores = cross_entropy::cuda::Scores { nll: nll.all(), predictions: predictions.all() };
        let op = cross_entropy::cuda::CrossEntropy { vocab };
        op.rows(gpu.queue(), (3, tokens), chunk.all(), wanted.all(), scores, None).expect("scores");
        assert_eq!(gpu.read(&predictions), [0; 12]);
        assert!((gpu.read_f32(&nll)[2] - 13f32.ln()).abs() < 1e-5);
    });
}

/// Every range gives the weights that the CPU unpacks, rounded.
#[test]
fn nf4() {
    let len = 64 * 256 + 1000;
    let quantized = nf4::quantize(&Random::new(4).normal(len));
    for range in [0..len, 8..16, 56..72, 64 * 255..64 * 257 + 8] {
        let mut exact = vec![0.0; range.len()];
        quantized.dequantize_into(range.clone(), &mut exact);
        emulate(|gpu| {
            let (tables, out) = (gpu.f32(&nf4::cuda::tables()), gpu.room(2 * range.len()));
            let (packed, absmax) = (gpu.bytes(&quantized.packed), gpu.bytes(&quantized.absmax));
            let absmax_scale = gpu.f32(&quantized.absmax_scale);
            let from = nf4::cuda::Quantized {
                tables: tables.all(),
                packed: packed.all(),
                absmax: absmax.all(),
                absmax_scale: absmax_scale.all(),
                offset: quantized.offset,
                len,
            };
            nf4::cuda::dequantize(gpu.queue(), from, range.clone(), out.all()).expect("weights");
            close("weights", &gpu.read_bf16(&out), &rounded(&exact), &cast::<f64>(&exact), 2.0);
        });
    }
}

/// Forward and backward, both added to what is there, on both sides of a partial sum's border.
#[test]
fn bias() {
    for (rows, width) in [(1, 8), (5, 1104), (1030, 24)] {
        let mut random = Random::new(rows as u64);
        let (b, y, dy) =
            (normal(&mut random, width), normal(&mut random, rows * width), normal(&mut random, rows * width));
        let before = random.normal(width);
        let plain = rounded(&bias::reference::forward(&b, &y));
        let exact = bias::reference::forward(&cast::<f64>(&b), &cast(&y));
        let plain_db = sum(&before, &bias::reference::backward(&dy, width));
        let exact_db = sum_exact(&before, &bias::reference::backward(&cast::<f64>(&dy), width));
        emulate(|gpu| {
            let op = bias::cuda::Bias { width };
            let (b, y, dy, db) = (gpu.bf16(&b), gpu.bf16(&y), gpu.bf16(&dy), gpu.f32(&before));
            op.forward(gpu.queue(), rows, b.all(), y.all()).expect("forward");
            close("y", &gpu.read_bf16(&y), &plain, &exact, 2.0);
            let partial = gpu.room(op.partial_bytes(rows) as usize);
            op.backward(gpu.queue(), rows, dy.all(), partial.all(), db.all()).expect("backward");
            close("dbias", &gpu.read_f32(&db), &plain_db, &exact_db, 3.0);
        });
    }
}

/// The mask is the CPU's, number for number.
#[test]
fn dropout() {
    let len = 4104;
    let mut random = Random::new(5);
    let (x, before) = (normal(&mut random, len), normal(&mut random, len));
    for rate in [0.0, 0.1, 0.9] {
        let mask = dropout::Mask { seed: 77, rate };
        let dropped: Vec<f32> = (0..).zip(&x).map(|(i, x)| x * mask.factor(i)).collect();
        emulate(|gpu| {
            let (gx, set, added) = (gpu.bf16(&x), gpu.room(2 * len), gpu.bf16(&before));
            dropout::cuda::apply(gpu.queue(), mask, len, gx.all(), set.all(), Write::Set).expect("a mask");
            dropout::cuda::apply(gpu.queue(), mask, len, gx.all(), added.all(), Write::Add).expect("a mask");
            assert_eq!(gpu.read_bf16(&set), rounded(&dropped));
            assert_eq!(gpu.read_bf16(&added), rounded(&sum(&before, &dropped)));
        });
    }
}

/// Both directions, groups of one and three heads, on both sides of a partial sum's border.
#[test]
fn gate() {
    use crate::attention::Shape;
    for (queries, heads, kv_heads, head_dim) in [(1, 1, 1, 8), (67, 4, 2, 16), (130, 6, 2, 40)] {
        let shape = Shape { queries, keys: queries, heads, kv_heads, head_dim };
        let (mut random, len) = (Random::new(queries as u64), queries * heads * head_dim);
        let gates: Vec<f32> = (0..kv_heads).map(|gate| (gate + 1) as f32 / (kv_heads as f32 + 0.5)).collect();
        let [full, stream, dout] = [(); 3].map(|()| normal(&mut random, len));
        let exact = [&gates, &full, &stream, &dout].map(|values| cast::<f64>(values));
        let plain_out = rounded(&gate::reference::forward(&shape, &gates, &full, &stream));
        let exact_out = gate::reference::forward(&shape, &exact[0], &exact[1], &exact[2]);
        let [dfull, dstream, dgates] = gate::reference::backward(&shape, &gates, &full, &stream, &dout);
        let [dfull64, dstream64, dgates64] =
            gate::reference::backward(&shape, &exact[0], &exact[1], &exact[2], &exact[3]);
        let before = vec![1.0; kv_heads];
        emulate(|gpu| {
            let op = gate::cuda::Gate { head_dim };
            let (gates, parts) = (gpu.f32(&gates), [gpu.bf16(&full), gpu.bf16(&stream)]);
            let (out, dout, to) = (gpu.room(2 * len), gpu.bf16(&dout), gpu.room(2 * len));
            let (added, partial) = (gpu.f32(&before), gpu.room(op.partial_bytes(&shape) as usize));
            let inputs = [parts[0].all(), parts[1].all()];
            op.forward(gpu.queue(), &shape, gates.all(), inputs, out.all()).expect("forward");
            close("out", &gpu.read_bf16(&out), &plain_out, &exact_out, 2.0);
            let gradients = gate::cuda::Gradients {
                dout: dout.all(),
                dstream: to.all(),
                dgates: added.all(),
                partial: partial.all(),
            };
            op.backward(gpu.queue(), &shape, gates.all(), inputs, gradients).expect("backward");
            close("dfull", &gpu.read_bf16(&dout), &rounded(&dfull), &dfull64, 3.0);
            close("dstream", &gpu.read_bf16(&to), &rounded(&dstream), &dstream64, 3.0);
            let (plain, exact) = (sum(&before, &dgates), sum_exact(&before, &dgates64));
            super::close_sum("dgates", &gpu.read_f32(&added), &plain, &exact, 3.0, 1.0);
        });
    }
}

/// A sum rounds once; columns arrive where they should, and nothing beside them changes.
#[test]
fn sums_and_columns() {
    use crate::cuda::copy;
    let mut random = Random::new(6);
    let (a, b) = (normal(&mut random, 2056), normal(&mut random, 2056));
    emulate(|gpu| {
        let (from, to) = (gpu.bf16(&a), gpu.bf16(&b));
        copy::add(gpu.queue(), 2056, from.all(), to.all()).expect("a sum");
        assert_eq!(gpu.read_bf16(&to), rounded(&sum(&a, &b)));
        let to = gpu.bf16(&b);
        // Columns 8 to 24 of rows of 40, to columns 16 to 32 of rows of 48.
        copy::columns(gpu.queue(), 42, 16, (from.from(2 * 8), 40), (to.from(2 * 16), 48)).expect("a copy");
        let mut expected = b.clone();
        for (row, column) in (0..42).flat_map(|row| (0..16).map(move |column| (row, column))) {
            expected[row * 48 + 16 + column] = a[row * 40 + 8 + column];
        }
        assert_eq!(gpu.read_bf16(&to), expected);
        // Columns 3 to 8 of rows of 41, to columns 1 to 6 of rows of 7.
        let to = gpu.bf16(&b);
        copy::columns(gpu.queue(), 42, 5, (from.from(2 * 3), 41), (to.from(2), 7)).expect("a copy");
        let mut expected = b.clone();
        for (row, column) in (0..42).flat_map(|row| (0..5).map(move |column| (row, column))) {
            expected[row * 7 + 1 + column] = a[row * 41 + 3 + column];
        }
        assert_eq!(gpu.read_bf16(&to), expected);
    });
}

/// Rows that do not count have neither loss nor gradient, whatever they hold.
#[test]
fn distance() {
    use crate::distance;
    for (rows, hidden) in [(1, 8), (5, 264), (37, 2304)] {
        let mut random = Random::new(rows as u64);
        let [mut x, y] = [(); 2].map(|()| normal(&mut random, rows * hidden));
        let targets: Vec<i32> = (0..rows).map(|row| if row % 3 == 1 { -100 } else { row as i32 }).collect();
        let (plain, plain_dx) = distance::reference::run(hidden, &x, &y, &targets, 0.25);
        let (exact, exact_dx) = distance::reference::run(hidden, &cast::<f64>(&x), &cast(&y), &targets, 0.25);
        if rows > 1 {
            x[hidden..2 * hidden].fill(f32::NAN);
        }
        emulate(|gpu| {
            let (gx, gy) = (gpu.bf16(&x), gpu.bf16(&y));
            let counted = gpu.u32(&targets.iter().map(|&target| target as u32).collect::<Vec<_>>());
            let (losses, dx) = (gpu.room(4 * rows), gpu.room(2 * rows * hidden));
            let op = distance::cuda::Distance { hidden };
            let inputs = [gx.all(), gy.all(), counted.all()];
            op.run(gpu.queue(), rows, inputs, 0.25, (losses.all(), dx.all())).expect("a distance");
            close("losses", &gpu.read_f32(&losses), &plain, &exact, 2.0);
            close("dx", &gpu.read_bf16(&dx), &rounded(&plain_dx), &exact_dx, 3.0);
        });
    }
}

/// The three products of a linear layer, to bf16 and to f32, over what is there and instead of it, between rows that lie further
/// apart.
#[test]
fn linear() {
    use crate::linear::cuda::{Number, Plain, Product, Products};
    use crate::linear::{Dims, Write, reference};
    for (rows, inputs, outputs) in [(1, 8, 97), (33, 40, 7), (5, 129, 64)] {
        let dims = Dims { rows, inputs, outputs };
        let mut random = Random::new(rows as u64);
        let [x, w, dy] = [rows * inputs, inputs * outputs, rows * outputs].map(|len| normal(&mut random, len));
        let [x64, w64, dy64] = [&x, &w, &dy].map(|values| cast::<f64>(values));
        let cases = [
            (reference::forward(dims, &x, &w), reference::forward(dims, &x64, &w64)),
            (reference::backward_input(dims, &dy, &w), reference::backward_input(dims, &dy64, &w64)),
            (reference::backward_weight(dims, &dy, &x), reference::backward_weight(dims, &dy64, &x64)),
        ];
        for (which, (plain, exact)) in cases.into_iter().enumerate() {
            let before = normal(&mut random, exact.len());
            for (number, write) in [(Number::Bf16, Write::Set), (Number::Bf16, Write::Add), (Number::F32, Write::Add)] {
                let old = |at: usize| if write == Write::Add { before[at] } else { 0.0 };
                let plain: Vec<f32> = plain.iter().enumerate().map(|(at, v)| 0.5 * v + old(at)).collect();
                let exact: Vec<f64> = exact.iter().enumerate().map(|(at, v)| 0.5 * v + f64::from(old(at))).collect();
                let plain = if number == Number::Bf16 { rounded(&plain) } else { plain };
                emulate(|gpu| {
                    let [x, w, dy] = [&x, &w, &dy].map(|values| gpu.bf16(values));
                    let c = if number == Number::Bf16 { gpu.bf16(&before) } else { gpu.f32(&before) };
                    let to = (c.all(), number);
                    let product = match which {
                        0 => Product::forward(dims, x.all(), w.all(), to, 0.5, write),
                        1 => Product::backward_input(dims, dy.all(), w.all(), to, 0.5, write),
                        _ => Product::backward_weight(dims, dy.all(), x.all(), to, 0.5, write),
                    };
                    Plain.multiply(gpu.queue(), &product).expect("a product");
                    let got = if number == Number::Bf16 { gpu.read_bf16(&c) } else { gpu.read_f32(&c) };
                    close("a product", &got, &plain, &exact, 2.0);
                });
            }
        }
    }
}

/// Rows of a result that lie apart leave what is between them alone.
#[test]
fn a_product_with_strides() {
    use crate::linear::Write;
    use crate::linear::cuda::{Factor, Number, Plain, Product, Products};
    let (a, b) = ([1.0, 2.0, 9.0, 3.0, 4.0, 9.0], [5.0, 6.0, 7.0, 8.0]);
    emulate(|gpu| {
        let (a, b, c) = (gpu.bf16(&a), gpu.bf16(&b), gpu.bf16(&[-1.0; 7]));
        let product = Product {
            rows: 2,
            columns: 2,
            inner: 2,
            a: Factor::plain(a.all(), 3),
            b: Factor::transposed(b.all(), 2),
            c: c.all(),
            c_stride: 4,
            number: Number::Bf16,
            scale: 1.0,
            write: Write::Set,
        };
        Plain.multiply(gpu.queue(), &product).expect("a product");
        assert_eq!(gpu.read_bf16(&c), [17.0, 23.0, -1.0, -1.0, 39.0, 53.0, -1.0]);
    });
}
