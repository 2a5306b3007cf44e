// Attention forward, online softmax over the visible key tiles (Dao 2023, FlashAttention-2, algorithm 1); contract in mod.rs.
// One block a query tile, head and part of its key tiles.
//
// ROW_TILES  16-row tiles of a warp: QUERIES = 16 · ROW_TILES · WARPS
// PARTIAL    0: out is bf16 [queries, H, D].  1: out is f32 [parts, queries, H, D] and lse f32 [parts, queries, H], and the rows
//            of a tile are `pack` heads of each query, which share keys: few queries read keys and values once a group
//
// While a warp multiplies with K the block's copy of V is under way, and while it works on the softmax and V the next K is.

struct Forward {
    const bf16* q;
    const bf16* k;
    const bf16* v;
    void* out;
    float* lse;
    // lists.rs: [H], [lists, query tiles + 1], runs of key tiles, [lists, queries]
    const u32* list_of;
    const u32* first;
    const Run* runs;
    const Seen* seen;
    u32 queries, heads, group, parts;
    // Factor of q·k, and the same times log₂e
    float scale, scale_log2;
    // Heads side by side in a tile
    u64 pack;
};

// Where the rows of a tile lie: those of `heads` heads from `head` on of each query from `query` on.
struct Rows {
    u32 query, head, heads, all_heads;

    DEVICE_MEMBER u32 query_of(u32 row) const {
        return query + row / heads;
    }
    // Among [queries, H]
    DEVICE_MEMBER u64 place(u32 row) const {
        return (u64)query_of(row) * all_heads + head + row % heads;
    }
};

constexpr u32 KEY_ACCUMULATORS = KEYS / 8;

// Which of this lane's scores are of visible pairs: bits 16 · (i mod 2) + 2 · j + e of word i ÷ 2 for row g + 8 · i, accumulator
// j, number e. Made while the tile is on its way, before the scores take their registers, and kept in shared memory, which no
// other lane reads.
DEVICE void visible_pairs(u32* bits, const Tile& tile, const Seen* seen, const Rows& at, u32 row, u32 queries) {
    static_assert(KEY_ACCUMULATORS <= 8, "two rows of a lane are one word");
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 i = 0; i < 2 * ROW_TILES; i++) {
        const u32 query = at.query_of(row + 8 * i + lane / 4);
        const Seen mine = load_seen(seen + (query < queries ? query : queries - 1));
        u32 row_bits = 0;
        _Pragma("unroll 1")
        for (u32 j = 0; j < 2 * KEY_ACCUMULATORS; j++) {
            const u32 key = 8 * (j / 2) + lane % 4 * 2 + j % 2;
            if (key < tile.rows() && sees(mine, tile.at + key)) row_bits |= 1u << j;
        }
        bits[i / 2] = i % 2 == 0 ? row_bits : bits[i / 2] | row_bits << 16;
    }
}

DEVICE void mask_scores(float (&s)[ROW_TILES][KEY_ACCUMULATORS][4], const u32* bits) {
    UNROLL
    for (u32 i = 0; i < ROW_TILES; i++) {
        UNROLL
        for (u32 j = 0; j < KEY_ACCUMULATORS; j++) {
            UNROLL
            for (u32 e = 0; e < 4; e++) {
                const bool visible = bits[i] >> (16 * (e / 2) + 2 * j + e % 2) & 1;
                s[i][j][e] = visible ? s[i][j][e] : minus_infinity();
            }
        }
    }
}

// Scores become probabilities up to the factor 1 ÷ sum; what was summed before is brought to the new maximum.
DEVICE void online_softmax(float (&s)[ROW_TILES][KEY_ACCUMULATORS][4], float (&out)[ROW_TILES][COLUMNS][4],
                           float (&largest)[2 * ROW_TILES], float (&sum)[2 * ROW_TILES], float scale_log2) {
    UNROLL
    for (u32 i = 0; i < 2 * ROW_TILES; i++) {
        const u32 low = 2 * (i % 2);
        float now = largest[i];
        UNROLL
        for (u32 j = 0; j < KEY_ACCUMULATORS; j++) now = fmaxf(now, fmaxf(s[i / 2][j][low], s[i / 2][j][low + 1]));
        now = row_max(now);
        // A row that has seen nothing yet: every exponential below is of −∞, not of −∞ + ∞.
        const float shift = now == minus_infinity() ? 0.0f : now * scale_log2;
        const float before = exp2_fast(largest[i] * scale_log2 - shift);
        largest[i] = now;
        sum[i] *= before;
        UNROLL
        for (u32 j = 0; j < KEY_ACCUMULATORS; j++) {
            UNROLL
            for (u32 e = 0; e < 2; e++) {
                float& score = s[i / 2][j][low + e];
                score = exp2_fast(score * scale_log2 - shift);
                sum[i] += score;
            }
        }
        UNROLL
        for (u32 j = 0; j < COLUMNS; j++) {
            out[i / 2][j][low] *= before;
            out[i / 2][j][low + 1] *= before;
        }
    }
}

// Starts copying the first `valid` rows of a tile, wherever each lies; zeros behind them.
DEVICE void copy_rows(bf16* tile, const bf16* from, const Rows& at, u32 valid) {
    constexpr u32 PLACES = HEAD_DIM / 8;
    for (u32 i = threadIdx.x; i < QUERIES * PLACES; i += THREADS) {
        const u32 row = i / PLACES, column = i % PLACES * 8;
        copy_async(tile + row * STRIDE + column, from + at.place(row < valid ? row : 0) * HEAD_DIM + column, row < valid);
    }
}

KERNEL_RESIDENT(attention_forward, Forward, THREADS, BLOCKS) {
    SHARED(raw);
    bf16* const q_tile = (bf16*)raw;
    bf16* const k_tile = q_tile + QUERIES * STRIDE;
    bf16* const v_tile = k_tile + KEYS * STRIDE;
    // Under a causal mask the last query tiles have the most keys: they start first.
    const u32 query_tiles = gridDim.x, query_tile = query_tiles - 1 - blockIdx.x;
    const u32 pack = PARTIAL ? (u32)p.pack : 1, tile_queries = QUERIES / pack;
    const u32 head = blockIdx.y * pack, part = blockIdx.z;
    const u32 query = query_tile * tile_queries, list = p.list_of[head];
    const u32 rows = (p.queries - query < tile_queries ? p.queries - query : tile_queries) * pack;
    const Rows at = {query, head, pack, p.heads};
    const u32 query_stride = p.heads * HEAD_DIM, key_stride = p.heads / p.group * HEAD_DIM;
    const u32 key_column = head / p.group * HEAD_DIM;
    const u32* const first = p.first + (u64)list * (query_tiles + 1) + query_tile;
    Walk* const walk = (Walk*)(v_tile + KEYS * STRIDE);
    // Of each thread. Numbers that follow from its own are worked out where they are used: the accumulators leave no registers.
    u32* const visible = (u32*)(walk + 1);
    if (threadIdx.x == 0) {
        walk->start(p.runs + first[0], first[1] - first[0], part, p.parts);
        walk->tiles[0] = walk->next();
    }
    __syncthreads();

    float out[ROW_TILES][COLUMNS][4], largest[2 * ROW_TILES], sum[2 * ROW_TILES];
    zero(out);
    UNROLL
    for (u32 i = 0; i < 2 * ROW_TILES; i++) {
        largest[i] = minus_infinity();
        sum[i] = 0.0f;
    }

#if PARTIAL
    copy_rows(q_tile, p.q, at, rows);
#else
    copy_tile<QUERIES>(q_tile, p.q + at.place(0) * HEAD_DIM, query_stride, rows);
#endif
    if (walk->tiles[0].len != 0) {
        const Tile tile = walk->tiles[0];
        copy_tile<KEYS>(k_tile, p.k + ((u64)tile.at * key_stride + key_column), key_stride, tile.rows());
    }
    copy_commit();
    for (u32 turn = 0; walk->tiles[turn].len != 0;) {
        const Tile tile = walk->tiles[turn];
        const u32 warp_row = thread_again() / WARP * 16 * ROW_TILES;
        if (tile.masked()) {
            const Seen* const seen = p.seen + (u64)p.list_of[head] * p.queries;
            visible_pairs(visible + thread_again() * ROW_TILES, tile, seen, at, warp_row, p.queries);
        }
        copy_wait<0>();
        // K is here for all, and all are done with V and with the other turn's tile.
        __syncthreads();
        turn ^= 1;
        if (threadIdx.x == 0) walk->tiles[turn] = walk->next();
        __syncwarp();
        copy_tile<KEYS>(v_tile, p.v + ((u64)tile.at * key_stride + key_column), key_stride, tile.rows());
        copy_commit();
        float s[ROW_TILES][KEY_ACCUMULATORS][4];
        // A warp without rows only copies.
        const bool works = !PARTIAL || WARPS == 1 || warp_row < rows;
        if (works) scores(s, q_tile, warp_row, k_tile);
        copy_wait<0>();
        // V and the next tile are here for all, and all are done with K.
        __syncthreads();
        if (walk->tiles[turn].len != 0) {
            const Tile next = walk->tiles[turn];
            copy_tile<KEYS>(k_tile, p.k + ((u64)next.at * key_stride + key_column), key_stride, next.rows());
            copy_commit();
        }
        if (!works) continue;
        if (tile.masked()) mask_scores(s, visible + thread_again() * ROW_TILES);
        online_softmax(s, out, largest, sum, p.scale_log2);
        weighted_sum(out, s, v_tile);
    }
    // The queries are here also where no key is, before the tile is written over.
    copy_wait<0>();
    __syncthreads();

    const u32 lane = thread_again() % WARP, warp_row = thread_again() / WARP * 16 * ROW_TILES;
    float* const lse = p.lse + (u64)part * p.queries * p.heads;
    UNROLL
    for (u32 i = 0; i < 2 * ROW_TILES; i++) {
        const float total = row_sum(sum[i]);
        const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
        UNROLL
        for (u32 j = 0; j < COLUMNS; j++) {
            out[i / 2][j][2 * (i % 2)] *= inverse;
            out[i / 2][j][2 * (i % 2) + 1] *= inverse;
        }
        const u32 row = warp_row + 8 * i + lane / 4;
        if (lane % 4 == 0 && row < rows) {
            const float whole = largest[i] * p.scale + log2_fast(total) * LN_2;
            lse[at.place(row)] = total == 0.0f ? minus_infinity() : whole;
        }
    }
#if PARTIAL
    float* const to = (float*)p.out + (u64)part * p.queries * query_stride;
    UNROLL
    for (u32 i = 0; i < 2 * ROW_TILES; i++) {
        const u32 row = warp_row + 8 * i + lane / 4;
        UNROLL
        for (u32 j = 0; j < COLUMNS; j++) {
            float2 pair;
            pair.x = out[i / 2][j][2 * (i % 2)];
            pair.y = out[i / 2][j][2 * (i % 2) + 1];
            if (row < rows) *(float2*)(to + at.place(row) * HEAD_DIM + 8 * j + lane % 4 * 2) = pair;
        }
    }
#else
    if (warp_row < rows) {
        bf16* const to = (bf16*)p.out + at.place(warp_row) * HEAD_DIM;
        store_rows(to, query_stride, rows - warp_row, out, q_tile + warp_row * STRIDE);
    }
#endif
}
