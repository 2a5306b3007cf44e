// RMSNorm of rows [T, HIDDEN] in bf16, one block a row; contract in mod.rs.
//
// HIDDEN   C, a multiple of 8
// THREADS  of a block

constexpr u32 VECTORS = (HIDDEN / 8 + THREADS - 1) / THREADS;

struct Forward {
    const bf16* x;
    const bf16* weight;
    bf16* y;
    float eps;
    u32 rows;
};

// The row stays in registers between its two uses, so that it is read once.
struct Row {
    float values[VECTORS][8];
};

DEVICE bool inside(u32 vector) {
    return vector * THREADS + threadIdx.x < HIDDEN / 8;
}

DEVICE u32 column(u32 vector) {
    return (vector * THREADS + threadIdx.x) * 8;
}

DEVICE void load_row(Row& row, const bf16* from) {
    UNROLL
    for (u32 i = 0; i < VECTORS; i++) {
        if (inside(i)) {
            load8(row.values[i], from + column(i));
        } else {
            UNROLL
            for (int j = 0; j < 8; j++) row.values[i][j] = 0.0f;
        }
    }
}

DEVICE float dot(const Row& a, const Row& b) {
    float sum = 0.0f;
    UNROLL
    for (u32 i = 0; i < VECTORS; i++) {
        UNROLL
        for (int j = 0; j < 8; j++) sum += a.values[i][j] * b.values[i][j];
    }
    return sum;
}

DEVICE float inverse_rms(float squares, float eps) {
    return 1.0f / sqrtf(squares / (float)HIDDEN + eps);
}

KERNEL(rms_norm_forward, Forward, THREADS) {
    SHARED(scratch);
    const u64 at = (u64)blockIdx.x * HIDDEN;
    Row x, weight;
    load_row(x, p.x + at);
    load_row(weight, p.weight);
    const float inv = inverse_rms(block_sum<THREADS>(dot(x, x), (float*)scratch), p.eps);
    UNROLL
    for (u32 i = 0; i < VECTORS; i++) {
        float y[8];
        UNROLL
        for (int j = 0; j < 8; j++) y[j] = x.values[i][j] * inv * weight.values[i][j];
        if (inside(i)) store8(p.y + at + column(i), y);
    }
}

struct Backward {
    const bf16* x;
    const bf16* weight;
    const bf16* dy;
    bf16* dx;
    // [blocks, HIDDEN], or null where the weight is frozen
    float* partial;
    float eps;
    u32 rows;
    // Of a block: as many make one partial sum of dweight.
    u32 block_rows;
    u32 unused;
};

// dx += inv · (dy · w) − x · inv³ · Σ(dy · w · x) ÷ C; dweight's partial sum of these rows is Σ dy · x · inv.
KERNEL(rms_norm_backward, Backward, THREADS) {
    SHARED(scratch);
    Row weight, dweight = {};
    load_row(weight, p.weight);
    const u64 end = smaller(p.rows, ((u64)blockIdx.x + 1) * p.block_rows);
    for (u64 row = (u64)blockIdx.x * p.block_rows; row < end; row++) {
        const u64 at = row * HIDDEN;
        Row x, dy, weighted;
        load_row(x, p.x + at);
        load_row(dy, p.dy + at);
        UNROLL
        for (u32 i = 0; i < VECTORS; i++) {
            UNROLL
            for (int j = 0; j < 8; j++) weighted.values[i][j] = dy.values[i][j] * weight.values[i][j];
        }
        // Two places for two sums: the barrier of each keeps the other's next one from overtaking it.
        const float inv = inverse_rms(block_sum<THREADS>(dot(x, x), (float*)scratch), p.eps);
        const float sum = block_sum<THREADS>(dot(weighted, x), (float*)scratch + THREADS / WARP);
        const float back = -inv * inv * inv * sum / (float)HIDDEN;
        UNROLL
        for (u32 i = 0; i < VECTORS; i++) {
            float dx[8];
            if (inside(i)) load8(dx, p.dx + at + column(i));
            UNROLL
            for (int j = 0; j < 8; j++) {
                if (inside(i)) dx[j] += weighted.values[i][j] * inv + x.values[i][j] * back;
                dweight.values[i][j] += dy.values[i][j] * x.values[i][j] * inv;
            }
            if (inside(i)) store8(p.dx + at + column(i), dx);
        }
    }
    if (!p.partial) return;
    UNROLL
    for (u32 i = 0; i < VECTORS; i++) {
        if (inside(i)) store8(p.partial + (u64)blockIdx.x * HIDDEN + column(i), dweight.values[i]);
    }
}

struct Reduce {
    const float* partial;
    float* dweight;
    u64 blocks;
};

// dweight += the partial sums, in their order.
KERNEL(rms_norm_reduce, Reduce, THREADS) {
    const u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= HIDDEN) return;
    float sum = 0.0f;
    for (u64 block = 0; block < p.blocks; block++) sum += p.partial[block * HIDDEN + column];
    p.dweight[column] += sum;
}
