// Dropout in bf16; what is kept is a function of seed and index alone, as in mod.rs.
//
// THREADS  of a block
// ADD      1: y += mask · x.  0: y = mask · x

struct Dropout {
    const bf16* x;
    bf16* y;
    // Numbers, a multiple of 8: each thread takes eight
    u64 len;
    u64 seed;
    // Draws below it are left out; what is kept is multiplied by `factor`
    u32 threshold;
    float factor;
};

// The upper half of splitmix64's draw `index`.
DEVICE u32 drawn(u64 seed, u64 index) {
    u64 z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (u32)((z ^ (z >> 31)) >> 32);
}

KERNEL(dropout, Dropout, THREADS) {
    const u64 at = ((u64)blockIdx.x * THREADS + threadIdx.x) * 8;
    if (at >= p.len) return;
    float x[8], y[8] = {};
    load8(x, p.x + at);
    if (ADD) load8(y, p.y + at);
    UNROLL
    for (int i = 0; i < 8; i++) y[i] += drawn(p.seed, at + i) >= p.threshold ? x[i] * p.factor : 0.0f;
    store8(p.y + at, y);
}
