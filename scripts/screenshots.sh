#!/usr/bin/env bash
# Draws the pictures of docs/ anew: what `plan` and a failed `check` print, and the report of a run. Needs python3 and
# chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

shown() { # NAME PROGRAM ARGUMENTS…: what a command prints, as an SVG
    local name=$1 program=$2
    shift 2
    { printf '$ cargo run --release --example %s -- %s\n' "$program" "$*"
      cargo run --quiet --release --locked --example "$program" -- "$@" 2>&1 || true
    } | python3 scripts/text_svg.py >"docs/$name.svg"
}

shown plan llama2_128k plan
shown check smollm2_8k check --model assets/tiny
cargo run --quiet --release --locked --example tiny_1k -- train --model assets/tiny --out "$work/run"
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=760,6300 --force-device-scale-factor=0.5 --user-data-dir="$work/browser" \
    --screenshot="$work/report.png" "file://$work/run/report.html"
cp "$work/report.png" "$work/run/loss_by_position.svg" docs/
