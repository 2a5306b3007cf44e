// What the attention kernels share: tiles in shared memory, fragments, products, masks, the walk over visible tiles.
//
// HEAD_DIM  D, a multiple of 16
// QUERIES   rows of a query tile
// KEYS      rows of a key tile
// WARPS     of a block
// FRESH     1: a copy works its addresses out anew, so that none is kept in registers beside the accumulators
//
// Fragments are those of mma.m16n8k16 (primitives.cuh): of a 16×8 accumulator c, lane l holds row g = l ÷ 4 in c[0], c[1] and
// row g + 8 in c[2], c[3], in columns 2(l mod 4) and the next. Two accumulators side by side, rounded to bf16, are the first
// operand of the next product (Dao 2023, FlashAttention-2 §3.3).

constexpr u32 THREADS = WARPS * WARP;
// Of a row of a tile. Sixteen bytes more than its numbers take, an odd number of 16-byte places as HEAD_DIM ÷ 16 is whole, so
// that the eight rows of one ldmatrix phase lie in different banks.
constexpr u32 STRIDE = HEAD_DIM + 8;
// 16-column steps of a product over HEAD_DIM, and 8-column accumulators of a row of it.
constexpr u32 STEPS = HEAD_DIM / 16;
constexpr u32 COLUMNS = HEAD_DIM / 8;

// ---- who sees whom (lists.rs)

// The keys a query sees: those of `near`, and of `far` those in strips of `len` every `step`, the first of which begins
// `before` keys before `far_from`. Without strips `len` and `step` are NO_STRIPS.
struct Seen {
    u32 near_from, near_to, far_from, far_to, before, len, step, unused;
};

constexpr u32 NO_STRIPS = 0xffffffffu;

DEVICE bool sees(const Seen& seen, u32 key) {
    const u32 in_near = key - seen.near_from, in_far = key - seen.far_from;
    bool far = in_far < seen.far_to - seen.far_from;
    if (far && seen.step != NO_STRIPS) far = (in_far + seen.before) % seen.step < seen.len;
    return in_near < seen.near_to - seen.near_from || far;
}

DEVICE Seen load_seen(const Seen* from) {
    const uint4 first = ((const uint4*)from)[0], second = ((const uint4*)from)[1];
    return {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
}

// `count` tiles of `len & ~MASKED` rows, the first at row `at`, one every `step` rows.
struct Run {
    u32 at, step, count, len;
};

// Marks the length of tiles in which some pair is not visible, or that are shorter than a whole one.
constexpr u32 MASKED = 0x80000000u;

// `len & ~MASKED` rows from row `at` on; a length of 0 ends a walk.
struct Tile {
    u32 at, len;

    DEVICE_MEMBER u32 rows() const {
        return len & ~MASKED;
    }
    DEVICE_MEMBER bool masked() const {
        return (len & MASKED) != 0;
    }
};

// The tiles of some runs, one after the other. It lies in shared memory and one thread moves it on, since the registers it
// would take in every thread are those that the accumulators leave over.
struct Walk {
    const Run* run;
    // Tiles of this run that were given, and tiles left in all.
    u32 given, left;
    // The tile that is worked on and the next, in turns.
    Tile tiles[2];

    // The part `part` of `parts` of the tiles of `count` runs.
    DEVICE_MEMBER void start(const Run* runs, u32 count, u32 part, u32 parts) {
        u32 all = 0;
        for (u32 i = 0; i < count; i++) all += runs[i].count;
        const u32 begin = (u32)((u64)all * part / parts);
        run = runs;
        given = begin;
        left = (u32)((u64)all * (part + 1) / parts) - begin;
        while (left > 0 && given >= run->count) {
            given -= run->count;
            run++;
        }
    }

    DEVICE_MEMBER Tile next() {
        if (left == 0) return {0, 0};
        const Run held = *run;
        const Tile tile = {held.at + given * held.step, held.len};
        left--;
        if (++given == held.count) {
            run++;
            given = 0;
        }
        return tile;
    }
};

// ---- what a backward pass knows of each query and head (stats.cu)

// Rows that `rows` take in [heads, padded(rows)], so that every tile of them is whole.
DEVICE u32 padded(u32 rows) {
    return (rows + 127) / 128 * 128;
}

// Those of one head.
DEVICE const float2* stats_of(const float2* stats, u32 head, u32 queries) {
    return stats + (u64)head * padded(queries);
}

// ---- tiles in shared memory

// Starts copying ROWS rows of HEAD_DIM numbers, `stride` numbers apart, those from `valid` on as zeros.
template <u32 ROWS>
DEVICE void copy_tile(bf16* tile, const bf16* from, u32 stride, u32 valid) {
    constexpr u32 PLACES = HEAD_DIM / 8;
    if constexpr (THREADS % PLACES == 0) {
        // Every thread keeps its column and goes down in equal steps: one address on each side. Four rows at a time, since the
        // addresses of all would lie in registers beside the accumulators.
        constexpr u32 STEP = THREADS / PLACES;
        const u32 thread = FRESH ? thread_again() : threadIdx.x;
        const u32 row = thread / PLACES, place = thread % PLACES * 8;
        const bf16* source = from + (u64)row * stride + place;
        bf16* const to = tile + row * STRIDE + place;
        _Pragma("unroll 4")
        for (u32 i = 0; i < ROWS; i += STEP) {
            if (ROWS % STEP == 0 || row + i < ROWS) copy_async(to + i * STRIDE, source, row + i < valid);
            source += STEP * stride;
        }
    } else {
        for (u32 i = threadIdx.x; i < ROWS * PLACES; i += THREADS) {
            const u32 row = i / PLACES, place = i % PLACES * 8;
            copy_async(tile + row * STRIDE + place, from + (u64)row * stride + place, row < valid);
        }
    }
}

// Operands are 16×16 squares of a tile whose rows are WIDTH apart, taken from a lane's place in the first of them: from square to
// square the address grows by a constant, which the load instruction holds.

// The place for a square as the first operand, through `ldmatrix`, and for one as two second operands, 16×8 each, whose rows are
// summed over, through `ldmatrix_transposed`: b[0], b[1] and b[2], b[3].
template <u32 WIDTH = STRIDE>
DEVICE const bf16* place_in_rows(const bf16* tile) {
    const u32 lane = (FRESH ? thread_again() : threadIdx.x) % WARP;
    return tile + (lane % 16 * WIDTH + lane / 16 * 8);
}

// The place for a square as two second operands whose columns are summed over, through `ldmatrix`, and for one as a first operand
// of which the transpose is meant, through `ldmatrix_transposed`.
template <u32 WIDTH = STRIDE>
DEVICE const bf16* place_in_columns(const bf16* tile) {
    const u32 lane = (FRESH ? thread_again() : threadIdx.x) % WARP;
    return tile + ((lane / 16 * 8 + lane % 8) * WIDTH + lane / 8 % 2 * 8);
}

// From one square to another.
template <u32 WIDTH = STRIDE>
DEVICE constexpr u32 square(u32 down, u32 right) {
    return down * 16 * WIDTH + right * 16;
}

// ---- products

template <u32 TILES, u32 ACCUMULATORS>
DEVICE void zero(float (&c)[TILES][ACCUMULATORS][4]) {
    UNROLL
    for (u32 i = 0; i < TILES; i++) {
        UNROLL
        for (u32 j = 0; j < ACCUMULATORS; j++) {
            UNROLL
            for (u32 e = 0; e < 4; e++) c[i][j][e] = 0.0f;
        }
    }
}

// c = a · bᵀ: rows `row`.. of tile a, 16 for each of TILES, and all 8 · ACCUMULATORS rows of tile b.
template <u32 TILES, u32 ACCUMULATORS>
DEVICE void scores(float (&c)[TILES][ACCUMULATORS][4], const bf16* a, u32 row, const bf16* b) {
    const bf16* const rows = place_in_rows(a + row * STRIDE);
    const bf16* const columns = place_in_columns(b);
    zero(c);
    UNROLL
    for (u32 step = 0; step < STEPS; step++) {
        u32 first[TILES][4];
        UNROLL
        for (u32 i = 0; i < TILES; i++) ldmatrix(first[i], rows + square(i, step));
        UNROLL
        for (u32 j = 0; j < ACCUMULATORS; j += 2) {
            u32 second[4];
            ldmatrix(second, columns + square(j / 2, step));
            UNROLL
            for (u32 i = 0; i < TILES; i++) {
                mma_bf16(c[i][j], first[i], second[0], second[1]);
                mma_bf16(c[i][j + 1], first[i], second[2], second[3]);
            }
        }
    }
}

// Accumulators rounded to bf16: row g in word 0, row g + 8 in word 1.
template <u32 ACCUMULATORS>
DEVICE void round_scores(u32 (&rounded)[ACCUMULATORS][2], const float (&c)[ACCUMULATORS][4]) {
    UNROLL
    for (u32 j = 0; j < ACCUMULATORS; j++) {
        rounded[j][0] = pack_bf16(c[j][0], c[j][1]);
        rounded[j][1] = pack_bf16(c[j][2], c[j][3]);
    }
}

// Accumulators j and j + 1 as a first operand: rounded here, or before.
template <u32 ACCUMULATORS>
DEVICE void as_first_operand(u32 (&a)[4], const float (&c)[ACCUMULATORS][4], u32 j) {
    a[0] = pack_bf16(c[j][0], c[j][1]);
    a[1] = pack_bf16(c[j][2], c[j][3]);
    a[2] = pack_bf16(c[j + 1][0], c[j + 1][1]);
    a[3] = pack_bf16(c[j + 1][2], c[j + 1][3]);
}

template <u32 ACCUMULATORS>
DEVICE void as_first_operand(u32 (&a)[4], const u32 (&rounded)[ACCUMULATORS][2], u32 j) {
    a[0] = rounded[j][0];
    a[1] = rounded[j][1];
    a[2] = rounded[j + 1][0];
    a[3] = rounded[j + 1][1];
}

// c += p · b: the 8 · ACCUMULATORS columns of p and as many rows of tile b.
template <u32 TILES, u32 ACCUMULATORS, class Number, u32 NUMBERS>
DEVICE void weighted_sum(float (&c)[TILES][COLUMNS][4], const Number (&p)[TILES][ACCUMULATORS][NUMBERS], const bf16* b) {
    const bf16* const rows = place_in_rows(b);
    UNROLL
    for (u32 j = 0; j < ACCUMULATORS; j += 2) {
        u32 first[TILES][4];
        UNROLL
        for (u32 i = 0; i < TILES; i++) as_first_operand(first[i], p[i], j);
        UNROLL
        for (u32 step = 0; step < STEPS; step++) {
            u32 second[4];
            ldmatrix_transposed(second, rows + square(j / 2, step));
            UNROLL
            for (u32 i = 0; i < TILES; i++) {
                mma_bf16(c[i][2 * step], first[i], second[0], second[1]);
                mma_bf16(c[i][2 * step + 1], first[i], second[2], second[3]);
            }
        }
    }
}

// The sum or maximum over the four lanes that hold a row of an accumulator.
DEVICE float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1u);
    return x + __shfl_xor_sync(ALL_LANES, x, 2u);
}

DEVICE float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1u));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2u));
}

// Writes 16 · TILES rows of a warp to global memory as bf16, through the warp's own rows of `tile`, in whole 16-byte places;
// rows from `valid` on stay unwritten.
template <u32 TILES>
DEVICE void store_rows(bf16* to, u32 stride, u32 valid, const float (&c)[TILES][COLUMNS][4], bf16* tile) {
    constexpr u32 PLACES = HEAD_DIM / 8;
    const u32 lane = threadIdx.x % WARP, row = lane / 4, column = lane % 4 * 2;
    UNROLL
    for (u32 i = 0; i < TILES; i++) {
        UNROLL
        for (u32 j = 0; j < COLUMNS; j++) {
            bf16* at = tile + (16 * i + row) * STRIDE + 8 * j + column;
            *(u32*)at = pack_bf16(c[i][j][0], c[i][j][1]);
            *(u32*)(at + 8 * STRIDE) = pack_bf16(c[i][j][2], c[i][j][3]);
        }
    }
    __syncwarp();
    UNROLL
    for (u32 i = lane; i < 16 * TILES * PLACES; i += WARP) {
        const u32 row = i / PLACES, place = i % PLACES * 8;
        if (row < valid) *(uint4*)(to + (u64)row * stride + place) = *(const uint4*)(tile + row * STRIDE + place);
    }
}
