// The gradients of backward.cuh on compute capability 9.0, after Shah et al. 2024, FlashAttention-3 (arXiv 2407.08608), §3.4 and
// its published kernel: one thread asks the copy engine for tiles, two warpgroups of 64 keys each multiply. Scores are turned,
// keys by queries, so that a warpgroup has P and dS as first operands of dV and dK in its registers; only dS passes through
// shared memory, since dQ sums over the keys of both.
//
//   S, dP   64 × QUERIES   a warpgroup: K · Qᵀ, V · doutᵀ
//   dV, dK  64 × D         P · dout, dS · Q
//   dQ      64 × 64        columns of their own (D = 128) or queries of their own (D = 64) of dSᵀ · K

constexpr u32 CONSUMERS = KEYS / 64;
constexpr u32 QUERY_PANELS = QUERIES / PANEL;
constexpr u32 QUERY_ACCUMULATORS = QUERIES / 8;
constexpr u32 QUERY_BYTES = 2 * QUERIES * HEAD_DIM;
constexpr u32 KEY_BYTES = 2 * KEYS * HEAD_DIM;
constexpr u32 STATS_BYTES = 8 * QUERIES;
// Of a panel of keys, or of pairs of each key with 64 queries.
constexpr u32 KEY_PANEL = KEYS * 2 * PANEL;

static_assert(THREADS == (1 + CONSUMERS) * GROUP && QUERIES <= 128, "one word of visible queries a key");
static_assert(PANELS * QUERY_PANELS == CONSUMERS, "a panel of dQ for each");

struct Backward : Gradients {
    u32 rest[6];
    TensorMap q, k, v, dout;
};

// What the producer and the consumers tell each other by.
struct alignas(16) Signals {
    float2 stats[STAGES][QUERIES];
    // Of the queries of a tile that is masked.
    Seen seen[STAGES][QUERIES];
    Barrier keys_full, q_full[STAGES], dout_full[STAGES], empty[STAGES], pairs_full;
    // The tile that is, or will be, in each stage.
    HeadTile turns[STAGES];
};

// ---- the producer

DEVICE void produce(const Backward& p, Signals* signals, unsigned char* tiles, u32 key_tile, u32 kv_head) {
    unsigned char *const q_tiles = tiles + 2 * KEY_BYTES, *const dout_tiles = q_tiles + STAGES * QUERY_BYTES;
    barrier_expect(&signals->keys_full, 2 * KEY_BYTES);
    copy_panels<KEYS>(tiles, &p.k, kv_head, key_tile * KEYS, &signals->keys_full);
    copy_panels<KEYS>(tiles + KEY_BYTES, &p.v, kv_head, key_tile * KEYS, &signals->keys_full);
    Heads heads;
    heads.start(p, kv_head, key_tile);
    for (u32 n = 0;; n++) {
        const u32 stage = n % STAGES, turn = n / STAGES % 2;
        const HeadTile next = heads.next(p);
        barrier_wait(&signals->empty[stage], turn ^ 1);
        signals->turns[stage] = next;
        if (next.tile.len == 0) {
            barrier_arrive(&signals->q_full[stage]);
            return;
        }
        const u32 seen_bytes = next.tile.masked() ? next.tile.rows() * (u32)sizeof(Seen) : 0;
        barrier_expect(&signals->q_full[stage], QUERY_BYTES + STATS_BYTES + seen_bytes);
        copy_panels<QUERIES>(q_tiles + stage * QUERY_BYTES, &p.q, next.head, next.tile.at, &signals->q_full[stage]);
        const float2* const stats = stats_of(p.stats, next.head, p.queries) + next.tile.at;
        copy_bytes(signals->stats[stage], stats, STATS_BYTES, &signals->q_full[stage]);
        const Seen* const seen = p.seen + (u64)p.list_of[next.head] * p.queries + next.tile.at;
        if (seen_bytes > 0) copy_bytes(signals->seen[stage], seen, seen_bytes, &signals->q_full[stage]);
        barrier_expect(&signals->dout_full[stage], QUERY_BYTES);
        copy_panels<QUERIES>(dout_tiles + stage * QUERY_BYTES, &p.dout, next.head, next.tile.at, &signals->dout_full[stage]);
    }
}

// ---- the consumers

// Which of the pairs that a lane holds are visible: bit 2 · j + e of word i for key g + 8 · i, accumulator j, number e.
DEVICE void visible_pairs(u32 (&bits)[2], const Tile& tile, const Seen* seen, u32 key, u32 keys) {
    const u32 lane = threadIdx.x % WARP;
    bits[0] = bits[1] = 0;
    _Pragma("unroll 2")
    for (u32 j = 0; j < 2 * QUERY_ACCUMULATORS; j++) {
        const u32 query = 8 * (j / 2) + lane % 4 * 2 + j % 2;
        if (query >= tile.rows()) continue;
        const Seen mine = load_seen(seen + query);
        UNROLL
        for (u32 i = 0; i < 2; i++) {
            const u32 at = key + 8 * i + lane / 4;
            if (at < keys && sees(mine, at)) bits[i] |= 1u << j;
        }
    }
}

// P of the scores; `stats` are those of the lane's first query.
DEVICE void probabilities(float (&s)[QUERY_ACCUMULATORS][4], const float2* stats, const u32 (&bits)[2], float scale_log2) {
    UNROLL
    for (u32 j = 0; j < QUERY_ACCUMULATORS; j++) {
        const float4 two = *(const float4*)(stats + 8 * j);
        UNROLL
        for (u32 e = 0; e < 4; e++) {
            const float chance = exp2_fast(s[j][e] * scale_log2 - (e % 2 ? two.z : two.x));
            s[j][e] = bits[e / 2] >> (2 * j + e % 2) & 1 ? chance : 0.0f;
        }
    }
}

// dS = P · (dP − Σ out · dout) in the place of dP.
DEVICE void score_gradients(float (&dp)[QUERY_ACCUMULATORS][4], const u32 (&p)[QUERIES / 16][4], const float2* stats) {
    UNROLL
    for (u32 j = 0; j < QUERY_ACCUMULATORS; j++) {
        const float4 two = *(const float4*)(stats + 8 * j);
        UNROLL
        for (u32 i = 0; i < 2; i++) {
            const u32 word = p[j / 2][j % 2 * 2 + i];
            dp[j][2 * i] = low_half(word) * (dp[j][2 * i] - two.y);
            dp[j][2 * i + 1] = high_half(word) * (dp[j][2 * i + 1] - two.w);
        }
    }
}

// dS of 16 keys from `row` on to shared memory, [QUERY_PANELS][KEYS][64], swizzled as tiles are.
DEVICE void store_pairs(unsigned char* pairs, const u32 (&ds)[QUERIES / 16][4], u32 row) {
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        const u32 key = row + 8 * i + lane / 4;
        unsigned char* const to = pairs + key * 2 * PANEL + lane % 4 * 4;
        UNROLL
        for (u32 j = 0; j < QUERY_ACCUMULATORS; j++) {
            store_for_products(to + j / 8 * KEY_PANEL + (j ^ key) % 8 * 16, ds[j / 2][j % 2 * 2 + i]);
        }
    }
}

// dQ = dSᵀ · K of 64 queries and 64 columns, under way.
DEVICE void start_queries(float (&dq)[8][4], const unsigned char* pairs, const unsigned char* k) {
    const u64 first = matrix(pairs, 0, EIGHT_ROWS), second = matrix(k, 0, EIGHT_ROWS);
    UNROLL
    for (u32 step = 0; step < KEYS / 16; step++) {
        const u32 rows = 2 * step * EIGHT_ROWS;
        product_of_turned(dq, farther(first, rows), farther(second, rows), step > 0);
    }
}

DEVICE void add_queries(float* sums, const float (&dq)[8][4]) {
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 j = 0; j < 8; j++) add_fragment(sums + j * FRAGMENT, lane, dq[j]);
}

// Writes 16 rows of a warp, of which `valid` exist.
DEVICE void store_keys(bf16* to, u32 stride, u32 valid, const float (&c)[COLUMNS][4], float scale) {
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        const u32 row = 8 * i + lane / 4;
        if (row >= valid) continue;
        UNROLL
        for (u32 j = 0; j < COLUMNS; j++) {
            const u32 pair = pack_bf16(c[j][2 * i] * scale, c[j][2 * i + 1] * scale);
            *(u32*)(to + (u64)row * stride + 8 * j + lane % 4 * 2) = pair;
        }
    }
}

DEVICE void consume(const Backward& p, Signals* signals, unsigned char* tiles, u32 key_tile, u32 kv_head) {
    const u32 consumer = warpgroup() - 1, warp = threadIdx.x % GROUP / WARP, lane = threadIdx.x % WARP;
    // Rows of the block's tile, and keys of all.
    const u32 row = 64 * consumer + 16 * warp, key = key_tile * KEYS + row;
    const unsigned char *const k = tiles, *const v = k + KEY_BYTES;
    const unsigned char *const q_tiles = v + KEY_BYTES, *const dout_tiles = q_tiles + STAGES * QUERY_BYTES;
    unsigned char* const both_pairs = tiles + 2 * KEY_BYTES + 2 * STAGES * QUERY_BYTES;
    float dk[COLUMNS][4], dv[COLUMNS][4];
    UNROLL
    for (u32 j = 0; j < COLUMNS; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) dk[j][e] = dv[j][e] = 0.0f;
    }
    barrier_wait(&signals->keys_full, 0);
    for (u32 n = 0;; n++) {
        const u32 stage = n % STAGES, turn = n / STAGES % 2;
        const unsigned char *const q = q_tiles + stage * QUERY_BYTES, *const dout = dout_tiles + stage * QUERY_BYTES;
        barrier_wait(&signals->q_full[stage], turn);
        const HeadTile now = signals->turns[stage];
        if (now.tile.len == 0) break;
        float s[QUERY_ACCUMULATORS][4], dp[QUERY_ACCUMULATORS][4];
        products_begin();
        start_scores<KEYS>(s, k + consumer * 8 * EIGHT_ROWS, q);
        products_commit();
        barrier_wait(&signals->dout_full[stage], turn);
        products_begin();
        start_scores<KEYS>(dp, v + consumer * 8 * EIGHT_ROWS, dout);
        products_commit();
        u32 bits[2] = {~0u, ~0u};
        if (now.tile.masked()) visible_pairs(bits, now.tile, signals->seen[stage], key, p.keys);
        const float2* const stats = signals->stats[stage] + lane % 4 * 2;
        products_wait<1>();
        keep(s);
        probabilities(s, stats, bits, p.scale_log2);
        u32 chances[QUERIES / 16][4], ds[QUERIES / 16][4];
        UNROLL
        for (u32 j = 0; j < QUERIES / 16; j++) as_first_operand(chances[j], s, 2 * j);
        products_wait<0>();
        keep(dp);
        score_gradients(dp, chances, stats);
        UNROLL
        for (u32 j = 0; j < QUERIES / 16; j++) as_first_operand(ds[j], dp, 2 * j);
        keep(chances);
        keep(ds);
        keep(dv);
        keep(dk);
        products_begin();
        start_weighted_sum(dv, chances, dout);
        products_commit();
        // Those of two tiles in turns: whoever writes has met, at the tile between, all who read what was there before.
        unsigned char* const pairs = both_pairs + n % 2 * QUERY_PANELS * KEY_PANEL;
        store_pairs(pairs, ds, row);
        stored_for_products();
        __syncwarp();
        if (lane == 0) barrier_arrive(&signals->pairs_full);
        barrier_wait(&signals->pairs_full, n % 2);
        float dq[8][4];
        products_begin();
        start_queries(dq, pairs + consumer % QUERY_PANELS * KEY_PANEL, k + consumer % PANELS * KEY_PANEL);
        products_commit();
        products_begin();
        start_weighted_sum(dk, ds, q);
        products_commit();
        products_wait<1>();
        keep(dq);
        const u32 query = now.tile.at + consumer % QUERY_PANELS * PANEL + 16 * warp;
        float* const sums = sums_of(p.dq_sums, now.head - p.kv_head * p.group, p.queries, query);
        add_queries(sums + consumer % PANELS * 8 * FRAGMENT, dq);
        products_wait<0>();
        keep(dv);
        keep(dk);
        if (lane == 0) barrier_arrive(&signals->empty[stage]);
    }
    const u32 stride = p.heads / p.group * HEAD_DIM, valid = key < p.keys ? p.keys - key : 0;
    const u64 place = (u64)key * stride + kv_head * HEAD_DIM;
    store_keys(p.dk + place, stride, valid, dk, p.scale);
    store_keys(p.dv + place, stride, valid, dv, 1.0f);
}

KERNEL_RESIDENT(attention_backward_hopper, Backward, THREADS, 1) {
    SHARED(raw);
    unsigned char* const tiles = raw + (0u - shared_address(raw)) % 1024;
    // Under a causal mask the first key tiles have the most queries.
    const Job mine = job((p.keys + KEYS - 1) / KEYS, p.some, p.section);
    const u32 kv_head = p.kv_head + mine.head;
    Signals* const signals = (Signals*)(tiles + 2 * KEY_BYTES + 2 * STAGES * QUERY_BYTES + 2 * QUERY_PANELS * KEY_PANEL);
    if (threadIdx.x == 0) {
        // One thread of each warp of the consumers says that it is done.
        constexpr u32 CONSUMING = CONSUMERS * GROUP / WARP;
        barrier_init(&signals->keys_full, 1);
        barrier_init(&signals->pairs_full, CONSUMING);
        UNROLL
        for (u32 stage = 0; stage < STAGES; stage++) {
            barrier_init(&signals->q_full[stage], 1);
            barrier_init(&signals->dout_full[stage], 1);
            barrier_init(&signals->empty[stage], CONSUMING);
        }
        barriers_made();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        fewer_registers<24>();
        if (threadIdx.x == 0) produce(p, signals, tiles, mine.tile, kv_head);
    } else {
        more_registers<240>();
        consume(p, signals, tiles, mine.tile, kv_head);
    }
}
