// Runs kernels that were compiled for the host, as a child of a test. Commands come on standard input, answers go to standard
// output; `child.rs` is the other end.
//
// A thread of a block is a fiber. The warps of a block run in an order drawn from the seed, each for a drawn number of
// meetings or until its lanes stand at the block's barrier, and the lanes of a warp run one after the other, in a drawn
// order, from meeting to meeting; others may run before all of them have come there. So a kernel that lacks a barrier reads,
// under some seed, what has not been written yet.
// An asynchronous copy may arrive at any time before its wait, and an asynchronous product may be computed then: seeds below 2³² let
// that happen at the wait, others at drawn times. Copies of whole boxes arrive in a drawn order.
// Shared memory is full of NaN when a block begins and lies between protected pages, as buffers do. Compiled with
// AddressSanitizer, which is told of buffers and of fibers, it also finds what goes past a thread's own arrays.
#include "runtime.h"

#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define UNCHECKED __attribute__((no_sanitize_address))
#else
#define ASAN_POISON_MEMORY_REGION(begin, len)
#define ASAN_UNPOISON_MEMORY_REGION(begin, len)
#define UNCHECKED
#endif

extern "C" {
Index emulated_thread, emulated_block, emulated_grid, emulated_block_size;
unsigned char* emulated_shared;
}

namespace {

const uint32_t WARP = 32;
const size_t PAGE = 4096;
const size_t STACK = 128 << 10;
// Bytes of a buffer end at most this much before the protected page; what lies between is NaN too, and has to stay it.
const size_t ALIGNMENT = 16;

const unsigned char NAN_BYTE = 0xff;

// ---- answers

void send(const void* bytes, size_t len) {
    if (fwrite(bytes, 1, len, stdout) != len) _exit(1);
}

void answer(bool good, const void* bytes, uint64_t len) {
    const uint8_t status = good ? 0 : 1;
    send(&status, 1);
    send(&len, 8);
    send(bytes, len);
    fflush(stdout);
}

void answer_good() {
    answer(true, "", 0);
}

void answer_error(const char* text) {
    answer(false, text, strlen(text));
}

// ---- memory

struct Buffer {
    unsigned char* mapping;
    size_t mapped;
    size_t len;
};

std::map<uint64_t, Buffer> buffers;

// Buffers from this size on begin as zeros and take memory only where they are touched: they are there for offsets beyond 32
// bits.
const size_t HUGE = 1 << 30;

// `len` bytes with a protected page right behind their end and another before their beginning.
Buffer guarded(size_t len, unsigned char** begin) {
    const size_t held = (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const size_t inner = (held + PAGE - 1) / PAGE * PAGE;
    void* mapping = mmap(nullptr, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return {nullptr, 0, 0};
    unsigned char* first = (unsigned char*)mapping + PAGE;
    if (inner > 0) mprotect(first, inner, PROT_READ | PROT_WRITE);
    *begin = first + inner - held;
    memset(first, NAN_BYTE, len < HUGE ? inner : inner - held);
    if (len >= HUGE) memset(*begin + len, NAN_BYTE, held - len);
    ASAN_POISON_MEMORY_REGION(first, inner - held);
    ASAN_POISON_MEMORY_REGION(*begin + len, held - len);
    return {(unsigned char*)mapping, inner + 2 * PAGE, len};
}

void release(const Buffer& buffer) {
    ASAN_UNPOISON_MEMORY_REGION(buffer.mapping, buffer.mapped);
    munmap(buffer.mapping, buffer.mapped);
}

// Whether the bytes around a buffer are as they were.
UNCHECKED bool intact(const Buffer& buffer, const unsigned char* begin) {
    const unsigned char* first = buffer.mapping + PAGE;
    const unsigned char* last = buffer.mapping + buffer.mapped - PAGE;
    for (const unsigned char* p = first; p < begin; p++) {
        if (*p != NAN_BYTE) return false;
    }
    for (const unsigned char* p = begin + buffer.len; p < last; p++) {
        if (*p != NAN_BYTE) return false;
    }
    return true;
}

// ---- fibers

typedef void (*Kernel)(const void*);

// WAITING is for a barrier in shared memory.
enum State { READY, MEETING, BARRIER, WAITING, DONE };

struct Lane {
    void* stack_pointer;
    unsigned char* stack;
    Index thread;
    State state;
    Meeting kind;
    void* operands;
    uint32_t parity;
    std::vector<std::vector<Copy>> groups;
    std::vector<Copy> open;
    std::vector<std::pair<uint32_t*, uint32_t>> stores;
};

// A warp's part of a product that was started and has not been computed.
struct Pending {
    WarpgroupProduct lanes[32];
};

// Of each warp: products in closed groups, and those that no group has yet.
struct Products {
    std::vector<std::vector<Pending>> groups;
    std::vector<Pending> open;
};

std::vector<Lane> lanes;
std::vector<Products> products;
std::vector<TensorBox> boxes;
Lane* running;
void* scheduler_stack;
Kernel kernel;
const void* parameters;
const char* kernel_name = "";
Buffer shared;
uint64_t random_state;
bool copies_hurry;

uint64_t draw() {
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#if defined(__x86_64__)
// Saves what the System V ABI lets a callee keep, and goes on where the other stack stood still.
extern "C" void switch_stack(void** save, void* load);
asm(R"(
.text
.globl switch_stack
switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
const size_t SAVED = 6;
#elif defined(__aarch64__)
extern "C" void switch_stack(void** save, void* load);
asm(R"(
.text
.globl switch_stack
switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
#else
#error "the emulation knows how to switch stacks on x86-64 and AArch64"
#endif

#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_bottom;
size_t scheduler_size;

// Before and after a switch, on the side that leaves and on the one that is come to.
void leaving(const void* bottom, size_t size) {
    __sanitizer_start_switch_fiber(nullptr, bottom, size);
}
void back_in_fiber() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
}
void back_in_scheduler() {
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}
#else
const void* const scheduler_bottom = nullptr;
const size_t scheduler_size = 0;
void leaving(const void*, size_t) {}
void back_in_fiber() {}
void back_in_scheduler() {}
#endif

void leave() {
    leaving(scheduler_bottom, scheduler_size);
    switch_stack(&running->stack_pointer, scheduler_stack);
    back_in_fiber();
}

void arrive(const Copy& copy) {
    if (copy.valid) {
        memcpy(copy.to, copy.from, copy.bytes);
    } else {
        memset(copy.to, 0, copy.bytes);
    }
}

// Lets all copies of the running thread arrive, now and then; its groups stay.
void hurry() {
    if (!copies_hurry || draw() % 4 != 0) return;
    for (auto& group : running->groups) {
        for (const Copy& copy : group) arrive(copy);
        group.clear();
    }
    for (const Copy& copy : running->open) arrive(copy);
    running->open.clear();
}

void body() {
    back_in_fiber();
    kernel(parameters);
    emulated_wait(0);
    for (const Copy& copy : running->open) arrive(copy);
    running->open.clear();
    running->state = DONE;
    leave();
}

void prepare(Lane& lane) {
    // Frames of the thread that had it before were never returned from.
    ASAN_UNPOISON_MEMORY_REGION(lane.stack, STACK);
    void** top = (void**)(lane.stack + STACK);
#if defined(__x86_64__)
    // A function is entered with its stack 8 bytes off a multiple of 16.
    *--top = nullptr;
    *--top = (void*)body;
    for (size_t i = 0; i < SAVED; i++) *--top = nullptr;
#else
    top -= 20;
    memset(top, 0, 160);
    top[11] = (void*)body;
#endif
    lane.stack_pointer = top;
    lane.state = READY;
    lane.groups.clear();
    lane.open.clear();
    lane.stores.clear();
}

void resume(Lane& lane) {
    running = &lane;
    emulated_thread = lane.thread;
    leaving(lane.stack, STACK);
    switch_stack(&scheduler_stack, lane.stack_pointer);
    back_in_scheduler();
}

uint32_t count(State state) {
    uint32_t found = 0;
    for (const Lane& lane : lanes) found += lane.state == state;
    return found;
}

// ---- meetings

bool inside_shared(const void* p, size_t len) {
    const unsigned char* at = (const unsigned char*)p;
    return at >= emulated_shared && at + len <= emulated_shared + shared.len;
}

float from_bf16(uint32_t bits) {
    const uint32_t wide = bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

void shuffle(Lane* warp) {
    for (uint32_t lane = 0; lane < WARP; lane++) {
        Shuffle* mine = (Shuffle*)warp[lane].operands;
        mine->result = ((Shuffle*)warp[mine->source].operands)->given;
    }
}

void load_matrices(Lane* warp, bool transposed) {
    uint16_t rows[4][8][8];
    for (uint32_t lane = 0; lane < WARP; lane++) {
        const void* row = ((Ldmatrix*)warp[lane].operands)->row;
        running = &warp[lane];
        if (!inside_shared(row, 16)) emulated_fault("ldmatrix reads outside shared memory");
        if ((uintptr_t)row % 16 != 0) emulated_fault("ldmatrix reads an address that is no multiple of 16");
        memcpy(rows[lane / 8][lane % 8], row, 16);
    }
    for (uint32_t lane = 0; lane < WARP; lane++) {
        uint32_t* to = ((Ldmatrix*)warp[lane].operands)->to;
        for (int i = 0; i < 4; i++) {
            const uint32_t row = lane / 4, column = 2 * (lane % 4);
            const uint16_t low = transposed ? rows[i][column][row] : rows[i][row][column];
            const uint16_t high = transposed ? rows[i][column + 1][row] : rows[i][row][column + 1];
            to[i] = low | (uint32_t)high << 16;
        }
    }
}

void multiply(Lane* warp) {
    // b transposed, so that both are read along k.
    float a[16][16], b[16][8];
    for (uint32_t lane = 0; lane < WARP; lane++) {
        const Mma* mma = (const Mma*)warp[lane].operands;
        const uint32_t g = lane / 4, t = 2 * (lane % 4);
        for (int i = 0; i < 4; i++) {
            const uint32_t row = g + 8 * (i % 2), column = t + 8 * (i / 2);
            a[row][column] = from_bf16(mma->a[i] & 0xffff);
            a[row][column + 1] = from_bf16(mma->a[i] >> 16);
        }
        for (int i = 0; i < 2; i++) {
            b[t + 8 * i][g] = from_bf16(mma->b[i] & 0xffff);
            b[t + 8 * i + 1][g] = from_bf16(mma->b[i] >> 16);
        }
    }
    float d[16][8];
    for (int row = 0; row < 16; row++) {
        float sum[8] = {};
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < 8; column++) sum[column] += a[row][k] * b[k][column];
        }
        memcpy(d[row], sum, sizeof sum);
    }
    for (uint32_t lane = 0; lane < WARP; lane++) {
        float* to = ((const Mma*)warp[lane].operands)->d;
        const uint32_t g = lane / 4, t = 2 * (lane % 4);
        for (int i = 0; i < 4; i++) to[i] += d[g + 8 * (i / 2)][t + i % 2];
    }
}

// ---- barriers in shared memory

struct Mbarrier {
    uint8_t mark, phase, arrivals, left;
    int32_t bytes;
};

const uint8_t MARK = 0xb5;

Mbarrier* barrier_at(void* at) {
    if (!inside_shared(at, 8) || (uintptr_t)at % 8 != 0) emulated_fault("a barrier that is not in shared memory");
    if (((Mbarrier*)at)->mark != MARK) emulated_fault("a barrier that was not made");
    return (Mbarrier*)at;
}

void end_phase(Mbarrier* barrier) {
    if (barrier->left > 0 || barrier->bytes != 0) return;
    barrier->phase ^= 1;
    barrier->left = barrier->arrivals;
    if (!copies_hurry) return;
    for (Lane& lane : lanes) {
        if (lane.state == WAITING && lane.operands == barrier && lane.parity != barrier->phase) lane.state = READY;
    }
}

// Words of a tensor map as `child.rs` writes them: address, sizes, strides of heads and rows in bytes, rows of a box.
uint64_t land_box(const TensorBox& box) {
    const uint64_t *map = box.map, rows = map[6], row_bytes = 128;
    unsigned char* to = (unsigned char*)box.to;
    if (!inside_shared(to, rows * row_bytes)) emulated_fault("a box outside shared memory");
    if ((to - emulated_shared) % 1024 != 0) emulated_fault("a box at an address that is no multiple of 1024");
    for (uint64_t row = 0; row < rows; row++) {
        for (uint32_t place = 0; place < 8; place++) {
            unsigned char* place_to = to + row * row_bytes + (place ^ row % 8) * 16;
            const uint64_t column = box.at[0] + 8 * place, head = box.at[1], at = box.at[2] + row;
            const bool there = column < map[1] && head < map[2] && at < map[3];
            if (there) {
                memcpy(place_to, (const void*)(map[0] + 2 * column + head * map[4] + at * map[5]), 16);
            } else {
                memset(place_to, 0, 16);
            }
        }
    }
    return rows * row_bytes;
}

uint64_t land_bytes(const TensorBox& box) {
    if (!inside_shared(box.to, box.bytes)) emulated_fault("a copy outside shared memory");
    if (((uintptr_t)box.to | (uintptr_t)box.from | box.bytes) % 16 != 0) {
        emulated_fault("a copy whose addresses or bytes are no multiple of 16");
    }
    memcpy(box.to, box.from, box.bytes);
    return box.bytes;
}

void land(const TensorBox& box) {
    const uint64_t bytes = box.from ? land_bytes(box) : land_box(box);
    Mbarrier* barrier = barrier_at(box.barrier);
    barrier->bytes -= (int32_t)bytes;
    end_phase(barrier);
}

// Lets one of the boxes arrive.
void land_one() {
    const size_t which = draw() % boxes.size();
    const TensorBox box = boxes[which];
    boxes.erase(boxes.begin() + which);
    land(box);
}

// Lets threads go on whose phase is over; without any, boxes arrive until there is one.
bool wake() {
    for (;;) {
        for (Lane& lane : lanes) {
            if (lane.state == WAITING && ((Mbarrier*)lane.operands)->phase != lane.parity) lane.state = READY;
        }
        if (count(READY) > 0) return true;
        if (boxes.empty()) return false;
        land_one();
    }
}

// ---- products of warpgroups

// A number of a matrix in shared memory: row r and column k of one that lies by rows, where a row's 16 numbers are in one
// 128-byte row; of one that lies by columns, `turned`, k counts its rows (PTX ISA, "Canonical Layouts", 128-byte swizzle).
float number(uint64_t matrix, uint32_t r, uint32_t k, bool turned) {
    if (matrix >> 62 != 1) emulated_fault("a matrix that is not swizzled by 128 bytes");
    const uint32_t start = (matrix & 0x3fff) << 4, leading = (matrix >> 16 & 0x3fff) << 4, stride = (matrix >> 32 & 0x3fff) << 4;
    uint32_t at = turned ? start + r / 64 * leading + k / 8 * stride + k % 8 * 128 + r % 64 * 2
                         : start + r / 8 * stride + r % 8 * 128 + k * 2;
    at ^= (at >> 7 & 7) << 4;
    if (!inside_shared(emulated_shared + at, 2)) emulated_fault("a product reads outside shared memory");
    uint16_t bits;
    memcpy(&bits, emulated_shared + at, 2);
    return from_bf16(bits);
}

void compute(const Pending& pending, uint32_t warp) {
    const WarpgroupProduct& all = pending.lanes[0];
    float a[16][16];
    static float b[16][256];
    for (uint32_t k = 0; k < 16; k++) {
        for (uint32_t n = 0; n < all.columns; n++) b[k][n] = number(all.b_matrix, n, k, all.turned);
        for (uint32_t row = 0; row < 16 && !all.a_in_registers; row++) {
            a[row][k] = number(all.a_matrix, warp % 4 * 16 + row, k, all.turned);
        }
    }
    for (uint32_t lane = 0; lane < WARP && all.a_in_registers; lane++) {
        for (int i = 0; i < 4; i++) {
            const uint32_t row = lane / 4 + 8 * (i % 2), column = 2 * (lane % 4) + 8 * (i / 2);
            a[row][column] = from_bf16(pending.lanes[lane].a[i] & 0xffff);
            a[row][column + 1] = from_bf16(pending.lanes[lane].a[i] >> 16);
        }
    }
    for (uint32_t row = 0; row < 16; row++) {
        float sum[256] = {};
        for (uint32_t k = 0; k < 16; k++) {
            for (uint32_t n = 0; n < all.columns; n++) sum[n] += a[row][k] * b[k][n];
        }
        for (uint32_t n = 0; n < all.columns; n++) {
            const WarpgroupProduct& holder = pending.lanes[row % 8 * 4 + n % 8 / 2];
            float& to = holder.d[n / 8 * 4 + row / 8 * 2 + n % 2];
            to = holder.add ? to + sum[n] : sum[n];
        }
    }
}

void compute_all(std::vector<Pending>& pending, uint32_t warp) {
    for (const Pending& one : pending) compute(one, warp);
    pending.clear();
}

void start_product(Lane* warp) {
    const uint32_t number = (warp - lanes.data()) / WARP;
    Products& mine = products[number];
    mine.open.emplace_back();
    for (uint32_t lane = 0; lane < WARP; lane++) mine.open.back().lanes[lane] = *(const WarpgroupProduct*)warp[lane].operands;
    if (!copies_hurry || draw() % 4 != 0) return;
    for (auto& group : mine.groups) compute_all(group, number);
    compute_all(mine.open, number);
}

void commit_products(Lane* warp) {
    Products& mine = products[(warp - lanes.data()) / WARP];
    mine.groups.push_back(std::move(mine.open));
    mine.open.clear();
}

void wait_for_products(Lane* warp) {
    const uint32_t number = (warp - lanes.data()) / WARP;
    auto& groups = products[number].groups;
    const size_t left = *(const int*)warp->operands;
    while (groups.size() > left) {
        compute_all(groups.front(), number);
        groups.erase(groups.begin());
    }
}

void meet(Lane* warp, Meeting kind) {
    switch (kind) {
        case SYNC_WARP: break;
        case SHUFFLE: shuffle(warp); break;
        case LDMATRIX: load_matrices(warp, false); break;
        case LDMATRIX_TRANSPOSED: load_matrices(warp, true); break;
        case MMA: multiply(warp); break;
        case PRODUCT: start_product(warp); break;
        case PRODUCTS_COMMIT: commit_products(warp); break;
        case PRODUCTS_WAIT: wait_for_products(warp); break;
    }
    for (uint32_t lane = 0; lane < WARP; lane++) warp[lane].state = READY;
}

// ---- scheduling

// Runs the lanes that can, in a drawn order, now and then only some of them; false if there was none.
bool run_lanes(Lane* warp) {
    bool ran = false;
    const uint64_t drawn = draw();
    const uint32_t first = drawn % WARP, step = (drawn >> 8) % WARP | 1;
    const uint32_t some = (drawn >> 16) % 4 == 0 ? (drawn >> 24) % WARP + 1 : WARP;
    for (uint32_t i = 0; i < some; i++) {
        Lane& lane = warp[(first + i * step) % WARP];
        if (lane.state != READY) continue;
        resume(lane);
        ran = true;
    }
    return ran;
}

// Whether all lanes stand at one instruction; a fault if some stand there and others never will.
bool complete(Lane* warp) {
    uint32_t waiting = 0;
    for (uint32_t lane = 0; lane < WARP; lane++) waiting += warp[lane].state == MEETING;
    if (waiting == 0) return false;
    for (uint32_t lane = 0; lane < WARP; lane++) {
        running = &warp[lane];
        // It comes when its turn comes, or its barrier lets it.
        if (warp[lane].state == READY || warp[lane].state == WAITING) return false;
        if (warp[lane].state != MEETING) emulated_fault("a lane is not where the others of its warp wait for it");
        if (warp[lane].kind != warp[0].kind) emulated_fault("the lanes of a warp wait at different instructions");
    }
    return true;
}

// Runs a warp for a drawn number of meetings at most.
void run_warp(Lane* warp) {
    const uint64_t drawn = draw();
    uint64_t quantum = drawn % 2 == 0 ? 1 + (drawn >> 8) % 16 : ~0ull;
    while (run_lanes(warp)) {
        if (complete(warp)) meet(warp, warp[0].kind);
        if (--quantum == 0) return;
    }
}

void shuffle_order(std::vector<uint32_t>& order) {
    for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[draw() % i]);
}

std::vector<uint32_t> numbers(uint32_t count) {
    std::vector<uint32_t> order(count);
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    return order;
}

void run_block() {
    memset(emulated_shared, NAN_BYTE, shared.len);
    for (Lane& lane : lanes) prepare(lane);
    std::vector<uint32_t> order = numbers(lanes.size() / WARP);
    while (count(DONE) < lanes.size()) {
        shuffle_order(order);
        do {
            while (count(READY) > 0) {
                for (uint32_t warp : order) run_warp(&lanes[warp * WARP]);
            }
        } while (wake());
        if (count(DONE) == lanes.size()) break;
        if (count(WAITING) > 0) emulated_fault("some threads wait for a phase that nobody ends");
        if (count(BARRIER) != lanes.size()) emulated_fault("some threads wait at a barrier that others never reach");
        for (Lane& lane : lanes) lane.state = READY;
    }
    if (!boxes.empty()) emulated_fault("a box that nobody waited for");
    for (const Products& warp : products) {
        if (!warp.groups.empty() || !warp.open.empty()) emulated_fault("a product that nobody waited for");
    }
    if (!intact(shared, emulated_shared)) emulated_fault("a write outside shared memory");
}

void make_lanes(uint32_t threads) {
    static std::vector<unsigned char*> stacks;
    while (stacks.size() < threads) {
        unsigned char* begin;
        guarded(STACK, &begin);
        stacks.push_back(begin);
    }
    lanes.assign(threads, Lane());
    products.assign(threads / WARP, Products());
    for (uint32_t i = 0; i < threads; i++) {
        lanes[i].stack = stacks[i];
        lanes[i].thread = {i, 0, 0};
    }
}

// ---- what goes wrong

void locate(uint64_t address, char* text, size_t len) {
    for (const auto& entry : buffers) {
        const Buffer& buffer = entry.second;
        const uint64_t from = (uint64_t)buffer.mapping, to = from + buffer.mapped;
        if (address < from || address >= to) continue;
        snprintf(text, len, "byte %lld of a buffer of %zu bytes", (long long)(address - entry.first), buffer.len);
        return;
    }
    const uint64_t from = (uint64_t)shared.mapping;
    if (shared.mapping && address >= from && address < from + shared.mapped) {
        snprintf(text, len, "byte %lld of %zu bytes of shared memory", (long long)(address - (uint64_t)emulated_shared),
                 shared.len);
        return;
    }
    snprintf(text, len, "address %#llx, which is in no buffer", (unsigned long long)address);
}

void on_signal(int, siginfo_t* info, void*) {
    char place[160], text[200];
    locate((uint64_t)info->si_addr, place, sizeof place);
    snprintf(text, sizeof text, "an access to %s", place);
    emulated_fault(text);
}

void catch_signals() {
    static unsigned char stack[64 << 10];
    stack_t alternative = {};
    alternative.ss_sp = stack;
    alternative.ss_size = sizeof stack;
    sigaltstack(&alternative, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigaction(signal, &action, nullptr);
}

// ---- commands

template <class T>
T take() {
    T value;
    if (fread(&value, sizeof value, 1, stdin) != 1) exit(0);
    return value;
}

std::vector<unsigned char> take_bytes(uint64_t len) {
    std::vector<unsigned char> bytes(len);
    if (len > 0 && fread(bytes.data(), 1, len, stdin) != len) exit(0);
    return bytes;
}

// Whether a range lies in one buffer.
bool inside_buffer(uint64_t address, uint64_t len) {
    auto entry = buffers.upper_bound(address);
    if (entry == buffers.begin()) return false;
    --entry;
    return address - entry->first <= entry->second.len && len <= entry->second.len - (address - entry->first);
}

void allocate() {
    unsigned char* begin = nullptr;
    const uint64_t len = take<uint64_t>();
    const Buffer buffer = guarded(len, &begin);
    if (!buffer.mapping) return answer_error("out of memory");
    const uint64_t address = (uint64_t)begin;
    buffers[address] = buffer;
    answer(true, &address, 8);
}

void free_buffer() {
    const auto entry = buffers.find(take<uint64_t>());
    if (entry == buffers.end()) return answer_error("freed what is no buffer");
    const bool good = intact(entry->second, (unsigned char*)entry->first);
    release(entry->second);
    buffers.erase(entry);
    good ? answer_good() : answer_error("a write outside a buffer, found when it was freed");
}

void write_buffer() {
    const uint64_t to = take<uint64_t>(), len = take<uint64_t>();
    const std::vector<unsigned char> bytes = take_bytes(len);
    if (!inside_buffer(to, len)) return answer_error("a copy to the outside of a buffer");
    memcpy((void*)to, bytes.data(), len);
    answer_good();
}

void read_buffer() {
    const uint64_t from = take<uint64_t>(), len = take<uint64_t>();
    if (!inside_buffer(from, len)) return answer_error("a copy from the outside of a buffer");
    answer(true, (const void*)from, len);
}

void copy_buffer() {
    const uint64_t from = take<uint64_t>(), to = take<uint64_t>(), len = take<uint64_t>();
    if (!inside_buffer(from, len) || !inside_buffer(to, len)) return answer_error("a copy outside of a buffer");
    memmove((void*)to, (const void*)from, len);
    answer_good();
}

void fill_buffer() {
    const uint64_t to = take<uint64_t>(), len = take<uint64_t>();
    const uint8_t value = take<uint8_t>();
    if (!inside_buffer(to, len)) return answer_error("a fill of the outside of a buffer");
    memset((void*)to, value, len);
    answer_good();
}

void load() {
    const uint64_t len = take<uint64_t>();
    std::vector<unsigned char> path = take_bytes(len);
    path.push_back(0);
    void* library = dlopen((const char*)path.data(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return answer_error(dlerror());
    answer(true, &library, 8);
}

void* symbol(void* library, const std::string& name) {
    return dlsym(library, name.c_str());
}

void launch() {
    void* library = take<void*>();
    const std::vector<unsigned char> text = take_bytes(take<uint64_t>());
    static std::string name;
    name.assign(text.begin(), text.end());
    kernel_name = name.c_str();
    emulated_grid = take<Index>();
    const uint32_t threads = take<uint32_t>(), shared_bytes = take<uint32_t>();
    random_state = take<uint64_t>();
    copies_hurry = random_state >> 32 != 0;
    const std::vector<unsigned char> given = take_bytes(take<uint64_t>());
    kernel = (Kernel)symbol(library, name);
    if (!kernel) return answer_error("the module has no kernel of this name");
    auto* params = (size_t (*)())symbol(library, name + "_params");
    auto* expected = (uint32_t (*)())symbol(library, name + "_threads");
    if (params() != given.size()) return answer_error("the kernel's parameters have another size");
    if (expected() != threads || threads % WARP != 0) return answer_error("the kernel wants another number of threads");
    make_lanes(threads);
    emulated_block_size = {threads, 1, 1};
    shared = guarded(shared_bytes, &emulated_shared);
    parameters = given.data();
    const uint64_t blocks = (uint64_t)emulated_grid.x * emulated_grid.y * emulated_grid.z;
    std::vector<uint32_t> order = numbers(blocks);
    shuffle_order(order);
    for (uint32_t block : order) {
        emulated_block = {block % emulated_grid.x, block / emulated_grid.x % emulated_grid.y,
                          block / emulated_grid.x / emulated_grid.y};
        run_block();
    }
    release(shared);
    shared = {};
    for (const auto& entry : buffers) {
        if (!intact(entry.second, (unsigned char*)entry.first)) emulated_fault("a write outside a buffer");
    }
    answer_good();
}

}  // namespace

extern "C" {

void emulated_meet(Meeting kind, void* operands) {
    hurry();
    running->state = MEETING;
    running->kind = kind;
    running->operands = operands;
    leave();
}

void emulated_barrier() {
    hurry();
    running->state = BARRIER;
    leave();
}

void emulated_copy(Copy copy) {
    if (!inside_shared(copy.to, copy.bytes)) emulated_fault("cp.async writes outside shared memory");
    if ((uintptr_t)copy.to % copy.bytes != 0 || (uintptr_t)copy.from % copy.bytes != 0) {
        emulated_fault("cp.async at an address that is no multiple of its bytes");
    }
    running->open.push_back(copy);
    hurry();
}

void emulated_barrier_init(void* barrier, uint32_t arrivals) {
    if (!inside_shared(barrier, 8) || arrivals == 0 || arrivals > 255) emulated_fault("a barrier that cannot be");
    const Mbarrier made = {MARK, 0, (uint8_t)arrivals, (uint8_t)arrivals, 0};
    memcpy(barrier, &made, sizeof made);
}

void emulated_barrier_arrive(void* at, uint32_t bytes) {
    Mbarrier* barrier = barrier_at(at);
    if (barrier->left == 0) emulated_fault("more threads arrive at a barrier than it has room for");
    barrier->left--;
    barrier->bytes += bytes;
    end_phase(barrier);
}

void emulated_barrier_wait(void* at, uint32_t parity) {
    Mbarrier* barrier = barrier_at(at);
    running->operands = barrier;
    running->parity = parity;
    if (copies_hurry && !boxes.empty() && draw() % 4 == 0) land_one();
    if (barrier->phase != parity) return;
    running->state = WAITING;
    leave();
}

void emulated_copy_box(const TensorBox& box) {
    boxes.push_back(box);
}

void emulated_store(void* to, uint32_t word) {
    if (!inside_shared(to, 4) || (uintptr_t)to % 4 != 0) emulated_fault("a store for products outside shared memory");
    running->stores.emplace_back((uint32_t*)to, word);
}

void emulated_stored() {
    for (const auto& store : running->stores) *store.first = store.second;
    running->stores.clear();
}

void emulated_commit() {
    running->groups.push_back(std::move(running->open));
    running->open.clear();
}

void emulated_wait(int groups) {
    auto& under_way = running->groups;
    const size_t done = under_way.size() > (size_t)groups ? under_way.size() - groups : 0;
    for (size_t i = 0; i < done; i++) {
        for (const Copy& copy : under_way[i]) arrive(copy);
    }
    under_way.erase(under_way.begin(), under_way.begin() + done);
}

void emulated_fault(const char* message) {
    char text[512];
    const Index at = emulated_block, of = running ? running->thread : Index{0, 0, 0};
    snprintf(text, sizeof text, "%s, by thread %u of block (%u, %u, %u) of %s", message, of.x, at.x, at.y, at.z, kernel_name);
    answer_error(text);
    _exit(3);
}

}

#if defined(__SANITIZE_ADDRESS__)
extern "C" const char* __asan_default_options() {
    return "detect_leaks=0:detect_stack_use_after_return=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0";
}

extern "C" void __asan_on_error() {
    emulated_fault("an access past the end of something, which AddressSanitizer names on standard error");
}
#endif

int main() {
    catch_signals();
    for (;;) {
        switch (take<uint8_t>()) {
            case 'A': allocate(); break;
            case 'F': free_buffer(); break;
            case 'W': write_buffer(); break;
            case 'R': read_buffer(); break;
            case 'C': copy_buffer(); break;
            case 'Z': fill_buffer(); break;
            case 'L': load(); break;
            case 'X': launch(); break;
            default: return 2;
        }
    }
}
