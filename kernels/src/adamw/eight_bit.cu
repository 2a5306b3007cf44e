// AdamW with moments of 8 bits on an f32 master weight; layout and mathematics in eight_bit.rs. One block of threads a block of
// 256 moments, one parameter a thread.

constexpr u32 BLOCK = 256;

struct AdamW {
    float* param;
    // bf16 copy that the model computes with, or null
    bf16* copy;
    const float* grad;
    u8* m;
    u8* v;
    float* m_scales;
    float* v_scales;
    // 256 values of m's codes and 256 of v's, ascending
    const float* tables;
    u64 len;
    // 1 − lr · weight_decay
    float decay;
    float beta1, one_minus_beta1;
    float beta2, one_minus_beta2;
    float lr;
    // 1 − βᵗ
    float correct1, correct2;
    float eps;
    float grad_scale;
};

// The largest over the block, in every thread.
DEVICE float block_max(float x, float* scratch) {
    UNROLL
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, distance));
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    UNROLL
    for (u32 warp = 0; warp < BLOCK / WARP; warp++) x = fmaxf(x, scratch[warp]);
    return x;
}

// The index of the nearest of 256 ascending values, the lower of equals.
DEVICE u32 nearest(const float* table, float x) {
    // The first that is not below x, at most the last.
    u32 above = 0;
    UNROLL
    for (u32 step = 128; step > 0; step /= 2) {
        if (table[above + step - 1] < x) above += step;
    }
    const u32 below = above > 0 ? above - 1 : 0;
    return x - table[below] <= table[above] - x ? below : above;
}

KERNEL(adamw_8bit, AdamW, BLOCK) {
    SHARED(raw);
    float* const tables = (float*)raw;
    float* const scratch = tables + 2 * BLOCK;
    tables[threadIdx.x] = p.tables[threadIdx.x];
    tables[BLOCK + threadIdx.x] = p.tables[BLOCK + threadIdx.x];
    __syncthreads();
    const u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x;
    const bool inside = i < p.len;
    float m = 0.0f, v = 0.0f;
    if (inside) {
        const float g = p.grad[i] * p.grad_scale;
        m = p.beta1 * (tables[p.m[i]] * p.m_scales[blockIdx.x]) + p.one_minus_beta1 * g;
        v = p.beta2 * (tables[BLOCK + p.v[i]] * p.v_scales[blockIdx.x]) + p.one_minus_beta2 * g * g;
        const float param = p.param[i] * p.decay - p.lr * (m / p.correct1) / (sqrtf(v / p.correct2) + p.eps);
        p.param[i] = param;
        if (p.copy) p.copy[i] = to_bf16(param);
    }
    // Both barriers lie behind the reads of the old scales.
    const float m_scale = block_max(fabsf(m), scratch), v_scale = block_max(v, scratch + BLOCK / WARP);
    if (inside) {
        p.m[i] = (u8)nearest(tables, m_scale > 0.0f ? m / m_scale : 0.0f);
        const u32 code = nearest(tables + BLOCK, v_scale > 0.0f ? v / v_scale : 0.0f);
        // A second moment above 0 is not stored as 0, the first value of its map.
        p.v[i] = (u8)(code == 0 && v > 0.0f ? 1 : code);
    }
    if (threadIdx.x == 0) {
        p.m_scales[blockIdx.x] = m_scale;
        p.v_scales[blockIdx.x] = v_scale;
    }
}
