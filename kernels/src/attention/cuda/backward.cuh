// What the kernels share that make all gradients in five products (Dao 2023, FlashAttention-2, algorithm 2): every visible pair of
// tiles is scored once. One block a key tile and key/value head, over the visible query tiles of the group's heads; dK and dV stay
// in registers, dQ goes to f32 sums in global memory, to which blocks add in whatever order they come.

// What such a kernel is given besides queries, keys, values and the output's gradient.
struct Gradients {
    const float2* stats;
    float* dq_sums;
    bf16* dk;
    bf16* dv;
    // lists.rs: [H], [lists, key tiles + 1], runs of query tiles, [lists, queries]
    const u32* list_of;
    const u32* first;
    const Run* runs;
    const Seen* seen;
    // The first key/value head of this launch
    u32 kv_head;
    u32 queries, keys, heads, group;
    float scale, scale_log2;
    // Heads of this launch; of these, as many at a time (backward_hopper.cu)
    u32 some, section, unused;
};

// Numbers of an accumulator of a warp.
constexpr u32 FRAGMENT = 16 * 8;

// A query tile and whose it is.
struct HeadTile {
    Tile tile;
    u32 head;
};

// The query tiles of all heads of a group that see a key tile, one head after the other; one thread moves it on.
struct Heads {
    Walk walk;
    u32 key_tile, head, end;

    DEVICE_MEMBER void start(const Gradients& p) {
        const u32 places = (p.keys + KEYS - 1) / KEYS + 1;
        const u32* const first = p.first + (u64)p.list_of[head] * places + key_tile;
        walk.start(p.runs + first[0], first[1] - first[0], 0, 1);
    }
    DEVICE_MEMBER void start(const Gradients& p, u32 kv_head, u32 tile) {
        key_tile = tile;
        head = kv_head * p.group;
        end = head + p.group;
        start(p);
    }
    DEVICE_MEMBER HeadTile next(const Gradients& p) {
        Tile tile = walk.next();
        while (tile.len == 0 && head + 1 < end) {
            head++;
            start(p);
            tile = walk.next();
        }
        return {tile, head};
    }
};

// The sums of dQ of a launch, fragments: [query heads, padded(queries) ÷ 16, COLUMNS]. Here those of 16 rows from `row` on.
DEVICE float* sums_of(float* sums, u32 head, u32 queries, u32 row) {
    return sums + ((u64)head * (padded(queries) / 16) + row / 16) * (COLUMNS * FRAGMENT);
}

// Adds a warp's accumulator to one of the sums, in an order in which every instruction covers whole 128 bytes: where one adds
// four numbers a lane's lie side by side, else each number's lanes.
DEVICE void add_fragment(float* sum, u32 lane, const float (&c)[4]) {
#if ADDS_FOUR
    add_four(sum + 4 * lane, c);
#else
    UNROLL
    for (u32 e = 0; e < 4; e++) add_one(sum + WARP * e + lane, c[e]);
#endif
}
