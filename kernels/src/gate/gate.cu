// Gated heads in bf16; contract in mod.rs.
//
// HEAD_DIM  D, a multiple of 8
// THREADS   of a block
// ROWS      queries of one partial sum of the gates' gradients

struct Forward {
    // [G]
    const float* gates;
    const bf16* full;
    const bf16* stream;
    bf16* out;
    // queries · H · D ÷ 8: each thread takes eight
    u64 jobs;
    u32 heads, group;
};

constexpr u32 PLACES = HEAD_DIM / 8;

KERNEL(gate_forward, Forward, THREADS) {
    const u64 job = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (job >= p.jobs) return;
    const float gate = p.gates[(u32)(job / PLACES % p.heads) / p.group];
    float full[8], stream[8];
    load8(full, p.full + job * 8);
    load8(stream, p.stream + job * 8);
    UNROLL
    for (int i = 0; i < 8; i++) full[i] = gate * full[i] + (1.0f - gate) * stream[i];
    store8(p.out + job * 8, full);
}

struct Backward {
    const float* gates;
    const bf16* full;
    const bf16* stream;
    // Of the mixture; becomes that of full
    bf16* dout;
    bf16* dstream;
    // [blocks along x, G]
    float* partial;
    u64 queries;
    u32 heads, group;
};

// One block a key/value head and ROWS queries.
KERNEL(gate_backward, Backward, THREADS) {
    SHARED(scratch);
    const u32 kv_head = blockIdx.y, kv_heads = gridDim.y;
    const float gate = p.gates[kv_head];
    const u64 begin = (u64)blockIdx.x * ROWS, end = smaller(p.queries, begin + ROWS);
    const u64 jobs = (end - begin) * p.group * PLACES;
    float sum = 0.0f;
    for (u64 job = threadIdx.x; job < jobs; job += THREADS) {
        const u64 head = job / PLACES % p.group + kv_head * p.group, query = begin + job / PLACES / p.group;
        const u64 at = (query * p.heads + head) * HEAD_DIM + job % PLACES * 8;
        float full[8], stream[8], dout[8];
        load8(full, p.full + at);
        load8(stream, p.stream + at);
        load8(dout, p.dout + at);
        float dfull[8], dstream[8];
        UNROLL
        for (int i = 0; i < 8; i++) {
            sum += dout[i] * (full[i] - stream[i]);
            dfull[i] = gate * dout[i];
            dstream[i] = (1.0f - gate) * dout[i];
        }
        store8(p.dout + at, dfull);
        store8(p.dstream + at, dstream);
    }
    sum = block_sum<THREADS>(sum, (float*)scratch);
    if (threadIdx.x == 0) p.partial[(u64)blockIdx.x * kv_heads + kv_head] = sum;
}

struct Reduce {
    const float* partial;
    float* dgates;
    u64 parts;
    u64 kv_heads;
};

// dgates += the partial sums, in their order.
KERNEL(gate_reduce, Reduce, THREADS) {
    const u64 gate = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (gate >= p.kv_heads) return;
    float sum = 0.0f;
    for (u64 part = 0; part < p.parts; part++) sum += p.partial[part * p.kv_heads + gate];
    p.dgates[gate] += sum;
}
