#!/usr/bin/env bash
# Installs NVIDIA's compiler as a library (NVRTC of CUDA 13.0; no GPU, no driver, no toolkit needed) from its Python packages, and
# prints the folder that CUDA_HOME is set to so that it is found. What is there already stays. Fails, with the reason on stderr,
# where pip cannot install it.
#   scripts/cuda_compiler.sh [DIRECTORY]        the directory is target/cuda-compiler unless given
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-${CARGO_TARGET_DIR:-target}/cuda-compiler}
wanted='nvidia-cuda-nvrtc==13.0.*'
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "$wanted" >&2
    printf '%s\n' "$wanted" >"$venv/wanted"
fi
realpath -s "$venv"/lib/python3*/site-packages/nvidia/cu13
