"""PyTorch's scaled_dot_product_attention on this machine's GPU: a line on the versions, then a case and its milliseconds a line.

Run by `cargo run --release --example gpu -- bench --python python3`. The first column's names are that program's.
"""

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def run(job, runs):
    """Milliseconds of one of `runs` in a row, so that the host is ahead of the GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(runs):
        job()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / runs


def median(job):
    for _ in range(3):
        once = run(job, 1)
    runs = max(1, round(20 / once))
    return sorted(run(job, runs) for _ in range(5))[2]


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
            # Which PyTorch has since 2.5.
            attention(tokens, SDPBackend.CUDNN_ATTENTION, ", cuDNN")
        except (AttributeError, RuntimeError) as error:
            print(f"cuDNN: {error}", file=sys.stderr)
        tokens //= 2


if __name__ == "__main__":
    main()
