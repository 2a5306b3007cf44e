// Helpers that every kernel may use, the same text for the GPU and for the emulation.

// A bf16 number as it is stored.
struct bf16 {
    u16 bits;
};

DEVICE float bits_to_float(u32 bits) {
    union { u32 bits; float value; } both;
    both.bits = bits;
    return both.value;
}

DEVICE float to_float(bf16 x) {
    return bits_to_float((u32)x.bits << 16);
}

DEVICE float low_half(u32 packed) {
    return bits_to_float(packed << 16);
}

DEVICE float high_half(u32 packed) {
    return bits_to_float(packed & 0xffff0000u);
}

DEVICE bf16 to_bf16(float x) {
    bf16 rounded;
    rounded.bits = (u16)pack_bf16(x, 0.0f);
    return rounded;
}

// Eight bf16 numbers at an address that is a multiple of 16, as f32.
DEVICE void load8(float (&x)[8], const bf16* from) {
    const uint4 packed = *(const uint4*)from;
    const u32 words[4] = {packed.x, packed.y, packed.z, packed.w};
    UNROLL
    for (int i = 0; i < 4; i++) {
        x[2 * i] = low_half(words[i]);
        x[2 * i + 1] = high_half(words[i]);
    }
}

DEVICE void store8(bf16* to, const float (&x)[8]) {
    uint4 packed;
    packed.x = pack_bf16(x[0], x[1]);
    packed.y = pack_bf16(x[2], x[3]);
    packed.z = pack_bf16(x[4], x[5]);
    packed.w = pack_bf16(x[6], x[7]);
    *(uint4*)to = packed;
}

// Eight f32 numbers at an address that is a multiple of 16.
DEVICE void load8(float (&x)[8], const float* from) {
    UNROLL
    for (int half = 0; half < 2; half++) {
        const float4 part = ((const float4*)from)[half];
        x[4 * half] = part.x;
        x[4 * half + 1] = part.y;
        x[4 * half + 2] = part.z;
        x[4 * half + 3] = part.w;
    }
}

DEVICE void store8(float* to, const float (&x)[8]) {
    UNROLL
    for (int half = 0; half < 2; half++) {
        float4 part;
        part.x = x[4 * half];
        part.y = x[4 * half + 1];
        part.z = x[4 * half + 2];
        part.w = x[4 * half + 3];
        ((float4*)to)[half] = part;
    }
}

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

constexpr float LOG2_E = 1.44269504088896340736f;
constexpr float LN_2 = 0.69314718055994530942f;

DEVICE float minus_infinity() {
    return bits_to_float(0xff800000u);
}


DEVICE u64 smaller(u64 a, u64 b) {
    return a < b ? a : b;
}

// The sum over a warp, in every lane: a butterfly, so that all lanes hold the same bits.
template <class Number>
DEVICE Number warp_sum(Number x) {
    UNROLL
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        x += __shfl_xor_sync(ALL_LANES, x, distance);
    }
    return x;
}

// The sum over a block of `THREADS` threads, in every thread, always added in the same order. `scratch` is THREADS ÷ 32
// numbers of shared memory; the block may use it again after its next barrier.
template <u32 THREADS, class Number>
DEVICE Number block_sum(Number x, Number* scratch) {
    x = warp_sum(x);
    if (THREADS == WARP) {
        return x;
    }
    if (threadIdx.x % WARP == 0) {
        scratch[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    Number sum = scratch[0];
    UNROLL
    for (u32 warp = 1; warp < THREADS / WARP; warp++) {
        sum += scratch[warp];
    }
    return sum;
}
