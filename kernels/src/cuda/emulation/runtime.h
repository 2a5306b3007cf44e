// What a kernel that was compiled for the host asks of the program that runs it (`runtime.cpp`).
#include <cstdint>

struct Index {
    uint32_t x, y, z;
};

// A copy that was started and has not arrived.
struct Copy {
    void* to;
    const void* from;
    bool valid;
};

// The instructions in which the lanes of a warp meet.
enum Meeting { SYNC_WARP, SHUFFLE, LDMATRIX, LDMATRIX_TRANSPOSED, MMA };

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
[[noreturn]] void emulated_fault(const char* message);
}
