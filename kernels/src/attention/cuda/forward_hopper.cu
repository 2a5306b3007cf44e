// Attention forward on compute capability 9.0; what it computes is forward.cu's. After Shah et al. 2024, FlashAttention-3
// (arXiv 2407.08608), §3.1 and §3.2: one thread asks the copy engine for tiles, two warpgroups of 64 queries each multiply,
// and while one tile's probabilities are multiplied with V, the next tile's scores are already under way.
//
// A tile that is shorter than KEYS brings keys behind its end too; their probabilities are zero.

constexpr u32 CONSUMERS = QUERIES / 64;
constexpr u32 KEY_ACCUMULATORS = KEYS / 8;
constexpr u32 QUERY_BYTES = 2 * QUERIES * HEAD_DIM;
constexpr u32 KEY_BYTES = 2 * KEYS * HEAD_DIM;

static_assert(THREADS == (1 + CONSUMERS) * GROUP && KEYS == 128, "one word of visible keys a row");

struct Forward {
    TensorMap q, k, v;
    bf16* out;
    float* lse;
    // As for forward.cu.
    const u32* list_of;
    const u32* first;
    const Run* runs;
    const Seen* seen;
    u32 queries, heads, group, section;
    float scale, scale_log2;
    u32 rest[14];
};

// What the producer and the consumers tell each other by.
struct Signals {
    Barrier q_full, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
    // The tile that is, or will be, in each stage.
    Tile tiles[STAGES];
};

// ---- the producer

DEVICE void produce(const Forward& p, Signals* signals, unsigned char* tiles, u32 query, u32 head) {
    unsigned char *const k_tiles = tiles + QUERY_BYTES, *const v_tiles = k_tiles + STAGES * KEY_BYTES;
    const u32 kv_head = head / p.group;
    barrier_expect(&signals->q_full, QUERY_BYTES);
    copy_panels<QUERIES>(tiles, &p.q, head, query, &signals->q_full);
    const u32 places = (p.queries + QUERIES - 1) / QUERIES + 1;
    const u32* const first = p.first + (u64)p.list_of[head] * places + query / QUERIES;
    Walk walk;
    walk.start(p.runs + first[0], first[1] - first[0], 0, 1);
    for (u32 n = 0;; n++) {
        const u32 stage = n % STAGES, turn = n / STAGES % 2;
        const Tile tile = walk.next();
        barrier_wait(&signals->k_empty[stage], turn ^ 1);
        signals->tiles[stage] = tile;
        if (tile.len == 0) {
            barrier_arrive(&signals->k_full[stage]);
            return;
        }
        barrier_expect(&signals->k_full[stage], KEY_BYTES);
        copy_panels<KEYS>(k_tiles + stage * KEY_BYTES, &p.k, kv_head, tile.at, &signals->k_full[stage]);
        barrier_wait(&signals->v_empty[stage], turn ^ 1);
        barrier_expect(&signals->v_full[stage], KEY_BYTES);
        copy_panels<KEYS>(v_tiles + stage * KEY_BYTES, &p.v, kv_head, tile.at, &signals->v_full[stage]);
    }
}

// ---- the consumers

// Marks the first of a lane's keys of a tile, those below `end`.
DEVICE u32 keys_below(u32 end, u32 lane) {
    const u32 past = end % 8, own = lane % 4 * 2;
    return (u32)((1ull << (end / 8 * 2 + (past > own ? past > own + 1 ? 2 : 1 : 0))) - 1);
}

// Those in an interval of all keys.
DEVICE u32 keys_within(const Tile& tile, u32 from, u32 to, u32 lane) {
    const u32 end = tile.at + tile.rows();
    if (from >= end || to <= tile.at || from >= to) return 0;
    const u32 first = from > tile.at ? from - tile.at : 0;
    return keys_below((to < end ? to : end) - tile.at, lane) & ~keys_below(first, lane);
}

// Which of the keys that a lane holds are visible: bit 2 · j + e of word i for row g + 8 · i, accumulator j, number e.
DEVICE void visible_pairs(u32 (&bits)[2], const Tile& tile, const Seen* seen, u32 row, u32 queries) {
    const u32 lane = threadIdx.x % WARP;
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        const u32 query = row + 8 * i + lane / 4;
        const Seen mine = load_seen(seen + (query < queries ? query : queries - 1));
        bits[i] = keys_within(tile, mine.near_from, mine.near_to, lane);
        u32 far = keys_within(tile, mine.far_from, mine.far_to, lane);
        if (far && mine.step != NO_STRIPS) {
            _Pragma("unroll 1")
            for (u32 j = 0; j < 2 * KEY_ACCUMULATORS; j++) {
                if (!sees(mine, tile.at + 8 * (j / 2) + lane % 4 * 2 + j % 2)) far &= ~(1u << j);
            }
        }
        bits[i] |= far;
    }
}

DEVICE void mask_scores(float (&s)[KEY_ACCUMULATORS][4], const u32 (&bits)[2]) {
    UNROLL
    for (u32 j = 0; j < KEY_ACCUMULATORS; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) {
            s[j][e] = bits[e / 2] >> (2 * j + e % 2) & 1 ? s[j][e] : minus_infinity();
        }
    }
}

// Scores become probabilities up to the factor 1 ÷ sum; `before` is what all that was summed before has to be multiplied with.
DEVICE void online_softmax(float (&s)[KEY_ACCUMULATORS][4], float (&largest)[2], float (&sum)[2], float (&before)[2],
                           float scale_log2) {
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        float now = largest[i];
        UNROLL
        for (u32 j = 0; j < KEY_ACCUMULATORS; j++) now = fmaxf(now, fmaxf(s[j][2 * i], s[j][2 * i + 1]));
        now = row_max(now);
        // A row that has seen nothing yet: every exponential below is of −∞, not of −∞ + ∞.
        const float shift = now == minus_infinity() ? 0.0f : now * scale_log2;
        before[i] = exp2_fast(largest[i] * scale_log2 - shift);
        largest[i] = now;
        sum[i] *= before[i];
        UNROLL
        for (u32 j = 0; j < KEY_ACCUMULATORS; j++) {
            UNROLL
            for (u32 e = 2 * i; e < 2 * i + 2; e++) {
                s[j][e] = exp2_fast(s[j][e] * scale_log2 - shift);
                sum[i] += s[j][e];
            }
        }
    }
}

DEVICE void multiply_rows(float (&out)[COLUMNS][4], const float (&by)[2]) {
    UNROLL
    for (u32 j = 0; j < COLUMNS; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) out[j][e] *= by[e / 2];
    }
}

// Rows of a warp, which begin at `row`; those from `queries` on stay unwritten.
DEVICE void store(const Forward& p, float (&out)[COLUMNS][4], const float (&largest)[2], const float (&sum)[2], u32 row, u32 head) {
    const u32 lane = threadIdx.x % WARP;
    float inverse[2];
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        const float total = row_sum(sum[i]);
        inverse[i] = total == 0.0f ? 0.0f : 1.0f / total;
        const u32 query = row + 8 * i + lane / 4;
        if (lane % 4 == 0 && query < p.queries) {
            const float whole = largest[i] * p.scale + log2_fast(total) * LN_2;
            p.lse[(u64)query * p.heads + head] = total == 0.0f ? minus_infinity() : whole;
        }
    }
    multiply_rows(out, inverse);
    UNROLL
    for (u32 i = 0; i < 2; i++) {
        const u32 query = row + 8 * i + lane / 4;
        if (query >= p.queries) continue;
        bf16* const to = p.out + ((u64)query * p.heads + head) * HEAD_DIM + lane % 4 * 2;
        UNROLL
        for (u32 j = 0; j < COLUMNS; j++) *(u32*)(to + 8 * j) = pack_bf16(out[j][2 * i], out[j][2 * i + 1]);
    }
}

DEVICE void consume(const Forward& p, Signals* signals, const unsigned char* tiles, u32 query, u32 head) {
    const Seen* const seen = p.seen + (u64)p.list_of[head] * p.queries;
    const u32 consumer = warpgroup() - 1, lane = threadIdx.x % WARP;
    const u32 row = query + 64 * consumer + threadIdx.x % GROUP / WARP * 16;
    const unsigned char *const q = tiles + consumer * 8 * EIGHT_ROWS, *const k_tiles = tiles + QUERY_BYTES;
    const unsigned char* const v_tiles = k_tiles + STAGES * KEY_BYTES;
    float out[COLUMNS][4], s[KEY_ACCUMULATORS][4];
    float largest[2] = {minus_infinity(), minus_infinity()}, sum[2] = {0.0f, 0.0f}, before[2];
    u32 bits[2] = {0, 0};
    UNROLL
    for (u32 j = 0; j < COLUMNS; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) out[j][e] = 0.0f;
    }
    barrier_wait(&signals->q_full, 0);
    barrier_wait(&signals->k_full[0], 0);
    Tile tile = signals->tiles[0];
    if (tile.len == 0) return store(p, out, largest, sum, row, head);
    products_begin();
    start_scores<QUERIES>(s, q, k_tiles);
    products_commit();
    if (tile.masked()) visible_pairs(bits, tile, seen, row, p.queries);
    products_wait<0>();
    keep(s);
    if (lane == 0) barrier_arrive(&signals->k_empty[0]);
    if (tile.masked()) mask_scores(s, bits);
    online_softmax(s, largest, sum, before, p.scale_log2);
    u32 weights[KEYS / 16][4], stage = 0, turn = 0;
    for (;;) {
        const u32 next = (stage + 1) % STAGES, next_turn = turn ^ (next == 0);
        UNROLL
        for (u32 j = 0; j < KEYS / 16; j++) as_first_operand(weights[j], s, 2 * j);
        keep(weights);
        keep(out);
        barrier_wait(&signals->k_full[next], next_turn);
        tile = signals->tiles[next];
        if (tile.len == 0) break;
        products_begin();
        start_scores<QUERIES>(s, q, k_tiles + next * KEY_BYTES);
        products_commit();
        barrier_wait(&signals->v_full[stage], turn);
        products_begin();
        start_weighted_sum(out, weights, v_tiles + stage * KEY_BYTES);
        products_commit();
        if (tile.masked()) visible_pairs(bits, tile, seen, row, p.queries);
        products_wait<1>();
        keep(s);
        if (lane == 0) barrier_arrive(&signals->k_empty[next]);
        if (tile.masked()) mask_scores(s, bits);
        online_softmax(s, largest, sum, before, p.scale_log2);
        products_wait<0>();
        keep(out);
        if (lane == 0) barrier_arrive(&signals->v_empty[stage]);
        multiply_rows(out, before);
        stage = next;
        turn = next_turn;
    }
    barrier_wait(&signals->v_full[stage], turn);
    products_begin();
    start_weighted_sum(out, weights, v_tiles + stage * KEY_BYTES);
    products_commit();
    products_wait<0>();
    keep(out);
    store(p, out, largest, sum, row, head);
}

KERNEL_RESIDENT(attention_forward_hopper, Forward, THREADS, 1) {
    SHARED(raw);
    unsigned char* const tiles = raw + (0u - shared_address(raw)) % 1024;
    Signals* const signals = (Signals*)(tiles + QUERY_BYTES + 2 * STAGES * KEY_BYTES);
    // Under a causal mask the last query tiles have the most keys.
    const u32 query_tiles = (p.queries + QUERIES - 1) / QUERIES;
    const Job mine = job(query_tiles, p.heads, p.section);
    const u32 query = (query_tiles - 1 - mine.tile) * QUERIES;
    if (threadIdx.x == 0) {
        barrier_init(&signals->q_full, 1);
        UNROLL
        for (u32 stage = 0; stage < STAGES; stage++) {
            barrier_init(&signals->k_full[stage], 1);
            barrier_init(&signals->v_full[stage], 1);
            // One thread of each warp of the consumers says that it is done.
            barrier_init(&signals->k_empty[stage], CONSUMERS * GROUP / WARP);
            barrier_init(&signals->v_empty[stage], CONSUMERS * GROUP / WARP);
        }
        barriers_made();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        fewer_registers<24>();
        if (threadIdx.x == 0) produce(p, signals, tiles, query, mine.head);
    } else {
        more_registers<240>();
        consume(p, signals, tiles, query, mine.head);
    }
}
