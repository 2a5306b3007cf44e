//! Places that 32 bits do not count: buffers of gigabytes, of which a few pages are touched.

use super::{Gpu, Machine, Random, emulate, normal};
use crate::attention::cuda::{Attention, Passes, Visible};
use crate::attention::{Mask, Pattern, Shape};
use crate::cuda::driver::{Driver, Stream};
use crate::cuda::runtime::Memory;
use crate::{embedding, nf4};

const FAR: usize = 1 << 32;

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()
}

fn write_at(gpu: &Gpu, memory: &Memory<Machine>, at: usize, bytes: &[u8]) {
    let to = memory.from(at as u64).need("place", bytes.len());
    gpu.queue().runtime().driver().write(Stream(0), to, bytes).expect("a write");
}

fn read_at(gpu: &Gpu, memory: &Memory<Machine>, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let from = memory.from(at as u64).need("place", len);
    gpu.queue().runtime().driver().read(Stream(0), from, &mut bytes).expect("a read");
    bytes
}

/// The last row of a table of 128 256 · 20 000 numbers, looked up and added to.
#[test]
fn a_row_of_a_huge_table() {
    let (vocab, hidden) = (128_256, 20_000);
    let row = normal(&mut Random::new(1), hidden);
    assert!((vocab - 1) * hidden > 1 << 31);
    emulate(|gpu| {
        let op = embedding::cuda::Embedding { hidden };
        let token = vocab as u32 - 1;
        let (tokens, table, x) = (gpu.u32(&[token]), gpu.room(2 * vocab * hidden), gpu.room(2 * hidden));
        write_at(gpu, &table, 2 * (vocab - 1) * hidden, &bytes_of(&row));
        op.forward(gpu.queue(), [1, vocab], [tokens.all(), table.all()], x.all()).expect("a lookup");
        assert_eq!(gpu.read_bf16(&x), row);
        let dtable = gpu.room(4 * vocab * hidden);
        let occurrences = embedding::cuda::Occurrences::new(&[token]);
        let lists = [&occurrences.tokens, &occurrences.first, &occurrences.rows].map(|list| gpu.u32(list));
        let regions = [lists[0].all(), lists[1].all(), lists[2].all()];
        op.backward(gpu.queue(), (regions, &occurrences), vocab, x.all(), dtable.all()).expect("a gradient");
        let got = read_at(gpu, &dtable, 4 * (vocab - 1) * hidden, 4 * hidden);
        let got: Vec<f32> = got.as_chunks::<4>().0.iter().map(|&v| f32::from_le_bytes(v)).collect();
        assert_eq!(got, row);
    });
}

/// One query at the end of four million keys: its window lies beyond 2³¹ numbers, and its output is the mean of the values there.
#[test]
fn attention_at_the_end_of_millions_of_keys() {
    let (keys, kv_heads, head_dim, window) = (4_200_000, 8, 64, 100);
    let stride = 2 * kv_heads * head_dim;
    assert!((keys - window) * kv_heads * head_dim > 1 << 31);
    let values = normal(&mut Random::new(2), window);
    let shape = Shape { queries: 1, keys, heads: kv_heads, kv_heads, head_dim };
    let mask =
        Mask { patterns: Pattern::Window { window, sink: 0 }.into(), query_row: keys - 1, key_row: 0, starts: &[0] };
    let mean = values.iter().sum::<f32>() / window as f32;
    emulate(|gpu| {
        let (k, v) = (gpu.room(keys * stride), gpu.room(keys * stride));
        for (i, &value) in values.iter().enumerate() {
            let row = vec![value; kv_heads * head_dim];
            write_at(gpu, &v, (keys - window + i) * stride, &bytes_of(&row));
        }
        let q = gpu.bf16(&vec![1.0; kv_heads * head_dim]);
        let (out, lse) = (gpu.room(stride), gpu.room(4 * kv_heads));
        let visible = Visible::new(gpu.queue(), &mask, &shape, Passes::Forward).expect("lists");
        let (inputs, outputs) = ([q.all(), k.all(), v.all()], (out.all(), lse.all()));
        let op = Attention { head_dim };
        op.forward(gpu.queue(), &visible, 0.125, inputs, outputs).expect("attention");
        let out = gpu.read_bf16(&out);
        assert!(out.iter().all(|o| (o - mean).abs() < 4e-3 * mean.abs().max(1.0)), "{} instead of {mean}", out[0]);
        assert!(gpu.read_f32(&lse).iter().all(|lse| (lse - (window as f32).ln()).abs() < 1e-4));
    });
}

/// Weights behind the first 2³².
#[test]
fn far_weights() {
    let len = FAR + 1024;
    emulate(|gpu| {
        let (packed, absmax) = (gpu.room(len / 2), gpu.room(len / 64));
        let absmax_scale = gpu.room(4 * (len / 64).div_ceil(256));
        let (tables, out) = (gpu.f32(&nf4::cuda::tables()), gpu.room(2 * 64));
        write_at(gpu, &packed, FAR / 2, &[0xf0; 32]);
        write_at(gpu, &absmax, FAR / 64, &[255]);
        write_at(gpu, &absmax_scale, 4 * (FAR / 64 / 256), &2f32.to_le_bytes());
        let from = nf4::cuda::Quantized {
            tables: tables.all(),
            packed: packed.all(),
            absmax: absmax.all(),
            absmax_scale: absmax_scale.all(),
            offset: 1.0,
            len,
        };
        nf4::cuda::dequantize(gpu.queue(), from, FAR..FAR + 64, out.all()).expect("weights");
        // Codes 15 and 0 are 1 and −1; the scale is 1 · 2 + 1.
        assert_eq!(gpu.read_bf16(&out), [3.0, -3.0].repeat(32));
    });
}
