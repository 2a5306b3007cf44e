// The gradients of backward.cuh with mma.sync.
//
// Tensor cores wait for shared memory first, so warps are laid out for few bytes read a product of 16×8×16:
//   S, dP   64×128   2×4 warps of 32×32     2 + 2 matrices for 8 products     256 bytes
//   dV, dK  128×D    4×2 warps of 32×D/2    2 + 4 for 16, at D = 128          192
//   dQ      64×D     2×4 warps of 32×D/4    2 + 2 for 8                       256
// 230 on average and 13 to write P and dS, where 16 rows a warp and P in registers would read 281. dK and dV take 128 registers
// of a thread, scores and dP another 48: one block of eight warps a multiprocessor. A block of 64 keys would read no more, but
// add to dQ twice as often.

struct Backward : Gradients {
    const bf16* q;
    const bf16* k;
    const bf16* v;
    const bf16* dout;
};

// Of a row of P and dS, queries by keys: as STRIDE, in different banks.
constexpr u32 PAIR_STRIDE = KEYS + 8;
constexpr u32 QUERY_WARPS = QUERIES / 32, KEY_WARPS = KEYS / 32;
static_assert(QUERY_WARPS * KEY_WARPS == WARPS, "32 queries and 32 keys a warp");
static_assert(QUERIES <= THREADS, "a thread a query");
// Warps beside each other, and 16-column steps of each, in dK and dV and in dQ.
constexpr u32 KEY_PARTS = WARPS / KEY_WARPS, QUERY_PARTS = WARPS / QUERY_WARPS;
constexpr u32 KEY_STEPS = (STEPS + KEY_PARTS - 1) / KEY_PARTS, QUERY_STEPS = (STEPS + QUERY_PARTS - 1) / QUERY_PARTS;
// Whether a warp has a column step; some have none where HEAD_DIM is no multiple of theirs.
template <u32 PARTS>
DEVICE bool has_step(u32 step) {
    return STEPS % PARTS == 0 || step < STEPS;
}

// The query tiles and, in turns, the one that is worked on and the next.
struct Turns {
    Heads heads;
    HeadTile turns[2];
};

// Which of this lane's pairs are visible: bit 16 · i + 4 · j + e for number e of accumulator j of rows 16 · i.
DEVICE u32 visible_pairs(const Tile& tile, const Seen* seen, u32 row, u32 key, u32 keys) {
    const u32 lane = thread_again() % WARP;
    u32 bits = 0;
    _Pragma("unroll 1")
    for (u32 i = 0; i < 4; i++) {
        const u32 query = row + 8 * i + lane / 4;
        if (query >= tile.rows()) continue;
        const Seen mine = load_seen(seen + tile.at + query);
        _Pragma("unroll 1")
        for (u32 j = 0; j < 8; j++) {
            const u32 at = key + 8 * (j / 2) + lane % 4 * 2 + j % 2;
            if (at < keys && sees(mine, at)) bits |= 1u << (16 * (i / 2) + 4 * (j / 2) + 2 * (i % 2) + j % 2);
        }
    }
    return bits;
}

// Starts copying a tile of one head's queries, if there is one.
DEVICE void copy_queries(bf16* to, const bf16* from, const HeadTile& next, u32 heads) {
    const u32 stride = heads * HEAD_DIM;
    if (next.tile.len == 0) return;
    copy_tile<QUERIES>(to, from + ((u64)next.tile.at * stride + next.head * HEAD_DIM), stride, next.tile.rows());
}

DEVICE void copy_stats(float2* to, const Backward& p, const HeadTile& next) {
    const u32 row = thread_again();
    if (next.tile.len == 0 || row >= QUERIES) return;
    copy_async8(to + row, stats_of(p.stats, next.head, p.queries) + next.tile.at + row, true);
}

// Scores become probabilities; `now` holds the numbers of a lane's rows g, g + 8, g + 16 and g + 24.
DEVICE void probabilities(float (&c)[2][4][4], const float2* now, u32 bits, float scale_log2) {
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        UNROLL
        for (u32 half = 0; half < 2; half++) {
            const float lse = now[16 * i + 8 * half].x;
            UNROLL
            for (u32 j = 0; j < 4; j++) {
                UNROLL
                for (u32 e = 2 * half; e < 2 * half + 2; e++) {
                    const float chance = exp2_fast(c[i][j][e] * scale_log2 - lse);
                    c[i][j][e] = bits >> (16 * i + 4 * j + e) & 1 ? chance : 0.0f;
                }
            }
        }
    }
}

// dS = P · (dP − Σ out · dout), rounded, in the place of P.
DEVICE void score_gradients(u32 (&chances)[2][4][2], const float (&dp)[2][4][4], const float2* now) {
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        UNROLL
        for (u32 half = 0; half < 2; half++) {
            const float delta = now[16 * i + 8 * half].y;
            UNROLL
            for (u32 j = 0; j < 4; j++) {
                const u32 word = chances[i][j][half];
                const float low = low_half(word) * (dp[i][j][2 * half] - delta);
                chances[i][j][half] = pack_bf16(low, high_half(word) * (dp[i][j][2 * half + 1] - delta));
            }
        }
    }
}

// Rounded pairs of a warp, queries by keys, to shared memory.
DEVICE void store_pairs(bf16* tile, const u32 (&pairs)[2][4][2]) {
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        UNROLL
        for (u32 j = 0; j < 4; j++) {
            bf16* const at = tile + (16 * i + lane / 4) * PAIR_STRIDE + 8 * j + lane % 4 * 2;
            *(u32*)at = pairs[i][j][0];
            *(u32*)(at + 8 * PAIR_STRIDE) = pairs[i][j][1];
        }
    }
}

// c += p · b, or pᵀ · b: 32 rows of the first by the column steps of b from `step` on, summed over ROWS rows of b.
template <bool TRANSPOSED, u32 ROWS, u32 PARTS, u32 ACCUMULATORS>
DEVICE void add_product(float (&c)[2][ACCUMULATORS][4], const bf16* p, const bf16* b, u32 step) {
    const bf16* const pairs = TRANSPOSED ? place_in_columns<PAIR_STRIDE>(p) : place_in_rows<PAIR_STRIDE>(p);
    const bf16* const rows = place_in_rows(b + 16 * step);
    UNROLL
    for (u32 row = 0; row < ROWS / 16; row++) {
        u32 first[2][4];
        UNROLL
        for (u32 i = 0; i < 2; i++) {
            if (TRANSPOSED) {
                ldmatrix_transposed(first[i], pairs + square<PAIR_STRIDE>(row, i));
            } else {
                ldmatrix(first[i], pairs + square<PAIR_STRIDE>(i, row));
            }
        }
        UNROLL
        for (u32 j = 0; j < ACCUMULATORS / 2; j++) {
            if (!has_step<PARTS>(step + j)) continue;
            u32 second[4];
            ldmatrix_transposed(second, rows + square(row, j));
            UNROLL
            for (u32 i = 0; i < 2; i++) {
                mma_bf16(c[i][2 * j], first[i], second[0], second[1]);
                mma_bf16(c[i][2 * j + 1], first[i], second[2], second[3]);
            }
        }
    }
}

// c += pᵀ · b: 32 keys from `key` on.
DEVICE void add_to_keys(float (&c)[2][2 * KEY_STEPS][4], const bf16* p, u32 key, const bf16* b, u32 step) {
    add_product<true, QUERIES, KEY_PARTS>(c, p + key, b, step);
}

// Rows g and g + 8 of one of the sums.
DEVICE void load_fragment(float (&rows)[2][8], const float* sum, u32 g) {
    UNROLL
    for (u32 part = 0; part < 4; part++) {
        const float4 four = ((const float4*)sum)[ADDS_FOUR ? 4 * g + part : 8 * part + g];
        const float numbers[4] = {four.x, four.y, four.z, four.w};
        UNROLL
        for (u32 i = 0; i < 4; i++) {
            // Number e of lane 4 · g + t is row g + 8 · (e ÷ 2), column 2 · t + e mod 2.
            const u32 e = ADDS_FOUR ? i : part, t = ADDS_FOUR ? part : i;
            rows[e / 2][2 * t + e % 2] = numbers[i];
        }
    }
}

// dS · K, 32 queries from `query` on by the column steps from `step` on, added to the sums of a query tile and head.
DEVICE void add_to_queries(float* sums, const bf16* ds, u32 query, const bf16* k, u32 step) {
    float c[2][2 * QUERY_STEPS][4];
    zero(c);
    add_product<false, KEYS, QUERY_PARTS>(c, ds + query * PAIR_STRIDE, k, step);
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        UNROLL
        for (u32 j = 0; j < 2 * QUERY_STEPS; j++) {
            if (!has_step<QUERY_PARTS>(step + j / 2)) continue;
            add_fragment(sums + ((query / 16 + i) * COLUMNS + 2 * step + j) * FRAGMENT, threadIdx.x % WARP, c[i][j]);
        }
    }
}

// Puts a warp's columns of 32 keys, times `scale`, into a tile.
DEVICE void put_keys(bf16* tile, const float (&c)[2][2 * KEY_STEPS][4], u32 step, float scale) {
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        UNROLL
        for (u32 j = 0; j < 2 * KEY_STEPS; j++) {
            if (!has_step<KEY_PARTS>(step + j / 2)) continue;
            bf16* const at = tile + (16 * i + lane / 4) * STRIDE + 16 * step + 8 * j + lane % 4 * 2;
            *(u32*)at = pack_bf16(c[i][j][0] * scale, c[i][j][1] * scale);
            *(u32*)(at + 8 * STRIDE) = pack_bf16(c[i][j][2] * scale, c[i][j][3] * scale);
        }
    }
}

// Writes the first `valid` rows of a tile to global memory.
DEVICE void store_keys(bf16* to, u32 stride, u32 valid, const bf16* tile) {
    constexpr u32 PLACES = HEAD_DIM / 8;
    for (u32 i = threadIdx.x; i < valid * PLACES; i += THREADS) {
        const u32 row = i / PLACES, place = i % PLACES * 8;
        *(uint4*)(to + (u64)row * stride + place) = *(const uint4*)(tile + row * STRIDE + place);
    }
}

KERNEL_RESIDENT(attention_backward, Backward, THREADS, BLOCKS) {
    SHARED(raw);
    bf16* const k_tile = (bf16*)raw;
    bf16* const v_tile = k_tile + KEYS * STRIDE;
    bf16* const dout_tile = v_tile + KEYS * STRIDE;
    // Of this turn and of the next.
    bf16* const q_tiles = dout_tile + QUERIES * STRIDE;
    bf16* const p_tile = q_tiles + 2 * QUERIES * STRIDE;
    bf16* const ds_tile = p_tile + QUERIES * PAIR_STRIDE;
    float2* const stats = (float2*)(ds_tile + QUERIES * PAIR_STRIDE);
    Turns* const queue = (Turns*)(stats + 2 * QUERIES);

    const u32 kv_head = p.kv_head + blockIdx.y;
    const u32 key = blockIdx.x * KEYS, rows = p.keys - key < KEYS ? p.keys - key : KEYS;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    // Scores and dQ by queries and keys or columns, dK and dV by keys and columns.
    const u32 warp_query = warp / KEY_WARPS * 32, warp_key = warp % KEY_WARPS * 32;
    const u32 key_step = warp / KEY_WARPS * KEY_STEPS, query_step = warp % QUERY_PARTS * QUERY_STEPS;
    const u32 key_stride = p.heads / p.group * HEAD_DIM;
    const u64 key_place = (u64)key * key_stride + kv_head * HEAD_DIM;
    if (threadIdx.x == 0) {
        queue->heads.start(p, kv_head, blockIdx.x);
        queue->turns[0] = queue->heads.next(p);
        queue->turns[1] = queue->heads.next(p);
    }
    __syncthreads();
    float dk[2][2 * KEY_STEPS][4], dv[2][2 * KEY_STEPS][4];
    zero(dk);
    zero(dv);
    copy_tile<KEYS>(k_tile, p.k + key_place, key_stride, rows);
    copy_tile<KEYS>(v_tile, p.v + key_place, key_stride, rows);
    copy_queries(q_tiles, p.q, queue->turns[0], p.heads);
    copy_queries(dout_tile, p.dout, queue->turns[0], p.heads);
    copy_stats(stats, p, queue->turns[0]);
    copy_commit();

    for (u32 turn = 0; queue->turns[turn].tile.len != 0; turn ^= 1) {
        const Tile tile = queue->turns[turn].tile;
        const u32 head = queue->turns[turn].head;
        bf16* const q_tile = q_tiles + turn * (QUERIES * STRIDE);
        u32 bits = ~0u;
        if (tile.masked()) {
            const Seen* const seen = p.seen + (u64)p.list_of[head] * p.queries;
            bits = visible_pairs(tile, seen, warp_query, key + warp_key, p.keys);
        }
        copy_wait<0>();
        // The tiles and their numbers are here for all, and all are done with the tile before.
        __syncthreads();
        copy_queries(q_tiles + (turn ^ 1) * (QUERIES * STRIDE), p.q, queue->turns[turn ^ 1], p.heads);
        copy_stats(stats + (turn ^ 1) * QUERIES, p, queue->turns[turn ^ 1]);
        copy_commit();
        const float2* const now = stats + turn * QUERIES + warp_query + lane / 4;
        float c[2][4][4];
        scores(c, q_tile, warp_query, k_tile + warp_key * STRIDE);
        probabilities(c, now, bits, p.scale_log2);
        u32 chances[2][4][2];
        UNROLL
        for (u32 i = 0; i < 2; i++) round_scores(chances[i], c[i]);
        store_pairs(p_tile + warp_query * PAIR_STRIDE + warp_key, chances);
        scores(c, dout_tile, warp_query, v_tile + warp_key * STRIDE);
        score_gradients(chances, c, now);
        store_pairs(ds_tile + warp_query * PAIR_STRIDE + warp_key, chances);
        // P and dS are here for all.
        __syncthreads();
        if (threadIdx.x == 0) queue->turns[turn] = queue->heads.next(p);
        __syncwarp();
        add_to_keys(dv, p_tile, warp_key, dout_tile, key_step);
        // All are done with dout.
        __syncthreads();
        copy_queries(dout_tile, p.dout, queue->turns[turn ^ 1], p.heads);
        copy_commit();
        float* const sums = sums_of(p.dq_sums, head - p.kv_head * p.group, p.queries, tile.at);
        add_to_queries(sums, ds_tile, warp_query, k_tile, query_step);
        add_to_keys(dk, ds_tile, warp_key, q_tile, key_step);
    }
    // Keys and values are here also where no query is, and all are done with them.
    copy_wait<0>();
    __syncthreads();
    put_keys(k_tile + warp_key * STRIDE, dk, key_step, p.scale);
    put_keys(v_tile + warp_key * STRIDE, dv, key_step, 1.0f);
    __syncthreads();
    store_keys(p.dk + key_place, key_stride, rows, k_tile);
    store_keys(p.dv + key_place, key_stride, rows, v_tile);
}

struct Round {
    float* dq_sums;
    bf16* dq;
    // Heads: of all, of this launch, the first of these
    u32 queries, heads, some, head;
    float scale;
    u32 unused;
};

// dQ out of its sums: a thread takes rows g and g + 8 of one accumulator.
KERNEL(attention_round, Round, THREADS) {
    const u64 job = (u64)blockIdx.x * THREADS + threadIdx.x;
    const u64 of_head = padded(p.queries) / 2 * COLUMNS;
    const u32 head = (u32)(job / of_head), column = (u32)(job % COLUMNS);
    if (head >= p.some) return;
    const u64 pair = job % of_head / COLUMNS, row = pair / 8 * 16 + pair % 8;
    float rows[2][8];
    load_fragment(rows, sums_of(p.dq_sums, head, p.queries, row) + column * FRAGMENT, (u32)(pair % 8));
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        UNROLL
        for (u32 j = 0; j < 8; j++) rows[i][j] *= p.scale;
        if (row + 8 * i >= p.queries) continue;
        store8(p.dq + ((row + 8 * i) * p.heads + p.head + head) * HEAD_DIM + column * 8, rows[i]);
    }
}
