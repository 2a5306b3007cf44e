// Gradients of keys and values (Dao 2023, FlashAttention-2, algorithm 2). One block a key tile and key/value head: it adds up
// over the group's query heads and their visible query tiles in one order, so that the result is the same bits every time.
//
// Everything is transposed, keys by queries, so that each warp keeps 16 keys: Pᵀ and dSᵀ leave the products in the registers in
// which the next products want them.

struct Backward {
    const bf16* q;
    const bf16* k;
    const bf16* v;
    const bf16* dout;
    const float2* stats;
    bf16* dk;
    bf16* dv;
    // lists.rs: [H], [lists, key tiles + 1], runs of query tiles, [lists, queries]
    const u32* list_of;
    const u32* first;
    const Run* runs;
    const Seen* seen;
    u32 queries, keys, heads, group;
    float scale, scale_log2;
};

constexpr u32 QUERY_ACCUMULATORS = QUERIES / 8;
static_assert(KEYS == 16 * WARPS, "16 keys a warp");
static_assert(QUERY_ACCUMULATORS <= 8, "a lane's pairs are one word");

// Which of this lane's pairs are visible: bit 4 · j + e for number e of accumulator j.
DEVICE u32 visible_pairs(const Tile& tile, const Seen* seen, u32 key, u32 keys) {
    const u32 lane = thread_again() % WARP;
    u32 bits = 0;
    _Pragma("unroll 1")
    for (u32 j = 0; j < 2 * QUERY_ACCUMULATORS; j++) {
        const u32 row = 8 * (j / 2) + lane % 4 * 2 + j % 2;
        if (row >= tile.rows()) continue;
        const Seen of_row = load_seen(seen + tile.at + row);
        UNROLL
        for (u32 i = 0; i < 2; i++) {
            const u32 mine = key + 8 * i + lane / 4;
            if (mine < keys && sees(of_row, mine)) bits |= 1u << (4 * (j / 2) + 2 * i + j % 2);
        }
    }
    return bits;
}

// Starts copying a tile of one head's queries, if there is one.
DEVICE void copy_queries(bf16* to, const bf16* from, const Tile& tile, u32 heads, u32 head) {
    const u32 stride = heads * HEAD_DIM;
    if (tile.len != 0) copy_tile<QUERIES>(to, from + ((u64)tile.at * stride + head * HEAD_DIM), stride, tile.rows());
}

DEVICE void copy_stats(float2* to, const Backward& p, u32 head, u32 at) {
    const u32 row = thread_again();
    if (row < QUERIES) copy_async8(to + row, stats_of(p.stats, head, p.queries) + at + row, true);
    copy_commit();
}

KERNEL_RESIDENT(attention_backward_keys, Backward, THREADS, BLOCKS) {
    SHARED(raw);
    bf16* const k_tile = (bf16*)raw;
    bf16* const v_tile = k_tile + KEYS * STRIDE;
    bf16* const q_tile = v_tile + KEYS * STRIDE;
    bf16* const dout_tile = q_tile + QUERIES * STRIDE;
    Walk* const walk = (Walk*)(dout_tile + QUERIES * STRIDE);
    // Log-sum-exp and Σ out · dout of the tile's queries, of this turn and of the next.
    float2* const stats = (float2*)(walk + 1);
    u32* const visible = (u32*)(stats + 2 * QUERIES) + threadIdx.x;

    const u32 key = blockIdx.x * KEYS, rows = p.keys - key < KEYS ? p.keys - key : KEYS;
    const u32 lane = threadIdx.x % WARP, warp_row = threadIdx.x / WARP * 16;
    const u32 key_stride = p.heads / p.group * HEAD_DIM;
    const u64 key_place = (u64)key * key_stride + blockIdx.y * HEAD_DIM;
    float dk[1][COLUMNS][4], dv[1][COLUMNS][4];
    zero(dk);
    zero(dv);
    copy_tile<KEYS>(k_tile, p.k + key_place, key_stride, rows);
    copy_tile<KEYS>(v_tile, p.v + key_place, key_stride, rows);
    copy_commit();

    for (u32 head = blockIdx.y * p.group; head < (blockIdx.y + 1) * p.group; head++) {
        const u32 list = p.list_of[head];
        // All are done with the walk of the head before.
        __syncthreads();
        if (threadIdx.x == 0) {
            const u32* const first = p.first + (u64)list * (gridDim.x + 1) + blockIdx.x;
            walk->start(p.runs + first[0], first[1] - first[0], 0, 1);
            walk->tiles[0] = walk->next();
        }
        __syncthreads();
        copy_queries(q_tile, p.q, walk->tiles[0], p.heads, head);
        copy_queries(dout_tile, p.dout, walk->tiles[0], p.heads, head);
        copy_commit();
        for (u32 turn = 0; walk->tiles[turn].len != 0;) {
            const Tile tile = walk->tiles[turn];
            float2* const now = stats + turn * QUERIES;
            copy_stats(now, p, head, tile.at);
            if (tile.masked()) *visible = visible_pairs(tile, p.seen + (u64)list * p.queries, key + warp_row, p.keys);
            copy_wait<0>();
            // The tiles and their numbers are here for all.
            __syncthreads();
            turn ^= 1;
            if (threadIdx.x == 0) walk->tiles[turn] = walk->next();
            __syncwarp();
            const u32 bits = tile.masked() ? *visible : ~0u;
            float c[1][QUERY_ACCUMULATORS][4];
            scores(c, k_tile, warp_row, q_tile);
            UNROLL
            for (u32 j = 0; j < QUERY_ACCUMULATORS; j++) {
                UNROLL
                for (u32 e = 0; e < 4; e++) {
                    const float chance = exp2_fast(c[0][j][e] * p.scale_log2 - now[8 * j + lane % 4 * 2 + e % 2].x);
                    c[0][j][e] = bits >> (4 * j + e) & 1 ? chance : 0.0f;
                }
            }
            // As bf16 they take half the registers while dP is made.
            u32 chances[1][QUERY_ACCUMULATORS][2];
            round_scores(chances[0], c[0]);
            scores(c, v_tile, warp_row, dout_tile);
            UNROLL
            for (u32 j = 0; j < QUERY_ACCUMULATORS; j++) {
                UNROLL
                for (u32 e = 0; e < 4; e++) {
                    const u32 word = chances[0][j][e / 2];
                    const float chance = e % 2 == 0 ? low_half(word) : high_half(word);
                    c[0][j][e] = chance * (c[0][j][e] - now[8 * j + lane % 4 * 2 + e % 2].y);
                }
            }
            u32 ds[1][QUERY_ACCUMULATORS][2];
            round_scores(ds[0], c[0]);
            weighted_sum(dv, chances, dout_tile);
            // The next tile is here for all, and all are done with dout.
            __syncthreads();
            copy_queries(dout_tile, p.dout, walk->tiles[turn], p.heads, head);
            weighted_sum(dk, ds, q_tile);
            // All are done with q.
            __syncthreads();
            copy_queries(q_tile, p.q, walk->tiles[turn], p.heads, head);
            copy_commit();
        }
    }
    // Keys and values are here also where no query is, before their tiles are written over.
    copy_wait<0>();
    __syncthreads();
    UNROLL
    for (u32 j = 0; j < COLUMNS; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) dk[0][j][e] *= p.scale;
    }
    if (warp_row < rows) {
        const u64 place = key_place + (u64)warp_row * key_stride;
        store_rows(p.dk + place, key_stride, rows - warp_row, dk, k_tile + warp_row * STRIDE);
        store_rows(p.dv + place, key_stride, rows - warp_row, dv, v_tile + warp_row * STRIDE);
    }
}
