// A bias added to the rows of a bf16 matrix [T, WIDTH], and its gradient; contract in mod.rs.
//
// WIDTH    C, a multiple of 8
// THREADS  of a block
// ROWS     rows of one partial sum of the gradient

constexpr u32 PLACES = WIDTH / 8;

struct Forward {
    const bf16* bias;
    bf16* y;
    // T · PLACES: each thread takes eight columns of a row
    u64 jobs;
};

KERNEL(bias_forward, Forward, THREADS) {
    const u64 job = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (job >= p.jobs) return;
    float bias[8], y[8];
    load8(bias, p.bias + (u32)(job % PLACES) * 8);
    load8(y, p.y + job * 8);
    UNROLL
    for (int i = 0; i < 8; i++) y[i] += bias[i];
    store8(p.y + job * 8, y);
}

struct Backward {
    const bf16* dy;
    // [gridDim.y, WIDTH]
    float* partial;
    u64 rows;
};

// Σ dy over ROWS rows, eight columns a thread.
KERNEL(bias_backward, Backward, THREADS) {
    const u32 place = blockIdx.x * THREADS + threadIdx.x;
    if (place >= PLACES) return;
    const u64 end = smaller(p.rows, ((u64)blockIdx.y + 1) * ROWS);
    float sum[8] = {};
    for (u64 row = (u64)blockIdx.y * ROWS; row < end; row++) {
        float dy[8];
        load8(dy, p.dy + row * WIDTH + place * 8);
        UNROLL
        for (int i = 0; i < 8; i++) sum[i] += dy[i];
    }
    store8(p.partial + (u64)blockIdx.y * WIDTH + place * 8, sum);
}

struct Reduce {
    const float* partial;
    float* dbias;
    u64 parts;
};

// dbias += the partial sums, in their order.
KERNEL(bias_reduce, Reduce, THREADS) {
    const u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= WIDTH) return;
    float sum = 0.0f;
    for (u64 part = 0; part < p.parts; part++) sum += p.partial[part * WIDTH + column];
    p.dbias[column] += sum;
}
