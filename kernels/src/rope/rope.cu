// Rotary position embedding in place on [T, heads, 2 · HALF] in bf16; contract in mod.rs.
//
// HALF     D ÷ 2, a multiple of 8
// THREADS  of a block

struct Rope {
    bf16* x;
    // [T, HALF]
    const float* cos;
    const float* sin;
    // T · heads · HALF ÷ 8: each thread turns eight pairs
    u64 jobs;
    u32 heads;
    // 1 forward, −1 backward
    float sign;
};

KERNEL(rope, Rope, THREADS) {
    const u64 job = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (job >= p.jobs) return;
    const u32 pair = (u32)(job % (HALF / 8)) * 8;
    const u64 head = job / (HALF / 8);
    const u64 table = head / p.heads * HALF + pair;
    bf16* first = p.x + head * (2 * HALF) + pair;
    float a[8], b[8], cos[8], sin[8];
    load8(a, first);
    load8(b, first + HALF);
    load8(cos, p.cos + table);
    load8(sin, p.sin + table);
    float turned_a[8], turned_b[8];
    UNROLL
    for (int i = 0; i < 8; i++) {
        turned_a[i] = a[i] * cos[i] - b[i] * (sin[i] * p.sign);
        turned_b[i] = b[i] * cos[i] + a[i] * (sin[i] * p.sign);
    }
    store8(first, turned_a);
    store8(first + HALF, turned_b);
}
