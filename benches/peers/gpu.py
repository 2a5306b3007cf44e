"""PyTorch's scaled_dot_product_attention on this machine's GPU: a line on the versions, then a case and its milliseconds a line.

Run by `cargo run --release --example gpu -- bench --python python3`. The first column's names are that program's.
"""

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def median(job):
    for _ in range(3):
        job()
    times = []
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        job()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def attention(tokens, backend, label):
    shape = (1, 32, tokens, 128)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    dout = torch.randn_like(q)
    with sdpa_kernel(backend):
        forward = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        print(f"attention causal T={tokens} 32x128{label}\t{median(forward)}")
        out = forward()
        backward = lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)
        print(f"attention causal T={tokens} 32x128{label}, gradients\t{median(backward)}")


def main():
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    tokens = int(sys.argv[1])
    shortest = min(tokens, 16 << 10)
    while tokens >= shortest:
        attention(tokens, SDPBackend.FLASH_ATTENTION, "")
        try:
            attention(tokens, SDPBackend.CUDNN_ATTENTION, ", cuDNN")
        except RuntimeError as error:
            print(f"cuDNN: {error}", file=sys.stderr)
        tokens //= 2


if __name__ == "__main__":
    main()
