//! Every op on the GPU beside the same op on the CPU, on the same numbers.

use context_recipe::report::{Align, Table};
use kernels::adamw::Hyper;
use kernels::attention::{Pattern, Patterns, Shape};
use kernels::cuda::emulation;
use kernels::cuda::source::Source;
use kernels::device::{
    Attention, Cpu, Device, Distance, Error, Format, GateGrads, Grads, Head, HeadGrads, Linear, Rows, Saved, Weight,
};
use kernels::dropout::Mask;
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;

/// Off by more than this share of the CPU's tensor, an op is wrong. Stored numbers are rounded to 2⁻⁹, sums of products of such are
/// off by as much; probabilities and their gradients are rounded once more.
const MOST: f64 = 0.015;

/// Of the cases: several tiles of everything, and multiples of no tile.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    tokens: usize,
    hidden: usize,
    vocab: usize,
}

impl Sizes {
    pub(crate) const GPU: Self = Self { tokens: 1000, hidden: 1024, vocab: 32_003 };
    /// What an emulation runs in seconds.
    pub(crate) const EMULATION: Self = Self { tokens: 300, hidden: 256, vocab: 1003 };
}

/// Numbers that are bf16 already, the same for both devices.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from_bits((((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0).to_bits() & 0xffff_0000)
    };
    (0..len).map(|_| next()).collect()
}

/// Results by name.
type Results = Vec<(String, Vec<f32>)>;

/// Runs all ops on each device and on the CPU: a column for each, and of every op its worst result.
pub(crate) fn run<D: Device>(gpus: &[(String, D)], sizes: Sizes) -> Result<(), String> {
    let words = |error: Error| error.to_string();
    let expected = all(&Cpu::new(), sizes).map_err(words)?;
    let found = gpus.iter().map(|(_, gpu)| all(gpu, sizes)).collect::<Result<Vec<_>, _>>().map_err(words)?;
    let mut rows: Vec<(&str, Vec<f64>)> = vec![];
    let mut wrong = vec![];
    for (at, (name, expected)) in expected.iter().enumerate() {
        let errors: Vec<f64> = found.iter().map(|results| error(&results[at].1, expected)).collect();
        if !errors.iter().all(|error| *error <= MOST) {
            wrong.push(name.as_str());
        }
        let op = name.rsplit_once(", ").map_or(name.as_str(), |(op, _)| op);
        match rows.last_mut().filter(|(last, _)| *last == op) {
            Some((_, worst)) => worst.iter_mut().zip(errors).for_each(|(worst, error)| *worst = larger(*worst, error)),
            None => rows.push((op, errors)),
        }
    }
    print!("{}", table(gpus.iter().map(|(name, _)| &**name), &rows));
    if wrong.is_empty() { Ok(()) } else { Err(format!("off by more than {MOST}: {}", wrong.join("; "))) }
}

/// The texts of all kernels that the cases start.
pub(crate) fn sources() -> Result<Vec<Source>, String> {
    let device = emulation::idle();
    all(&device, Sizes::GPU).map_err(|error| error.to_string())?;
    Ok(device.runtime().loaded())
}

fn table<'a>(gpus: impl Iterator<Item = &'a str>, rows: &[(&str, Vec<f64>)]) -> String {
    let mut table = Table::new([("op", Align::Left)].into_iter().chain(gpus.map(|name| (name, Align::Right))));
    for (op, errors) in rows {
        table.row([(*op).to_owned()].into_iter().chain(errors.iter().map(|error| format!("{error:.5}"))));
    }
    table.to_markdown()
}

/// What is no number is larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// How far off, as a share of what is expected; what is expected to be infinite has to be.
fn error(got: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { f64::from(*a) - f64::from(*b) };
    let size = norm(&mut expected.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value)));
    norm(&mut got.iter().zip(expected).map(apart)) / size.max(1e-30)
}

fn all<D: Device>(device: &D, sizes: Sizes) -> Result<Results, Error> {
    let mut found = vec![];
    products(device, sizes, &mut found)?;
    rows(device, sizes, &mut found)?;
    for head_dim in [64, 128] {
        for (name, patterns) in patterns(sizes.tokens) {
            attention(device, (sizes, head_dim), (name, &patterns), &mut found)?;
        }
        heads(device, sizes, head_dim, &mut found)?;
    }
    head(device, sizes, &mut found)?;
    optimiser(device, &mut found)?;
    device.check().map(|()| found)
}

fn products<D: Device>(device: &D, sizes: Sizes, found: &mut Results) -> Result<(), Error> {
    let dims = Dims { rows: sizes.tokens, inputs: sizes.hidden, outputs: 2048 };
    let [x, dy] =
        [device.upload(&numbers(1, sizes.tokens * sizes.hidden))?, device.upload(&numbers(2, sizes.tokens * 2048))?];
    let weights = numbers(3, sizes.hidden * 2048);
    let kinds = [
        ("dense", Weight::Dense(device.upload(&weights)?)),
        ("NF4", Weight::Quantized(device.quantize(&weights, Format::Nf4)?)),
    ];
    for (kind, w) in &kinds {
        let job = |write| Linear { dims, scale: 0.5, write };
        let [mut y, mut dx] =
            [device.upload(&numbers(4, sizes.tokens * 2048))?, device.zeros(sizes.tokens * sizes.hidden)?];
        device.linear(job(Write::Add), &x, w, &mut y);
        device.linear_backward_input(job(Write::Set), &dy, w, &mut dx);
        found.push((format!("linear {kind}"), device.download(&y, sizes.tokens * 2048)));
        found.push((format!("linear {kind}, dx"), device.download(&dx, sizes.tokens * sizes.hidden)));
    }
    let mut dw = device.zeros_f32(sizes.hidden * 2048)?;
    device.linear_backward_weight(Linear { dims, scale: 1.0, write: Write::Add }, &dy, &x, &mut dw);
    found.push(("gradient of a matrix".to_owned(), device.download(&dw, sizes.hidden * 2048)));
    Ok(())
}

/// Rows of a sequence of three documents.
fn batch<D: Device>(device: &D, sizes: Sizes, head_dim: usize) -> Result<D::Batch, Error> {
    let tokens: Vec<u32> = (0..sizes.tokens as u32).map(|row| row * 7919 % sizes.vocab as u32).collect();
    let positions: Vec<u32> = (0..sizes.tokens as u32).map(|row| row * 130).collect();
    let starts: Vec<usize> = (0..sizes.tokens)
        .map(|row| {
            [0, sizes.tokens * 3 / 10, sizes.tokens * 7 / 9].into_iter().rfind(|start| *start <= row).unwrap_or(0)
        })
        .collect();
    let targets: Vec<i32> =
        (0..sizes.tokens as i32).map(|row| if row % 5 == 0 { -100 } else { row * 31 % sizes.vocab as i32 }).collect();
    let inv_freq: Vec<f64> = (0..head_dim / 2).map(|pair| 1e4f64.powf(-2.0 * pair as f64 / head_dim as f64)).collect();
    let rows = Rows {
        tokens: &tokens,
        positions: &positions,
        starts: &starts,
        targets: &targets,
        inv_freq: &inv_freq,
        attention_factor: 1.1,
    };
    device.batch(&rows)
}

fn rows<D: Device>(device: &D, sizes: Sizes, found: &mut Results) -> Result<(), Error> {
    let (len, eps, batch) = (sizes.tokens * sizes.hidden, 1e-5, batch(device, sizes, 128)?);
    let input = |seed| device.upload(&numbers(seed, len));
    let mut keep =
        |name: &str, buffer: &D::Buffer, len: usize| found.push((name.to_owned(), device.download(buffer, len)));
    let (x, dy, weight) = (input(5)?, input(6)?, Weight::Dense(device.upload(&numbers(7, sizes.hidden))?));
    let (mut y, mut dx, mut dw) = (device.zeros(len)?, input(8)?, device.zeros_f32(sizes.hidden)?);
    device.rms_norm(sizes.tokens, &x, &weight, eps, &mut y);
    keep("norm", &y, len);
    device.rms_norm_backward(sizes.tokens, &x, &weight, eps, &dy, &mut dx, Some(&mut dw));
    keep("norm, dx", &dx, len);
    keep("norm, dw", &dw, sizes.hidden);
    device.add_bias(sizes.tokens, &weight, &mut y);
    keep("bias", &y, len);
    let mut db = device.zeros_f32(sizes.hidden)?;
    device.bias_backward(sizes.tokens, &dy, &mut db);
    keep("bias, db", &db, sizes.hidden);
    device.rope(&batch, sizes.hidden / 128, &mut y, Direction::Forward);
    keep("rope", &y, len);
    let (mut gate, mut up) = (input(9)?, input(10)?);
    device.swiglu(len, &gate, &up, &mut y);
    keep("swiglu", &y, len);
    device.swiglu_backward(len, &dy, &mut gate, &mut up);
    keep("swiglu, dgate", &gate, len);
    keep("swiglu, dup", &up, len);
    device.dropout(Mask { seed: 9, rate: 0.25 }, len, &x, &mut y, Write::Add);
    keep("dropout", &y, len);
    let table = Weight::Dense(device.upload(&numbers(11, sizes.vocab * sizes.hidden))?);
    let mut dtable = device.zeros_f32(sizes.vocab * sizes.hidden)?;
    device.embed(&batch, &table, sizes.hidden, &mut y);
    keep("embedding", &y, len);
    device.embed_backward(&batch, &dy, sizes.hidden, &mut dtable);
    keep("embedding, dtable", &dtable, sizes.vocab * sizes.hidden);
    let losses = device.distance(
        &batch,
        Distance { rows: sizes.tokens, hidden: sizes.hidden, grad_scale: 0.5 },
        &x,
        &dy,
        &mut y,
    );
    keep("distance, dx", &y, len);
    found.push(("distance".to_owned(), losses));
    Ok(())
}

fn patterns(tokens: usize) -> Vec<(&'static str, Vec<Pattern>)> {
    let window = Pattern::Window { window: tokens / 5, sink: 4 };
    let size = tokens / 4;
    vec![
        ("full", vec![Pattern::Full]),
        ("window and sinks", vec![window]),
        ("strides", vec![Pattern::Strided { block: 64, stride: 3, local: 2 }]),
        ("shifted groups", vec![Pattern::Group { size, shift: size / 2 }]),
        ("earlier chunks", vec![Pattern::Past { size: tokens / 8, nearest: 1, farthest: 2 }]),
        ("beyond a window", vec![Pattern::Beyond { window: tokens / 10 }]),
        ("heads that differ", vec![Pattern::Full, Pattern::Full, window, window]),
    ]
}

fn attention<D: Device>(
    device: &D,
    (sizes, head_dim): (Sizes, usize),
    (name, patterns): (&str, &[Pattern]),
    found: &mut Results,
) -> Result<(), Error> {
    let shape = Shape { queries: sizes.tokens, keys: sizes.tokens, heads: 4, kv_heads: 2, head_dim };
    let patterns = if let [one] = patterns { Patterns::All(*one) } else { Patterns::PerHead(patterns) };
    let job = Attention { shape, patterns, query_row: 0, key_row: 0, scale: (head_dim as f32).powf(-0.5) };
    let (queries, keys, batch) =
        (sizes.tokens * 4 * head_dim, sizes.tokens * 2 * head_dim, batch(device, sizes, head_dim)?);
    let input = |seed, len| device.upload(&numbers(seed, len));
    let (q, k, v, dout) = (input(12, queries)?, input(13, keys)?, input(14, keys)?, input(15, queries)?);
    let (mut out, mut lse) = (device.zeros(queries)?, device.zeros_f32(sizes.tokens * 4)?);
    device.attention(&batch, &job, &q, &k, &v, &mut out, &mut lse);
    let (mut dq, mut dk, mut dv) = (device.zeros(queries)?, device.zeros(keys)?, device.zeros(keys)?);
    let saved = Saved { q: &q, k: &k, v: &v, out: &out, lse: &lse, dout: &dout };
    device.attention_backward(&batch, &job, saved, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv });
    let results = [
        ("out", &out, queries),
        ("lse", &lse, sizes.tokens * 4),
        ("dq", &dq, queries),
        ("dk", &dk, keys),
        ("dv", &dv, keys),
    ];
    let keep = |(part, buffer, len)| (format!("attention {head_dim}, {name}, {part}"), device.download(buffer, len));
    found.extend(results.map(keep));
    Ok(())
}

/// One query over all keys, in parts that run beside each other; gates over what heads gave.
fn heads<D: Device>(device: &D, sizes: Sizes, head_dim: usize, found: &mut Results) -> Result<(), Error> {
    let shape = Shape { queries: sizes.tokens, keys: sizes.tokens, heads: 4, kv_heads: 2, head_dim };
    let (patterns, scale) = (Pattern::Full.into(), (head_dim as f32).powf(-0.5));
    let job = Attention { shape, patterns, query_row: 0, key_row: 0, scale };
    let (queries, keys, batch) =
        (sizes.tokens * 4 * head_dim, sizes.tokens * 2 * head_dim, batch(device, sizes, head_dim)?);
    let input = |seed, len| device.upload(&numbers(seed, len));
    let (q, k, v, dout) = (input(12, queries)?, input(13, keys)?, input(14, keys)?, input(15, queries)?);
    let (mut out, mut lse) = (device.zeros(4 * head_dim)?, device.zeros_f32(4)?);
    let few = Attention { shape: Shape { queries: 1, ..shape }, query_row: sizes.tokens - 1, ..job };
    device.attention(&batch, &few, &q, &k, &v, &mut out, &mut lse);
    found.push((format!("attention {head_dim} of one query"), device.download(&out, 4 * head_dim)));
    let gates = {
        let mut gates = device.zeros_f32(2)?;
        device.write(&[0.25, 0.75], &mut gates);
        gates
    };
    let (mut mixed, mut dfull, mut dstream, mut dgates) =
        (device.zeros(queries)?, input(16, queries)?, device.zeros(queries)?, device.zeros_f32(2)?);
    device.gate(&job, (&gates, 0), &q, &dout, &mut mixed);
    let grads = GateGrads { dout: &mut dfull, dstream: &mut dstream, dgates: &mut dgates };
    device.gate_backward(&job, (&gates, 0), (&q, &dout), grads);
    let results = [
        ("mixture", &mixed, queries),
        ("dfull", &dfull, queries),
        ("dstream", &dstream, queries),
        ("dgates", &dgates, 2),
    ];
    found
        .extend(results.map(|(part, buffer, len)| (format!("gates {head_dim}, {part}"), device.download(buffer, len))));
    Ok(())
}

fn head<D: Device>(device: &D, sizes: Sizes, found: &mut Results) -> Result<(), Error> {
    let (batch, x) = (batch(device, sizes, 128)?, device.upload(&numbers(17, sizes.tokens * sizes.hidden))?);
    let small: Vec<f32> = numbers(18, sizes.vocab * sizes.hidden).iter().map(|value| value / 16.0).collect();
    let w = Weight::Dense(device.upload(&small)?);
    let (mut dx, mut dw) = (device.zeros(sizes.tokens * sizes.hidden)?, device.zeros_f32(sizes.vocab * sizes.hidden)?);
    let job = Head { rows: sizes.tokens, hidden: sizes.hidden, vocab: sizes.vocab, chunk: 512, grad_scale: 1.0 };
    let scores = device.head(&batch, job, &x, &w, Some(HeadGrads { dx: &mut dx, dw: Some(&mut dw) }))?;
    found.push(("head, losses".to_owned(), scores.nll));
    found.push(("head, dx".to_owned(), device.download(&dx, sizes.tokens * sizes.hidden)));
    found.push(("head, dw".to_owned(), device.download(&dw, sizes.vocab * sizes.hidden)));
    Ok(())
}

fn optimiser<D: Device>(device: &D, found: &mut Results) -> Result<(), Error> {
    let (len, mut m, mut v) = (100_003, device.zeros_f32(100_003)?, device.zeros_f32(100_003)?);
    let (mut param, mut grad) = (device.upload_master(&numbers(19, len))?, device.zeros_f32(len)?);
    device.write(&numbers(20, len), &mut grad);
    for step in 1..4 {
        let hyper = Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step, grad_scale: 0.5 };
        device.adamw(&hyper, &mut param, &grad, &mut m, &mut v);
    }
    found.push(("AdamW".to_owned(), device.download(&param, len)));
    let (mut packed, mut moments) = (device.upload_master(&numbers(19, len))?, device.moments_8bit(len)?);
    for step in 1..4 {
        let hyper = Hyper { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step, grad_scale: 0.5 };
        device.adamw_8bit(&hyper, &mut packed, &grad, &mut moments);
    }
    found.push(("AdamW, 8 bits".to_owned(), device.download(&packed, len)));
    found.push(("norm of a gradient".to_owned(), vec![device.sum_of_squares(&grad) as f32]));
    Ok(())
}
