// NF4 weights with double quantisation to bf16; layout in mod.rs.
//
// THREADS  of a block

struct Dequantize {
    // The 16 values of weights and the 256 of scales
    const float* codes;
    const float* scale_codes;
    const u8* packed;
    const u8* absmax;
    const float* absmax_scale;
    bf16* out;
    // First weight and number of weights, multiples of 8: each thread makes eight
    u64 start, len;
    float offset;
    u32 unused;
};

KERNEL(nf4_dequantize, Dequantize, THREADS) {
    SHARED(raw);
    // Sixteen numbers lie in sixteen banks: lanes that look up different ones do not wait for each other.
    float* const codes = (float*)raw;
    if (threadIdx.x < 16) codes[threadIdx.x] = p.codes[threadIdx.x];
    __syncthreads();
    const u64 at = ((u64)blockIdx.x * THREADS + threadIdx.x) * 8;
    if (at >= p.len) return;
    // Eight weights at a multiple of eight share a block of 64.
    const u64 first = p.start + at, block = first / 64;
    const float scale = p.scale_codes[p.absmax[block]] * p.absmax_scale[block / 256] + p.offset;
    const u32 packed = *(const u32*)(p.packed + first / 2);
    float out[8];
    UNROLL
    for (int i = 0; i < 4; i++) {
        // Little-endian bytes; the first weight of each in its high half.
        const u32 byte = packed >> (8 * i) & 0xff;
        out[2 * i] = codes[byte >> 4] * scale;
        out[2 * i + 1] = codes[byte & 15] * scale;
    }
    store8(p.out + at, out);
}
