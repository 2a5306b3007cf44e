// SwiGLU in bf16, elementwise; contract in mod.rs.
//
// THREADS  of a block

struct Forward {
    const bf16* gate;
    const bf16* up;
    bf16* out;
    // Numbers, a multiple of 8: each thread takes eight
    u64 len;
};

struct Backward {
    const bf16* dout;
    bf16* gate;
    bf16* up;
    u64 len;
};

DEVICE float sigmoid(float x) {
    return 1.0f / (1.0f + exp2_fast(-x * LOG2_E));
}

DEVICE u64 place() {
    return ((u64)blockIdx.x * THREADS + threadIdx.x) * 8;
}

KERNEL(swiglu_forward, Forward, THREADS) {
    const u64 at = place();
    if (at >= p.len) return;
    float gate[8], up[8], out[8];
    load8(gate, p.gate + at);
    load8(up, p.up + at);
    UNROLL
    for (int i = 0; i < 8; i++) out[i] = gate[i] * sigmoid(gate[i]) * up[i];
    store8(p.out + at, out);
}

KERNEL(swiglu_backward, Backward, THREADS) {
    const u64 at = place();
    if (at >= p.len) return;
    float dout[8], gate[8], up[8];
    load8(dout, p.dout + at);
    load8(gate, p.gate + at);
    load8(up, p.up + at);
    UNROLL
    for (int i = 0; i < 8; i++) {
        const float s = sigmoid(gate[i]), g = gate[i];
        gate[i] = dout[i] * up[i] * s * (1.0f + g * (1.0f - s));
        up[i] = dout[i] * g * s;
    }
    store8(p.gate + at, gate);
    store8(p.up + at, up);
}
