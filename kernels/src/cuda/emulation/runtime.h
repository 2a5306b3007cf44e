// What a kernel that was compiled for the host asks of the program that runs it (`runtime.cpp`).
#include <cstdint>

struct Index {
    uint32_t x, y, z;
};

// A copy that was started and has not arrived.
struct Copy {
    void* to;
    const void* from;
    uint32_t bytes;
    bool valid;
};

// The instructions in which the lanes of a warp meet.
enum Meeting { SYNC_WARP, SHUFFLE, LDMATRIX, LDMATRIX_TRANSPOSED, MMA, PRODUCT, PRODUCTS_COMMIT, PRODUCTS_WAIT };

struct Shuffle {
    uint64_t given, result;
    uint32_t source;
};

struct Ldmatrix {
    uint32_t* to;
    const void* row;
};

struct Mma {
    float* d;
    const uint32_t* a;
    uint32_t b[2];
};

// A lane's part of a warpgroup's product, m64nNk16: it holds d, and its words of a unless that lies in shared memory.
struct WarpgroupProduct {
    float* d;
    uint32_t columns;
    uint64_t a_matrix, b_matrix;
    uint32_t a[4];
    // `turned` matrices in shared memory lie by columns.
    bool a_in_registers, turned, add;
};

// A box of a tensor map, or bytes from `from` on, on its way to shared memory.
struct TensorBox {
    void* to;
    void* barrier;
    const void* from;
    uint32_t bytes;
    uint32_t at[3];
    uint64_t map[16];
};

extern "C" {
// Of the thread that runs.
extern Index emulated_thread, emulated_block, emulated_grid, emulated_block_size;
extern unsigned char* emulated_shared;
// Returns when every lane of the warp has come here with the same instruction, and it is done.
void emulated_meet(Meeting kind, void* operands);
// __syncthreads.
void emulated_barrier();
void emulated_copy(Copy copy);
void emulated_commit();
void emulated_wait(int groups);
// Barriers in shared memory; arriving announces bytes, and those that a box brings count against them.
void emulated_barrier_init(void* barrier, uint32_t arrivals);
void emulated_barrier_arrive(void* barrier, uint32_t bytes);
void emulated_barrier_wait(void* barrier, uint32_t parity);
void emulated_copy_box(const TensorBox& box);
// A word for products to read: it is not there before the thread says that it has stored all.
void emulated_store(void* to, uint32_t word);
void emulated_stored();
[[noreturn]] void emulated_fault(const char* message);
}
