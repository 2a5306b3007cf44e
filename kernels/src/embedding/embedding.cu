// Rows of a bf16 table [V, HIDDEN] looked up, and their gradients added to an f32 one; contract in mod.rs.
//
// HIDDEN   C, a multiple of 8
// THREADS  of a block

struct Forward {
    const u32* tokens;
    const bf16* table;
    bf16* x;
};

// One block a row.
KERNEL(embedding_forward, Forward, THREADS) {
    const uint4* from = (const uint4*)(p.table + (u64)p.tokens[blockIdx.x] * HIDDEN);
    uint4* to = (uint4*)(p.x + (u64)blockIdx.x * HIDDEN);
    for (u32 i = threadIdx.x; i < HIDDEN / 8; i += THREADS) to[i] = from[i];
}

struct Backward {
    // Distinct tokens; the rows of the i-th are rows[first[i] .. first[i + 1]], ascending
    const u32* tokens;
    const u32* first;
    const u32* rows;
    const bf16* dx;
    float* dtable;
};

// One block a distinct token, so that no two write to a row and its sum has one order.
KERNEL(embedding_backward, Backward, THREADS) {
    float* to = p.dtable + (u64)p.tokens[blockIdx.x] * HIDDEN;
    const u32 begin = p.first[blockIdx.x], end = p.first[blockIdx.x + 1];
    for (u32 i = threadIdx.x * 8; i < HIDDEN; i += THREADS * 8) {
        float sum[8];
        load8(sum, to + i);
        for (u32 at = begin; at < end; at++) {
            float dx[8];
            load8(dx, p.dx + (u64)p.rows[at] * HIDDEN + i);
            UNROLL
            for (int j = 0; j < 8; j++) sum[j] += dx[j];
        }
        store8(to + i, sum);
    }
}
