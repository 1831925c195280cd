#!/bin/sh
# Brings the files beside this card: the real tokenizer, and weights where you have them.
#   sh models/qwen3-0.6b/bootstrap.sh [DIRECTORY]
# DIRECTORY: a Hugging Face model directory (config.json and *.safetensors) of Qwen3-0.6B.
exec sh "$(dirname -- "$0")/../qwen3-bootstrap.sh" "$(dirname -- "$0")" "Qwen3-0.6B" "$@"
