// Sums and copies of bf16 numbers.
//
// THREADS  of a block

struct Add {
    const bf16* from;
    bf16* to;
    // Numbers, a multiple of 8: each thread takes eight
    u64 len;
};

// to += from.
KERNEL(add, Add, THREADS) {
    const u64 at = ((u64)blockIdx.x * THREADS + threadIdx.x) * 8;
    if (at >= p.len) return;
    float from[8], to[8];
    load8(from, p.from + at);
    load8(to, p.to + at);
    UNROLL
    for (int i = 0; i < 8; i++) to[i] += from[i];
    store8(p.to + at, to);
}

struct Columns {
    const bf16* from;
    bf16* to;
    // Numbers from one row to the next
    u64 from_stride, to_stride;
    // Threads that have something to do, and those of a row
    u64 jobs, places;
};

// Some columns of every row, eight a thread.
KERNEL(copy_columns, Columns, THREADS) {
    const u64 job = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (job >= p.jobs) return;
    const u64 row = job / p.places, column = job % p.places * 8;
    *(uint4*)(p.to + row * p.to_stride + column) = *(const uint4*)(p.from + row * p.from_stride + column);
}

// Some columns of every row, one number of 16 bits a thread: for places that are no multiples of 16 bytes.
KERNEL(copy_columns_plain, Columns, THREADS) {
    const u64 job = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (job >= p.jobs) return;
    const u64 row = job / p.places, column = job % p.places;
    p.to[row * p.to_stride + column] = p.from[row * p.from_stride + column];
}
