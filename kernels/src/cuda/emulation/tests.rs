//! The emulation finds the mistakes it is there for.

use super::{Emulated, runtime};
use crate::conformance::Random;
use crate::cuda::driver::{Address, Error, Stream};
use crate::cuda::runtime::Memory;
use crate::cuda::source::Source;
use crate::cuda::{Budget, Kernel, params};

params! {
    /// What every kernel of this file takes.
    struct Both {
        from: Address,
        to: Address,
    }
}

const PARAMS: &str = "struct Both { const u32* from; u32* to; };";

fn kernel(body: &'static str, threads: u32, shared: u32) -> Kernel {
    let source = Source { file: "mistakes.cu", texts: vec![PARAMS, body], constants: Vec::new() };
    Kernel { source, entry: "kernel", threads, shared, budget: Budget { blocks: 1 } }
}

/// Runs a kernel on words and returns as many as it wrote.
fn run(gpu: &Emulated, kernel: &Kernel, from: &[u32], to: usize) -> Result<Vec<u32>, Error> {
    let bytes: Vec<u8> = from.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (input, output) = (gpu.memory(bytes.len() as u64)?, gpu.memory(4 * to as u64)?);
    input.write(Stream(0), &bytes)?;
    let params = Both { from: input.address(), to: output.address() };
    // SAFETY: both are alive; that the emulation notices what is outside of them is what is tested.
    unsafe { gpu.queue(Stream(0)).launch(kernel, [1, 1, 1], &params)? };
    Ok(words(&output, to))
}

fn words(memory: &Memory<super::Emulator>, len: usize) -> Vec<u32> {
    let bytes = memory.read(Stream(0), 4 * len).expect("memory of the emulation");
    bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

#[track_caller]
fn fails(gpu: &Emulated, kernel: &Kernel, message: &str) {
    match run(gpu, kernel, &[0; 64], 64) {
        Err(Error::Launch { reason, .. }) => assert!(reason.contains(message), "{reason}"),
        other => panic!("{message} was not found: {other:?}"),
    }
}

/// Every thread reads what a thread of the next warp wrote: right with a barrier, and seen to be wrong without one.
#[test]
fn a_missing_barrier() {
    let text = |barrier: bool| match barrier {
        true => {
            "KERNEL(kernel, Both, 128) { SHARED(raw); u32* s = (u32*)raw; s[threadIdx.x] = threadIdx.x; __syncthreads(); p.to[threadIdx.x] = s[(threadIdx.x + 32) % 128]; }"
        }
        false => {
            "KERNEL(kernel, Both, 128) { SHARED(raw); u32* s = (u32*)raw; s[threadIdx.x] = threadIdx.x; p.to[threadIdx.x] = s[(threadIdx.x + 32) % 128]; }"
        }
    };
    let expected: Vec<u32> = (0..128).map(|thread| (thread + 32) % 128).collect();
    for (barrier, right) in [(true, true), (false, false)] {
        let kernel = kernel(text(barrier), 128, 512);
        let Some(gpu) = runtime(1) else { return };
        let all = (0..4).all(|_| run(&gpu, &kernel, &[0], 128).expect("a run") == expected);
        assert_eq!(all, right, "with a barrier: {barrier}");
    }
}

/// The same inside a warp.
#[test]
fn a_missing_barrier_of_a_warp() {
    let text = "KERNEL(kernel, Both, 32) { SHARED(raw); u32* s = (u32*)raw; s[threadIdx.x] = threadIdx.x; p.to[threadIdx.x] = s[(threadIdx.x + 1) % 32]; }";
    let Some(gpu) = runtime(1) else { return };
    let seen = run(&gpu, &kernel(text, 32, 128), &[0], 32).expect("a run");
    assert_ne!(seen, (0..32).map(|lane| (lane + 1) % 32).collect::<Vec<_>>());
}

/// What goes past a thread's own array lands in its stack, where nothing but AddressSanitizer sees it.
#[test]
fn past_an_array() {
    let text = "KERNEL(kernel, Both, 32) { u32 s[4]; for (u32 i = 0; i <= p.from[0]; i++) s[i] = i; p.to[threadIdx.x] = s[2]; }";
    let Some((emulator, compiler)) = super::parts_with(1 << 32, false, None) else { return };
    if compiler.watches() {
        let gpu = Emulated::new(emulator, compiler, Some(super::cache()));
        assert_eq!(run(&gpu, &kernel(text, 32, 0), &[3], 32).expect("a run"), [2; 32]);
        match run(&gpu, &kernel(text, 32, 0), &[4], 32) {
            Err(Error::Launch { reason, .. }) => assert!(reason.contains("AddressSanitizer"), "{reason}"),
            other => panic!("it was not found: {other:?}"),
        }
    }
}

#[test]
fn accesses_outside_of_buffers() {
    let behind = kernel("KERNEL(kernel, Both, 32) { p.to[threadIdx.x] = p.from[threadIdx.x + 33]; }", 32, 0);
    let before = kernel("KERNEL(kernel, Both, 32) { *(p.to - 1) = 1; }", 32, 0);
    let shared = kernel("KERNEL(kernel, Both, 32) { SHARED(raw); p.to[0] = raw[128]; }", 32, 128);
    for (kernel, message) in [
        (behind, "byte 256 of a buffer of 256 bytes"),
        (before, "a write outside a buffer"),
        (shared, "byte 128 of 128 bytes of shared memory"),
    ] {
        let Some(gpu) = runtime(2) else { return };
        fails(&gpu, &kernel, message);
    }
}

#[test]
fn threads_that_do_not_meet() {
    let barrier = kernel("KERNEL(kernel, Both, 64) { if (threadIdx.x < 32) __syncthreads(); }", 64, 0);
    let warp = kernel("KERNEL(kernel, Both, 32) { if (threadIdx.x < 31) __syncwarp(); }", 32, 0);
    let kinds = kernel(
        "KERNEL(kernel, Both, 32) { if (threadIdx.x < 16) __syncwarp(); else p.to[0] = __shfl_xor_sync(ALL_LANES, 1u, 1u); }",
        32,
        0,
    );
    for (kernel, message) in [
        (barrier, "wait at a barrier that others never reach"),
        (warp, "is not where the others of its warp wait"),
        (kinds, "wait at different instructions"),
    ] {
        let Some(gpu) = runtime(3) else { return };
        fails(&gpu, &kernel, message);
    }
}

#[test]
fn shared_memory_begins_as_nan() {
    let text = "KERNEL(kernel, Both, 32) { SHARED(raw); p.to[threadIdx.x] = ((u32*)raw)[threadIdx.x]; ((u32*)raw)[threadIdx.x] = 0; }";
    let Some(gpu) = runtime(4) else { return };
    for _ in 0..2 {
        let seen = run(&gpu, &kernel(text, 32, 128), &[0], 32).expect("a run");
        assert!(seen.iter().all(|&word| f32::from_bits(word).is_nan()));
    }
}

/// A copy shows after its own wait, not before, and not after the wait for an older group.
#[test]
fn copies_arrive_at_their_wait() {
    const TEXT: &str = "
        KERNEL(kernel, Both, 32) {
            SHARED(raw);
            u32* s = (u32*)raw;
            for (u32 i = 0; i < 2; i++) {
                for (u32 j = 0; j < 4; j++) s[128 * i + 4 * threadIdx.x + j] = 7;
                copy_async(s + 128 * i + 4 * threadIdx.x, p.from + 128 * i + 4 * threadIdx.x, threadIdx.x < 31);
                copy_commit();
            }
            const u32 at = 4 * threadIdx.x;
            p.to[threadIdx.x] = s[at];
            copy_wait<1>();
            p.to[32 + threadIdx.x] = s[at] + 100 * s[128 + at];
            copy_wait<0>();
            p.to[64 + threadIdx.x] = s[128 + at];
        }";
    let Some(gpu) = runtime(5) else { return };
    let from: Vec<u32> = (0..256).collect();
    let seen = run(&gpu, &kernel(TEXT, 32, 1024), &from, 96).expect("a run");
    for lane in 0..31 {
        let at = 4 * lane as u32;
        assert_eq!((seen[lane], seen[32 + lane], seen[64 + lane]), (7, at + 700, 128 + at));
    }
    assert_eq!((seen[31], seen[63], seen[95]), (7, 700, 0), "what is not valid arrives as zero");
}

/// `ldmatrix` both ways and `mma` are a product of matrices.
#[test]
fn a_product_of_matrices() {
    // d[16×8] = a[16×16] · b[16×8], with a row-major and b given as [k][n] (so that it needs the transposed load).
    const TEXT: &str = "
        KERNEL(kernel, Both, 32) {
            SHARED(raw);
            u32* s = (u32*)raw;
            for (u32 i = threadIdx.x; i < 192; i += 32) s[i] = p.from[i];
            __syncthreads();
            const bf16* a = (const bf16*)raw;
            const bf16* b = a + 256;
            const u32 lane = threadIdx.x;
            u32 fa[4], fb[4];
            ldmatrix(fa, a + lane % 16 * 16 + lane / 16 * 8);
            ldmatrix_transposed(fb, b + lane % 16 * 8);
            float d[4] = {1, 1, 1, 1};
            mma_bf16(d, fa, fb[0], fb[1]);
            float* to = (float*)p.to;
            for (u32 i = 0; i < 4; i++) to[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
        }";
    let Some(gpu) = runtime(6) else { return };
    let values = Random::new(1).normal(384).iter().map(|&v| half::bf16::from_f32(v)).collect::<Vec<_>>();
    let from: Vec<u32> =
        values.chunks(2).map(|v| u32::from(v[0].to_bits()) | u32::from(v[1].to_bits()) << 16).collect();
    let seen = run(&gpu, &kernel(TEXT, 32, 768), &from, 128).expect("a run");
    for (at, &word) in seen.iter().enumerate() {
        let (row, column) = (at / 8, at % 8);
        let sum: f32 = (0..16).map(|k| values[row * 16 + k].to_f32() * values[256 + k * 8 + column].to_f32()).sum();
        assert!((f32::from_bits(word) - 1.0 - sum).abs() < 1e-5, "row {row}, column {column}");
    }
}
