//! Two limits of the machine, and what the kernels reach of them.

use std::time::Instant;

use kernels::adamw::Hyper;
use kernels::attention::{Pattern, Shape};
use kernels::device::{Attention, Device, Error, Grads, Head, HeadGrads, Linear, Rows, Saved, Weight};
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;

use crate::peers::Peers;
use crate::stack;
use crate::table::{Goal, Limits, Table, Work};

/// Median seconds of a run of `job`.
pub(crate) fn time<D: Device>(device: &D, mut job: impl FnMut()) -> Result<f64, Error> {
    let mut sample = |runs: usize| -> Result<f64, Error> {
        let start = Instant::now();
        (0..runs).for_each(|_| job());
        device.finish()?;
        Ok(start.elapsed().as_secs_f64() / runs as f64)
    };
    sample(1)?;
    // So many that waiting for their end is nothing beside them.
    let runs = (0.02 / sample(1)?.max(1e-6)).ceil().clamp(1.0, 1000.0) as usize;
    let mut times = (0..5).map(|_| sample(runs)).collect::<Result<Vec<f64>, Error>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[2])
}

/// Limits, kernels, layers; all of it as a table.
pub(crate) fn run<D: Device>(
    open: &dyn Fn() -> Result<(D, String), String>,
    longest: usize,
    layers: usize,
    peers: Peers,
) -> Result<Table, String> {
    let (device, name) = open()?;
    let words = |error: Error| error.to_string();
    let mut table = Table::new(name, limits(&device).map_err(words)?, peers);
    kernels(&device, longest, &mut table).map_err(words)?;
    drop(device);
    stack::run(&|| Ok(open()?.0), longest, layers, &mut table)?;
    Ok(table)
}

fn kernels<D: Device>(device: &D, longest: usize, table: &mut Table) -> Result<(), Error> {
    let mut tokens = longest;
    while tokens >= longest.min(16 << 10) {
        attention(device, tokens, FULL, table)?;
        attention(device, tokens, WINDOW, table)?;
        tokens /= 2;
    }
    decoding(device, longest, table)?;
    rows(device, longest.min(32 << 10), table)?;
    head(device, longest.min(8 << 10), table)?;
    adamw(device, table)
}

fn limits<D: Device>(device: &D) -> Result<Limits, Error> {
    let numbers = 1 << 30;
    let (from, mut to) = (device.zeros(numbers)?, device.zeros(numbers)?);
    let copy = 4.0 * numbers as f64 / time(device, || device.copy(&from, &mut to, numbers))?;
    drop((from, to));
    let side = 8192;
    let (x, w) = (noise(device, side * side)?, Weight::Dense(noise(device, side * side)?));
    let mut y = device.zeros(side * side)?;
    let job = Linear { dims: Dims { rows: side, inputs: side, outputs: side }, scale: 1.0, write: Write::Set };
    let products = 2.0 * (side as f64).powi(3) / time(device, || device.linear(job, &x, &w, &mut y))?;
    Ok(Limits { copy, products })
}

/// Numbers from -1 to 1: products of zeros take less power, and a GPU computes them faster.
fn noise<D: Device>(device: &D, len: usize) -> Result<D::Buffer, Error> {
    device.upload(&(0..len).map(|at| ((at * 7919 % 1009) as f32 - 504.0) / 504.0).collect::<Vec<_>>())
}

/// A sequence of one document.
fn batch<D: Device>(device: &D, tokens: usize, head_dim: usize) -> Result<D::Batch, Error> {
    let ids: Vec<u32> = (0..tokens as u32).map(|row| row * 7919 % 32_000).collect();
    let positions: Vec<u32> = (0..tokens as u32).collect();
    let targets: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let inv_freq: Vec<f64> = (0..head_dim / 2).map(|pair| 1e4f64.powf(-2.0 * pair as f64 / head_dim as f64)).collect();
    let (starts, attention_factor) = (vec![0; tokens], 1.0);
    let (positions, targets) = (&positions[..], &targets[..]);
    device.batch(&Rows { tokens: &ids, positions, starts: &starts, targets, inv_freq: &inv_freq, attention_factor })
}

pub(crate) const FULL: (&str, Pattern) = ("causal", Pattern::Full);
pub(crate) const WINDOW: (&str, Pattern) = ("window(4096, sink = 4)", Pattern::Window { window: 4096, sink: 4 });

/// A case of Llama-2 7B's heads.
pub(crate) fn attention_name(pattern: &str, tokens: usize, way: &str) -> String {
    format!("attention {pattern} T={tokens} 32x128{way}")
}

/// Pairs of a query and a key that it sees.
fn pairs(pattern: Pattern, tokens: usize) -> f64 {
    let seen = |row: usize| match pattern {
        Pattern::Window { window, sink } => (row + 1).min(window + sink.min((row + 1).saturating_sub(window))),
        _ => row + 1,
    };
    (0..tokens).map(|row| seen(row) as f64).sum()
}

/// Pairs in the blocks of 64 queries and 64 keys that hold a visible one: what a kernel has to compute.
fn visited(pattern: Pattern, tokens: usize) -> f64 {
    let blocks = |query: usize| match pattern {
        Pattern::Window { window, sink } => {
            let first = (64 * query + 1).saturating_sub(window) / 64;
            query + 1 - first + sink.div_ceil(64).min(first)
        }
        _ => query + 1,
    };
    (0..tokens.div_ceil(64)).map(|query| 4096.0 * blocks(query) as f64).sum()
}

/// 32 heads of 128, as Llama-2 7B has them: four FLOPs a number and pair there, ten back (Dao 2023, section 4.1). A window's
/// kernel has to compute as fast as the full one, block by block.
fn attention<D: Device>(
    device: &D,
    tokens: usize,
    (name, pattern): (&str, Pattern),
    table: &mut Table,
) -> Result<(), Error> {
    let (heads, head_dim) = (32, 128);
    let len = tokens * heads * head_dim;
    let batch = batch(device, tokens, head_dim)?;
    let (q, k, v, dout) = (noise(device, len)?, noise(device, len)?, noise(device, len)?, noise(device, len)?);
    let (mut out, mut lse) = (device.zeros(len)?, device.zeros_f32(tokens * heads)?);
    let shape = Shape { queries: tokens, keys: tokens, heads, kv_heads: heads, head_dim };
    let job =
        Attention { shape, patterns: pattern.into(), query_row: 0, key_row: 0, scale: (head_dim as f32).powf(-0.5) };
    let forward = time(device, || device.attention(&batch, &job, &q, &k, &v, &mut out, &mut lse))?;
    let (mut dq, mut dk, mut dv) = (device.zeros(len)?, device.zeros(len)?, device.zeros(len)?);
    let backward = time(device, || {
        let saved = Saved { q: &q, k: &k, v: &v, out: &out, lse: &lse, dout: &dout };
        device.attention_backward(&batch, &job, saved, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv });
    })?;
    let work = pairs(pattern, tokens) * (heads * head_dim) as f64;
    for (way, seconds, flops, flash) in [("", forward, 4.0, 1.0), (", gradients", backward, 10.0, 0.9)] {
        let full = table.seconds(&attention_name(FULL.0, tokens, way));
        let goal = match full.filter(|_| pattern != FULL.1) {
            Some(full) => {
                let same = visited(pattern, tokens) / seconds * full / visited(FULL.1, tokens);
                Goal::Other(same, 0.85, "of the full kernel's rate, by block")
            }
            None => Goal::Flash(flash),
        };
        table.add(&attention_name(name, tokens, way), seconds, Work::Flops(flops * work), goal);
    }
    Ok(())
}

/// One query of 32 heads against all keys of 8, as Llama-3 8B decodes: keys and values are read once.
fn decoding<D: Device>(device: &D, tokens: usize, table: &mut Table) -> Result<(), Error> {
    let (heads, kv_heads, head_dim) = (32, 8, 128);
    let len = tokens * kv_heads * head_dim;
    let batch = batch(device, 1, head_dim)?;
    let (q, k, v) = (device.zeros(heads * head_dim)?, device.zeros(len)?, device.zeros(len)?);
    let (mut out, mut lse) = (device.zeros(heads * head_dim)?, device.zeros_f32(heads)?);
    let shape = Shape { queries: 1, keys: tokens, heads, kv_heads, head_dim };
    let patterns = Pattern::Full.into();
    let job = Attention { shape, patterns, query_row: tokens - 1, key_row: 0, scale: (head_dim as f32).powf(-0.5) };
    let seconds = time(device, || device.attention(&batch, &job, &q, &k, &v, &mut out, &mut lse))?;
    let name = format!("attention of one token, {tokens} keys 32:8x128");
    table.add(&name, seconds, Work::Bytes(4.0 * len as f64), Goal::Limit(0.85));
    Ok(())
}

/// What memory limits: bytes that have to be read and written, each once.
fn rows<D: Device>(device: &D, tokens: usize, table: &mut Table) -> Result<(), Error> {
    let (hidden, ffn) = (4096, 11_008);
    let (len, wide) = (tokens * hidden, tokens * ffn);
    let batch = batch(device, tokens, 128)?;
    let (x, dy, mut y, mut dx) = (device.zeros(len)?, device.zeros(len)?, device.zeros(len)?, device.zeros(len)?);
    let weight = Weight::Dense(device.upload(&vec![1.0; hidden])?);
    let mut bytes = |name: &str, seconds: f64, numbers: f64| {
        table.add(name, seconds, Work::Bytes(2.0 * numbers), Goal::Limit(0.85));
    };
    let seconds = time(device, || device.rms_norm(tokens, &x, &weight, 1e-5, &mut y))?;
    bytes(&format!("norm {tokens}x{hidden}"), seconds, 2.0 * len as f64);
    let seconds = time(device, || device.rms_norm_backward(tokens, &x, &weight, 1e-5, &dy, &mut dx, None))?;
    bytes(&format!("norm gradients {tokens}x{hidden}"), seconds, 4.0 * len as f64);
    let seconds = time(device, || device.rope(&batch, 32, &mut y, Direction::Forward))?;
    bytes(&format!("rope {tokens}x32x128"), seconds, 2.0 * len as f64);
    let seconds = time(device, || device.add(&x, &mut y, len))?;
    bytes(&format!("residual {tokens}x{hidden}"), seconds, 3.0 * len as f64);
    let table = Weight::Dense(device.zeros(32_000 * hidden)?);
    let seconds = time(device, || device.embed(&batch, &table, hidden, &mut y))?;
    bytes(&format!("embedding {tokens}x{hidden}"), seconds, 2.0 * len as f64);
    let (mut gate, mut up, mut out) = (device.zeros(wide)?, device.zeros(wide)?, device.zeros(wide)?);
    let seconds = time(device, || device.swiglu(wide, &gate, &up, &mut out))?;
    bytes(&format!("swiglu {tokens}x{ffn}"), seconds, 3.0 * wide as f64);
    let seconds = time(device, || device.swiglu_backward(wide, &out, &mut gate, &mut up))?;
    bytes(&format!("swiglu gradients {tokens}x{ffn}"), seconds, 5.0 * wide as f64);
    Ok(())
}

/// Head and loss of Llama-2 7B with all gradients: three products.
fn head<D: Device>(device: &D, tokens: usize, table: &mut Table) -> Result<(), Error> {
    let (hidden, vocab) = (4096, 32_000);
    let (batch, x) = (batch(device, tokens, 128)?, noise(device, tokens * hidden)?);
    let w = Weight::Dense(noise(device, vocab * hidden)?);
    let (mut dx, mut dw) = (device.zeros(tokens * hidden)?, device.zeros_f32(vocab * hidden)?);
    let job = Head { rows: tokens, hidden, vocab, chunk: 512, grad_scale: 1.0 };
    let mut failed = None;
    let seconds = time(device, || {
        let grads = HeadGrads { dx: &mut dx, dw: Some(&mut dw) };
        failed = device.head(&batch, job, &x, &w, Some(grads)).err().or(failed.take());
    })?;
    let flops = 6.0 * (tokens * hidden) as f64 * vocab as f64;
    table.add(&format!("loss {tokens}x{hidden}->{vocab}, gradients"), seconds, Work::Flops(flops), Goal::Limit(0.75));
    failed.map_or(Ok(()), Err)
}

/// Master, both moments and gradient read, all but the gradient written, and the bf16 copy; moments in f32, and in bytes with an f32
/// for each 256.
fn adamw<D: Device>(device: &D, table: &mut Table) -> Result<(), Error> {
    let len = 64 << 20;
    let (mut m, mut v, grad) = (device.zeros_f32(len)?, device.zeros_f32(len)?, device.zeros_f32(len)?);
    let mut param = device.upload_master(&vec![1.0; len])?;
    let hyper = Hyper { lr: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 1, grad_scale: 1.0 };
    let seconds = time(device, || device.adamw(&hyper, &mut param, &grad, &mut m, &mut v))?;
    table.add("adamw 64M", seconds, Work::Bytes(30.0 * len as f64), Goal::Limit(0.85));
    drop((m, v));
    let mut moments = device.moments_8bit(len)?;
    let packed = time(device, || device.adamw_8bit(&hyper, &mut param, &grad, &mut moments))?;
    table.add("adamw 64M, 8 bits", packed, Work::Bytes(18.0625 * len as f64), Goal::Limit(0.85));
    let norm = time(device, || {
        device.sum_of_squares(&grad);
    })?;
    table.add("gradient norm 64M", norm, Work::Bytes(4.0 * len as f64), Goal::Limit(0.85));
    Ok(())
}
