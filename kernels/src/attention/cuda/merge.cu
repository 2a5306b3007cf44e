// Attentions of the same queries over different keys, joined by their log-sum-exps; contract in ../merge.rs.
//
// HEAD_DIM  D, a multiple of 16
// WARPS     of a block

constexpr u32 PLACES = HEAD_DIM / 8;
// Lanes that share a row: the power of two that holds its 16-byte places.
constexpr u32 LANES = PLACES <= 2 ? 2 : PLACES <= 4 ? 4 : PLACES <= 8 ? 8 : 16;
constexpr u32 THREADS = WARPS * WARP;

// This thread's row of [queries · H] and its columns.
DEVICE u64 row_of_thread() {
    return ((u64)blockIdx.x * THREADS + threadIdx.x) / LANES;
}

DEVICE u32 column_of_thread() {
    return threadIdx.x % LANES * 8;
}

struct Combine {
    // [parts, rows, D] and [parts, rows]
    const float* outs;
    const float* lses;
    bf16* out;
    float* lse;
    u64 rows;
    u64 parts;
};

// The parts of a split call, in their order.
KERNEL(attention_combine, Combine, THREADS) {
    const u64 row = row_of_thread();
    const u32 column = column_of_thread();
    if (row >= p.rows || column >= HEAD_DIM) return;
    float largest = minus_infinity();
    for (u64 part = 0; part < p.parts; part++) largest = fmaxf(largest, p.lses[part * p.rows + row]);
    const float shift = largest == minus_infinity() ? 0.0f : largest;
    float total = 0.0f, out[8] = {};
    for (u64 part = 0; part < p.parts; part++) {
        const float share = exp2_fast((p.lses[part * p.rows + row] - shift) * LOG2_E);
        float of_part[8];
        load8(of_part, p.outs + (part * p.rows + row) * HEAD_DIM + column);
        total += share;
        UNROLL
        for (int i = 0; i < 8; i++) out[i] += share * of_part[i];
    }
    UNROLL
    for (int i = 0; i < 8; i++) out[i] = total == 0.0f ? 0.0f : out[i] / total;
    store8(p.out + row * HEAD_DIM + column, out);
    if (column == 0) p.lse[row] = total == 0.0f ? minus_infinity() : shift + log2_fast(total) * LN_2;
}

struct Merge {
    bf16* out;
    float* lse;
    const bf16* other_out;
    const float* other_lse;
    u64 rows;
};

// Two attentions, into the first.
KERNEL(attention_merge, Merge, THREADS) {
    const u64 row = row_of_thread();
    const u32 column = column_of_thread();
    const bool inside = row < p.rows && column < HEAD_DIM;
    float shift = 0.0f, mine = 0.0f, theirs = 0.0f;
    if (inside) {
        const float lse = p.lse[row], other = p.other_lse[row], largest = fmaxf(lse, other);
        shift = largest == minus_infinity() ? 0.0f : largest;
        mine = exp2_fast((lse - shift) * LOG2_E);
        theirs = exp2_fast((other - shift) * LOG2_E);
    }
    const float total = mine + theirs;
    // Every lane of the row has read the log-sum-exp before one of them writes it.
    __syncwarp();
    if (!inside || total == 0.0f) return;
    float out[8], other[8];
    load8(out, p.out + row * HEAD_DIM + column);
    load8(other, p.other_out + row * HEAD_DIM + column);
    UNROLL
    for (int i = 0; i < 8; i++) out[i] = (out[i] * mine + other[i] * theirs) / total;
    store8(p.out + row * HEAD_DIM + column, out);
    if (column == 0) p.lse[row] = shift + log2_fast(total) * LN_2;
}
