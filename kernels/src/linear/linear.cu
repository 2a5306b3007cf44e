// One product of bf16 matrices with f32 sums, a thread for each number of the result: what a library's product is held to, and
// what the emulation runs. Contract in cuda.rs.
//
// THREADS  of a block
// FLOAT    1 where the result is f32, else it is bf16

struct Product {
    const bf16* a;
    const bf16* b;
    void* c;
    u64 rows, columns, inner;
    // Numbers from a row of a to the next, and from one term of a sum to the next
    u64 a_row, a_inner;
    u64 b_inner, b_column;
    u64 c_row;
    float scale;
    u32 add;
};

KERNEL(product, Product, THREADS) {
    const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (at >= p.rows * p.columns) return;
    const u64 row = at / p.columns, column = at % p.columns;
    const bf16* a = p.a + row * p.a_row;
    const bf16* b = p.b + column * p.b_column;
    float sum = 0.0f;
    for (u64 i = 0; i < p.inner; i++) {
        sum += to_float(*a) * to_float(*b);
        a += p.a_inner;
        b += p.b_inner;
    }
    sum *= p.scale;
#if FLOAT
    float* const c = (float*)p.c + row * p.c_row + column;
    *c = p.add ? *c + sum : sum;
#else
    bf16* const c = (bf16*)p.c + row * p.c_row + column;
    *c = to_bf16(p.add ? to_float(*c) + sum : sum);
#endif
}
