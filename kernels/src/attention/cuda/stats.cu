// What the backward pass needs of each query and head besides tensors: the log-sum-exp times log₂e, +∞ where the query sees
// nothing (its probabilities come out as 0), and Σ out · dout (Dao 2023, FlashAttention-2, algorithm 2, line 4).
//
// HEAD_DIM  D, a multiple of 16
// WARPS     of a block

constexpr u32 PLACES = HEAD_DIM / 8;
// Lanes that share a row: the power of two that holds its 16-byte places.
constexpr u32 LANES = PLACES <= 2 ? 2 : PLACES <= 4 ? 4 : PLACES <= 8 ? 8 : 16;

struct Stats {
    const bf16* out;
    const bf16* dout;
    const float* lse;
    // [H, padded queries], zeros behind the last query
    float2* stats;
    u32 queries, heads;
    u64 padded;
};

KERNEL(attention_stats, Stats, WARPS * WARP) {
    const u64 row = ((u64)blockIdx.x * (WARPS * WARP) + threadIdx.x) / LANES, query = row / p.heads;
    const u32 place = threadIdx.x % LANES, head = (u32)(row % p.heads);
    float sum = 0.0f;
    if (query < p.queries && place < PLACES) {
        float out[8], dout[8];
        load8(out, p.out + row * HEAD_DIM + place * 8);
        load8(dout, p.dout + row * HEAD_DIM + place * 8);
        UNROLL
        for (int i = 0; i < 8; i++) sum += out[i] * dout[i];
    }
    UNROLL
    for (u32 distance = LANES / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, distance);
    if (query >= p.padded || place > 0) return;
    const float lse = query < p.queries ? p.lse[row] : 0.0f;
    float2 stats;
    stats.x = lse == minus_infinity() ? -minus_infinity() : lse * LOG2_E;
    stats.y = sum;
    p.stats[head * p.padded + query] = stats;
}
