#!/usr/bin/env bash
# Makes a virtual environment with the programs that exported models are tried in (tests/peers.rs), and prints the path of its
# python. What is there already stays. Fails, with the reason on stderr, where pip cannot install them.
#   scripts/peers_venv.sh [DIRECTORY]        the directory is target/peers-venv unless given
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-${CARGO_TARGET_DIR:-target}/peers-venv}
wanted='torch==2.15.0 transformers==5.23.0 peft==0.21.2 gguf==0.19.0 xllamacpp==2026.10.11549 tensorboard==2.21.0'
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir $wanted >&2
    printf '%s\n' "$wanted" >"$venv/wanted"
fi
printf '%s\n' "$(realpath -s "$venv")/bin/python"
