// `primitives.cuh` for the host compiler. Everything in which threads meet goes to `runtime.cpp`.
#include <math.h>
#include <string.h>

#define KERNEL(name, Params, threads)                                    \
    static void name##_body(const Params& p);                            \
    extern "C" size_t name##_params() { return sizeof(Params); }         \
    extern "C" uint32_t name##_threads() { return threads; }             \
    extern "C" void name(const void* p) { name##_body(*(const Params*)p); } \
    static void name##_body(const Params& p)
#define KERNEL_RESIDENT(name, Params, threads, blocks) KERNEL(name, Params, threads)
#define SHARED(name) unsigned char* const name = emulated_shared
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define UNROLL
#define CONSTANT static const

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef int i32;

struct alignas(16) uint4 {
    u32 x, y, z, w;
};
struct alignas(8) uint2 {
    u32 x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};

#define threadIdx emulated_thread
#define blockIdx emulated_block
#define gridDim emulated_grid
#define blockDim emulated_block_size

static inline void __syncthreads() {
    emulated_barrier();
}

static inline void __syncwarp() {
    emulated_meet(SYNC_WARP, nullptr);
}

template <class Number>
static inline Number shuffle_from(Number x, u32 source) {
    Shuffle operands = {0, 0, source};
    memcpy(&operands.given, &x, sizeof x);
    emulated_meet(SHUFFLE, &operands);
    memcpy(&x, &operands.result, sizeof x);
    return x;
}

template <class Number>
static inline Number __shfl_xor_sync(u32, Number x, u32 lanes) {
    return shuffle_from(x, (threadIdx.x % 32) ^ lanes);
}

template <class Number>
static inline Number __shfl_sync(u32, Number x, u32 lane) {
    return shuffle_from(x, lane % 32);
}

static inline u32 thread_again() {
    return threadIdx.x;
}

static inline u32 round_to_bf16(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    if (x != x) {
        return 0x7fff;
    }
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static inline u32 pack_bf16(float low, float high) {
    return round_to_bf16(low) | round_to_bf16(high) << 16;
}

static inline float exp2_fast(float x) {
    return exp2f(x);
}

static inline float log2_fast(float x) {
    return log2f(x);
}

static inline void mma_bf16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    Mma operands = {d, a, {b0, b1}};
    emulated_meet(MMA, &operands);
}

static inline void ldmatrix(u32 (&r)[4], const void* row) {
    Ldmatrix operands = {r, row};
    emulated_meet(LDMATRIX, &operands);
}

static inline void ldmatrix_transposed(u32 (&r)[4], const void* row) {
    Ldmatrix operands = {r, row};
    emulated_meet(LDMATRIX_TRANSPOSED, &operands);
}

static inline void copy_async(void* to, const void* from, bool valid) {
    emulated_copy({to, from, 16, valid});
}

static inline void copy_async8(void* to, const void* from, bool valid) {
    emulated_copy({to, from, 8, valid});
}

static inline void copy_commit() {
    emulated_commit();
}

template <int N>
static inline void copy_wait() {
    emulated_wait(N);
}

// Either way is emulated, by head size.
#define ADDS_FOUR (HEAD_DIM % 32 == 0)

// No other thread runs between the read and the write.
static inline void add_one(float* to, float x) {
    *to += x;
}

static inline void add_four(float* to, const float (&x)[4]) {
    if ((uintptr_t)to % 16 != 0) emulated_fault("red.v4 at an address that is no multiple of 16");
    for (int i = 0; i < 4; i++) to[i] += x[i];
}
