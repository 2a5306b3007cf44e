// `hopper.cuh` for the host compiler.

static inline u32 shared_address(const void* p) {
    return (u32)((const unsigned char*)p - emulated_shared);
}

struct Barrier {
    u64 state;
};

static inline void barrier_init(Barrier* barrier, u32 arrivals) {
    emulated_barrier_init(barrier, arrivals);
}

static inline void barriers_made() {}

static inline void barrier_arrive(Barrier* barrier) {
    emulated_barrier_arrive(barrier, 0);
}

static inline void barrier_expect(Barrier* barrier, u32 bytes) {
    emulated_barrier_arrive(barrier, bytes);
}

static inline void barrier_wait(Barrier* barrier, u32 parity) {
    emulated_barrier_wait(barrier, parity);
}

struct alignas(128) TensorMap {
    u64 words[16];
};

static inline void copy_box(void* to, const TensorMap* map, u32 column, u32 head, u32 row, Barrier* barrier) {
    TensorBox box = {to, barrier, nullptr, 0, {column, head, row}, {}};
    memcpy(box.map, map->words, sizeof box.map);
    emulated_copy_box(box);
}

static inline void copy_bytes(void* to, const void* from, u32 bytes, Barrier* barrier) {
    emulated_copy_box({to, barrier, from, bytes, {}, {}});
}

static inline u64 matrix(const void* at, u32 leading, u32 stride) {
    return (u64)(shared_address(at) & 0x3ffff) >> 4 | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32 | (u64)1 << 62;
}

static inline u64 farther(u64 matrix, u32 bytes) {
    return matrix + (bytes >> 4);
}

template <u32 COUNT>
static inline void product_of_shared(float (&d)[COUNT][4], u64 a, u64 b, bool add) {
    WarpgroupProduct operands = {&d[0][0], 8 * COUNT, a, b, {}, false, false, add};
    emulated_meet(PRODUCT, &operands);
}

static inline void product_of_turned(float (&d)[8][4], u64 a, u64 b, bool add) {
    WarpgroupProduct operands = {&d[0][0], 64, a, b, {}, false, true, add};
    emulated_meet(PRODUCT, &operands);
}

template <u32 COUNT>
static inline void product_of_registers(float (&d)[COUNT][4], const u32 (&a)[4], u64 b) {
    WarpgroupProduct operands = {&d[0][0], 8 * COUNT, 0, b, {a[0], a[1], a[2], a[3]}, true, true, true};
    emulated_meet(PRODUCT, &operands);
}

static inline void store_for_products(void* to, u32 word) {
    emulated_store(to, word);
}

static inline void stored_for_products() {
    emulated_stored();
}

static inline void products_begin() {}

static inline void products_commit() {
    emulated_meet(PRODUCTS_COMMIT, nullptr);
}

template <int N>
static inline void products_wait() {
    int left = N;
    emulated_meet(PRODUCTS_WAIT, &left);
}

template <class Number, u32 COUNT>
static inline void keep(Number (&)[COUNT][4]) {}

template <int N>
static inline void fewer_registers() {}

template <int N>
static inline void more_registers() {}
