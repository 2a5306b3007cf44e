// What the kernels need from an NVIDIA GPU of compute capability 8.0 or later, and nothing else: every instruction that C++
// does not know has one function here. `emulation/primitives.h` holds the same names for the host compiler. No CUDA header
// is included, since a machine that has NVRTC may have none. Names of instructions are those of the PTX ISA 8.x.

// The one way to write a kernel: it takes a struct by value, which Rust fills (`cuda::Params`).
#define KERNEL(name, Params, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p)
// As KERNEL; the compiler keeps to so few registers that `blocks` of them fit a multiprocessor.
#define KERNEL_RESIDENT(name, Params, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Params p)
// The block's shared memory, all of it dynamic.
#define SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define CONSTANT static __device__ __constant__ const

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef int i32;

DEVICE u32 shared_address(const void* p) {
    return (u32)__cvta_generic_to_shared(p);
}

// threadIdx.x, asked for anew: the compiler keeps nothing that it has worked out of it before.
DEVICE u32 thread_again() {
    u32 thread;
    asm volatile("mov.u32 %0, %tid.x;" : "=r"(thread));
    return thread;
}

// Two f32 to bf16, rounded to nearest even; `low` goes to the low half (PTX cvt.rn.bf16x2.f32: the first source is the high).
DEVICE u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// 2^x to 2 ulp; 0 for −∞.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// log₂(x) to 1 ulp or 2⁻²² near 1; −∞ for 0.
DEVICE float log2_fast(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// d += a · b for a 16×16 (row-major), b 16×8 (column-major), d 16×8 (PTX ISA, "Matrix Fragments for mma.m16n8k16 with
// floating point type"). With g = lane ÷ 4 and t = lane mod 4:
//   a[0] = rows g, columns 2t..2t+1      a[1] = row g + 8     a[2] = columns + 8     a[3] = both
//   b[0] = rows 2t..2t+1, column g       b[1] = rows + 8
//   d[0..1] = row g, columns 2t..2t+1    d[2..3] = row g + 8
DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8×8 matrices of 16-bit numbers: lanes 8i..8i+7 name the rows of matrix i, 16 bytes each; in r[i] lane l gets row l ÷ 4,
// columns 2(l mod 4) and the next (PTX ISA, "ldmatrix").
DEVICE void ldmatrix(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)) : "memory");
}

// The same with each matrix transposed: lane l gets column l ÷ 4, rows 2(l mod 4) and the next.
DEVICE void ldmatrix_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)) : "memory");
}

// Starts a copy of 16 bytes from global to shared memory, past the first-level cache; where `valid` is false
// zeros arrive and nothing is read (PTX ISA, "cp.async", a src-size of 0).
DEVICE void copy_async(void* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0) : "memory");
}

// The same of 8 bytes, which only "cp.async.ca" takes.
DEVICE void copy_async8(void* to, const void* from, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
                 :: "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(valid ? 8 : 0) : "memory");
}

// Closes this thread's group of copies.
DEVICE void copy_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `N` of this thread's groups are under way. Other threads' copies need a barrier after it.
template <int N>
DEVICE void copy_wait() {
    asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}

// Whether one instruction adds four numbers to global memory (PTX ISA, "red", .v4.f32: compute capability 9.0).
#define ADDS_FOUR (__CUDA_ARCH__ >= 900)

// *to += x, in whatever order threads come.
DEVICE void add_one(float* to, float x) {
    asm volatile("red.global.relaxed.gpu.add.f32 [%0], %1;" :: "l"(__cvta_generic_to_global(to)), "f"(x) : "memory");
}

#if ADDS_FOUR
// The same for four numbers; `to` is a multiple of 16.
DEVICE void add_four(float* to, const float (&x)[4]) {
    asm volatile("red.global.relaxed.gpu.add.v4.f32 [%0], {%1,%2,%3,%4};"
                 :: "l"(__cvta_generic_to_global(to)), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]) : "memory");
}
#endif
