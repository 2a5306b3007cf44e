// Gradients of queries (Dao 2023, FlashAttention-2, algorithm 2, with the loops exchanged). One block a query tile and head,
// over its visible key tiles in one order: no two blocks add to one place.

struct Backward {
    const bf16* q;
    const bf16* k;
    const bf16* v;
    const bf16* dout;
    const float2* stats;
    bf16* dq;
    // lists.rs: [H], [lists, query tiles + 1], runs of key tiles, [lists, queries]
    const u32* list_of;
    const u32* first;
    const Run* runs;
    const Seen* seen;
    u32 queries, heads;
    u64 group;
    float scale, scale_log2;
};

constexpr u32 KEY_ACCUMULATORS = KEYS / 8;
static_assert(QUERIES == 16 * WARPS, "16 queries a warp");
static_assert(KEY_ACCUMULATORS <= 8, "a lane's pairs are one word");

// Which of this lane's pairs are visible: bit 4 · j + e for number e of accumulator j.
DEVICE u32 visible_pairs(const Tile& tile, const Seen* seen, u32 row, u32 queries) {
    const u32 lane = threadIdx.x % WARP;
    u32 bits = 0;
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        const u32 query = row + 8 * i + lane / 4;
        const Seen mine = load_seen(seen + (query < queries ? query : queries - 1));
        _Pragma("unroll 1")
        for (u32 j = 0; j < 2 * KEY_ACCUMULATORS; j++) {
            const u32 key = 8 * (j / 2) + lane % 4 * 2 + j % 2;
            if (key < tile.rows() && sees(mine, tile.at + key)) bits |= 1u << (4 * (j / 2) + 2 * i + j % 2);
        }
    }
    return bits;
}

KERNEL_RESIDENT(attention_backward_queries, Backward, THREADS, BLOCKS) {
    SHARED(raw);
    bf16* const q_tile = (bf16*)raw;
    bf16* const dout_tile = q_tile + QUERIES * STRIDE;
    bf16* const k_tile = dout_tile + QUERIES * STRIDE;
    bf16* const v_tile = k_tile + KEYS * STRIDE;
    Walk* const walk = (Walk*)(v_tile + KEYS * STRIDE);
    // Under a causal mask the last query tiles have the most keys: they start first.
    const u32 query_tile = gridDim.x - 1 - blockIdx.x, query = query_tile * QUERIES, head = blockIdx.y;
    const u32 rows = p.queries - query < QUERIES ? p.queries - query : QUERIES, list = p.list_of[head];
    const u32 query_stride = p.heads * HEAD_DIM, key_stride = p.heads / (u32)p.group * HEAD_DIM;
    const u64 key_column = head / (u32)p.group * HEAD_DIM, query_place = (u64)query * query_stride + head * HEAD_DIM;
    const u32 lane = threadIdx.x % WARP, warp_row = threadIdx.x / WARP * 16;
    const Seen* const seen = p.seen + (u64)list * p.queries;
    if (threadIdx.x == 0) {
        const u32* const first = p.first + (u64)list * (gridDim.x + 1) + query_tile;
        walk->start(p.runs + first[0], first[1] - first[0], 0, 1);
        walk->tiles[0] = walk->next();
    }
    __syncthreads();

    copy_tile<QUERIES>(q_tile, p.q + query_place, query_stride, rows);
    copy_tile<QUERIES>(dout_tile, p.dout + query_place, query_stride, rows);
    if (walk->tiles[0].len != 0) {
        const Tile tile = walk->tiles[0];
        const u64 place = (u64)tile.at * key_stride + key_column;
        copy_tile<KEYS>(k_tile, p.k + place, key_stride, tile.rows());
        copy_tile<KEYS>(v_tile, p.v + place, key_stride, tile.rows());
    }
    copy_commit();
    float dq[1][COLUMNS][4];
    zero(dq);
    float2 stats[2];
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        stats[i] = stats_of(p.stats, head, p.queries)[query + warp_row + 8 * i + lane / 4];
    }
    for (u32 turn = 0; walk->tiles[turn].len != 0;) {
        const Tile tile = walk->tiles[turn];
        const u32 bits = tile.masked() ? visible_pairs(tile, seen, query + warp_row, p.queries) : ~0u;
        copy_wait<0>();
        // The tiles are here for all.
        __syncthreads();
        turn ^= 1;
        if (threadIdx.x == 0) walk->tiles[turn] = walk->next();
        __syncwarp();
        float ds[1][KEY_ACCUMULATORS][4], dp[1][KEY_ACCUMULATORS][4];
        scores(ds, q_tile, warp_row, k_tile);
        scores(dp, dout_tile, warp_row, v_tile);
        // The next tile is here for all, and all are done with v.
        __syncthreads();
        const Tile next = walk->tiles[turn];
        const u64 place = (u64)next.at * key_stride + key_column;
        if (next.len != 0) copy_tile<KEYS>(v_tile, p.v + place, key_stride, next.rows());
        UNROLL
        for (u32 j = 0; j < KEY_ACCUMULATORS; j++) {
            UNROLL
            for (u32 e = 0; e < 4; e++) {
                const float chance = exp2_fast(ds[0][j][e] * p.scale_log2 - stats[e / 2].x);
                ds[0][j][e] = bits >> (4 * j + e) & 1 ? chance * (dp[0][j][e] - stats[e / 2].y) : 0.0f;
            }
        }
        weighted_sum(dq, ds, k_tile);
        // All are done with k.
        __syncthreads();
        if (next.len != 0) copy_tile<KEYS>(k_tile, p.k + place, key_stride, next.rows());
        copy_commit();
    }
    // The queries are here also where no key is, before their tile is written over.
    copy_wait<0>();
    __syncthreads();
    UNROLL
    for (u32 j = 0; j < COLUMNS; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) dq[0][j][e] *= p.scale;
    }
    if (warp_row < rows) {
        const u64 place = query_place + (u64)warp_row * query_stride;
        store_rows(p.dq + place, query_stride, rows - warp_row, dq, q_tile + warp_row * STRIDE);
    }
}
