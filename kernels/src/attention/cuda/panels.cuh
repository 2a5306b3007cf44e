// What the kernels of compute capability 9.0 share: tiles in panels, and products of a warpgroup with them.
//
// A tile lies in panels of 64 columns, 128 bytes a row, since that is what a swizzle covers: [HEAD_DIM ÷ 64][rows][64].

constexpr u32 GROUP = 128;
constexpr u32 STAGES = 2;
constexpr u32 PANEL = 64;
constexpr u32 PANELS = HEAD_DIM / PANEL;
// Of 8 rows of a panel.
constexpr u32 EIGHT_ROWS = 8 * 2 * PANEL;

// Starts copying a tile of ROWS rows of one head.
template <u32 ROWS>
DEVICE void copy_panels(unsigned char* to, const TensorMap* map, u32 head, u32 row, Barrier* barrier) {
    UNROLL
    for (u32 panel = 0; panel < PANELS; panel++) {
        copy_box(to + panel * ROWS * 2 * PANEL, map, PANEL * panel, head, row, barrier);
    }
}

// This thread's warpgroup, as a number that the compiler knows to be one for the warp.
DEVICE u32 warpgroup() {
    return __shfl_sync(ALL_LANES, threadIdx.x / GROUP, 0);
}

// Which tile of rows and which head a block has, of a grid [tiles · heads]: `section` heads at a time, whose tensors the second-level
// cache holds, and of all of these one tile before the next, so that what has most to visit starts first.
struct Job {
    u32 tile, head;
};

DEVICE Job job(u32 tiles, u32 heads, u32 section) {
    const u32 first = blockIdx.x / (tiles * section) * section, rest = blockIdx.x - first * tiles;
    const u32 some = heads - first < section ? heads - first : section;
    return {rest / some, first + rest % some};
}

// c = a · bᵀ, under way: 64 rows from `a` on, of a tile of A_ROWS, and a tile of 8 · ACCUMULATORS.
template <u32 A_ROWS, u32 ACCUMULATORS>
DEVICE void start_scores(float (&c)[ACCUMULATORS][4], const unsigned char* a, const unsigned char* b) {
    const u64 first = matrix(a, 0, EIGHT_ROWS), second = matrix(b, 0, EIGHT_ROWS);
    UNROLL
    for (u32 step = 0; step < STEPS; step++) {
        const u32 panel = step / 4, place = step % 4 * 32;
        const u64 rows = farther(first, panel * A_ROWS * 2 * PANEL + place);
        product_of_shared(c, rows, farther(second, panel * 8 * ACCUMULATORS * 2 * PANEL + place), step > 0);
    }
}

// c += p · b, under way: a tile of 16 · PAIRS rows.
template <u32 PAIRS>
DEVICE void start_weighted_sum(float (&c)[COLUMNS][4], const u32 (&p)[PAIRS][4], const unsigned char* b) {
    const u64 rows = matrix(b, 16 * PAIRS * 2 * PANEL, EIGHT_ROWS);
    UNROLL
    for (u32 step = 0; step < PAIRS; step++) product_of_registers(c, p[step], farther(rows, 2 * step * EIGHT_ROWS));
}
