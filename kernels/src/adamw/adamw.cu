// AdamW with f32 states on an f32 master weight, whose bf16 copy is written along; contract in mod.rs.
//
// THREADS  of a block

struct AdamW {
    float* param;
    // bf16 copy that the model computes with, or null
    bf16* copy;
    const float* grad;
    float* m;
    float* v;
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

KERNEL(adamw, AdamW, THREADS) {
    const u64 i = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.len) return;
    const float g = p.grad[i] * p.grad_scale;
    const float m = p.beta1 * p.m[i] + p.one_minus_beta1 * g;
    const float v = p.beta2 * p.v[i] + p.one_minus_beta2 * g * g;
    const float param = p.param[i] * p.decay - p.lr * (m / p.correct1) / (sqrtf(v / p.correct2) + p.eps);
    p.m[i] = m;
    p.v[i] = v;
    p.param[i] = param;
    if (p.copy) p.copy[i] = to_bf16(param);
}

struct Squares {
    const float* x;
    // One sum a block
    double* partial;
    u64 len;
};

// Σ x² of CHUNK numbers a block, each thread's part and then the block's in a fixed order.
KERNEL(squares, Squares, THREADS) {
    SHARED(scratch);
    const u64 begin = (u64)blockIdx.x * CHUNK, end = smaller(p.len, begin + CHUNK);
    double sum = 0.0;
    for (u64 i = begin + threadIdx.x; i < end; i += THREADS) sum += (double)p.x[i] * (double)p.x[i];
    sum = block_sum<THREADS>(sum, (double*)scratch);
    if (threadIdx.x == 0) p.partial[blockIdx.x] = sum;
}

struct Total {
    const double* partial;
    double* total;
    u64 len;
};

// total += the partial sums; one block.
KERNEL(squares_total, Total, THREADS) {
    SHARED(scratch);
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < p.len; i += THREADS) sum += p.partial[i];
    sum = block_sum<THREADS>(sum, (double*)scratch);
    if (threadIdx.x == 0) *p.total += sum;
}
