#!/bin/sh
# All figures of the simulator's speed. The recorded workloads: PIPE_TEST_DATA/bench/vidur, where somebody has them.
set -e
cd "$(dirname "$0")/../.."
if [ -n "$PIPE_TEST_DATA" ] && [ -z "$PIPE_VIDUR_SPEED" ]; then
    PIPE_VIDUR_SPEED=$(mktemp -d)
    export PIPE_VIDUR_SPEED
    trap 'rm -rf "$PIPE_VIDUR_SPEED"' EXIT
    for case in "$PIPE_TEST_DATA"/bench/vidur/*/; do
        to="$PIPE_VIDUR_SPEED/$(basename "$case")"
        mkdir "$to"
        cp "$case"/*.json "$to"
        for packed in "$case"/*.gz; do gzip -dc "$packed" > "$to/$(basename "$packed" .gz)"; done
    done
fi
cargo bench --bench sim
