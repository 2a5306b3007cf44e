// Softmax and cross-entropy over rows of logits, one block a row; the products before and after are GEMMs.
//
// VOCAB    V, a multiple of 8
// THREADS  of a block
//
// Logits [rows, V] are f32. Their gradients take their place as bf16: row r begins where row r of the logits did and is 2 · V
// bf16 numbers from the next, so that a chunk of logits costs its memory once.

struct Rows {
    float* logits;
    const i32* targets;
    float* nll;
    u32* predictions;
    // Columns that stand for a token; the others fill a row up to VOCAB.
    u64 tokens;
    float grad_scale;
    // 0 where no gradient is asked for
    u32 gradients;
};

constexpr i32 IGNORED = -100;
constexpr u32 TILE = THREADS * 8;

// The largest value of some columns, the first column that has it, and Σ exp(value − largest).
struct Running {
    float largest;
    u32 column;
    float sum;
};

DEVICE Running join(const Running& a, const Running& b) {
    // A NaN is never larger, but it is in its sum.
    const bool second = b.largest > a.largest || (b.largest == a.largest && b.column < a.column);
    const float largest = second ? b.largest : a.largest;
    const float shift = largest == minus_infinity() ? 0.0f : largest;
    const float sum = a.sum * exp2_fast((a.largest - shift) * LOG2_E) + b.sum * exp2_fast((b.largest - shift) * LOG2_E);
    return {largest, second ? b.column : a.column, sum};
}

DEVICE Running join_block(Running mine, Running* scratch) {
    UNROLL
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        Running other;
        other.largest = __shfl_xor_sync(ALL_LANES, mine.largest, distance);
        other.column = __shfl_xor_sync(ALL_LANES, mine.column, distance);
        other.sum = __shfl_xor_sync(ALL_LANES, mine.sum, distance);
        mine = join(mine, other);
    }
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = mine;
    __syncthreads();
    Running all = scratch[0];
    for (u32 warp = 1; warp < THREADS / WARP; warp++) all = join(all, scratch[warp]);
    return all;
}

KERNEL(cross_entropy, Rows, THREADS) {
    SHARED(scratch);
    float* const logits = p.logits + (u64)blockIdx.x * VOCAB;
    Running mine = {minus_infinity(), 0xffffffffu, 0.0f};
    for (u32 i = threadIdx.x * 8; i < VOCAB; i += TILE) {
        float x[8];
        load8(x, logits + i);
        float largest = mine.largest;
        UNROLL
        for (int j = 0; j < 8; j++) {
            if (x[j] > largest) {
                largest = x[j];
                mine.column = i + j;
            }
        }
        const float shift = largest == minus_infinity() ? 0.0f : largest;
        mine.sum *= exp2_fast((mine.largest - shift) * LOG2_E);
        UNROLL
        for (int j = 0; j < 8; j++) mine.sum += exp2_fast((x[j] - shift) * LOG2_E);
        mine.largest = largest;
    }
    const Running all = join_block(mine, (Running*)scratch);
    const i32 target = p.targets[blockIdx.x];
    const float lse = all.largest + log2_fast(all.sum) * LN_2;
    if (threadIdx.x == 0) {
        p.predictions[blockIdx.x] = all.column < p.tokens ? all.column : 0;
        p.nll[blockIdx.x] = target == IGNORED ? 0.0f : lse - logits[target];
    }
    if (!p.gradients) return;
    const float scale = target == IGNORED ? 0.0f : p.grad_scale;
    for (u32 begin = 0; begin < VOCAB; begin += TILE) {
        const u32 i = begin + threadIdx.x * 8;
        float x[8];
        if (i < VOCAB) load8(x, logits + i);
        // A tile of gradients covers half of the tile's own logits and none of a later one: all have read theirs, and the
        // target's.
        __syncthreads();
        if (i >= VOCAB) continue;
        UNROLL
        for (int j = 0; j < 8; j++) {
            const float one = i + j == (u32)target ? 1.0f : 0.0f;
            // Not 0 · NaN: an ignored row has no gradient whatever its logits are.
            x[j] = scale == 0.0f ? 0.0f : scale * (exp2_fast((x[j] - lse) * LOG2_E) - one);
        }
        store8((bf16*)logits + i, x);
    }
}
