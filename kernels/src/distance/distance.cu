// Mean squared difference of bf16 rows; contract in mod.rs.
//
// HIDDEN   C, a multiple of 8
// THREADS  of a block

struct Distance {
    const bf16* x;
    const bf16* y;
    const i32* targets;
    float* losses;
    bf16* dx;
    // 2 · grad_scale ÷ C
    float factor;
    u32 rows;
};

constexpr i32 IGNORED = -100;

// One block a row.
KERNEL(distance, Distance, THREADS) {
    SHARED(scratch);
    const u64 row = (u64)blockIdx.x * HIDDEN;
    const bool counts = p.targets[blockIdx.x] != IGNORED;
    float sum = 0.0f;
    for (u32 i = threadIdx.x * 8; i < HIDDEN; i += THREADS * 8) {
        float x[8], y[8];
        load8(x, p.x + row + i);
        load8(y, p.y + row + i);
        UNROLL
        for (int j = 0; j < 8; j++) {
            // Not 0 · NaN: a row that does not count has no gradient whatever it holds.
            const float difference = counts ? x[j] - y[j] : 0.0f;
            sum += difference * difference;
            x[j] = p.factor * difference;
        }
        store8(p.dx + row + i, x);
    }
    sum = block_sum<THREADS>(sum, (float*)scratch);
    if (threadIdx.x == 0) p.losses[blockIdx.x] = sum / HIDDEN;
}
