"""Makes a Hugging Face tokenizer.json from the vocabulary in a GGUF file of SmolLM2.

    python3 tokenizer_from_gguf.py MODEL.gguf TOKENIZER.json

The file holds byte-level BPE (`tokenizer.ggml.model` gpt2) with `tokenizer.ggml.pre` smollm: every digit is split off,
then the text is cut as GPT-2 cuts it. Tokens of type 3 are control tokens, which no text makes by merging.
"""

import json
import struct
import sys

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TEXT, ARRAY, CONTROL = 8, 9, 3


def metadata(file):
    """The key-value pairs of a GGUF file, by name."""

    def scalar(form):
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]

    def text():
        return file.read(scalar("<Q")).decode("utf-8")

    def value(kind):
        if kind == TEXT:
            return text()
        if kind == ARRAY:
            inner, count = scalar("<I"), scalar("<Q")
            return [value(inner) for _ in range(count)]
        return scalar(SCALARS[kind])

    if file.read(4) != b"GGUF":
        sys.exit("error: not a GGUF file")
    version = scalar("<I")
    if version not in (2, 3):
        sys.exit(f"error: GGUF version {version}, wanted 2 or 3")
    scalar("<Q")  # tensors
    pairs = {}
    for _ in range(scalar("<Q")):
        name = text()
        pairs[name] = value(scalar("<I"))
    return pairs


def tokenizer(pairs):
    """The same as tokenizer.json has it."""
    kind = (pairs["tokenizer.ggml.model"], pairs["tokenizer.ggml.pre"])
    if kind != ("gpt2", "smollm"):
        sys.exit(f"error: the tokenizer is {kind[0]}/{kind[1]}, wanted gpt2/smollm")
    tokens, kinds = pairs["tokenizer.ggml.tokens"], pairs["tokenizer.ggml.token_type"]
    added = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, (t, k) in enumerate(zip(tokens, kinds))
        if k == CONTROL
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": dict(byte_level, add_prefix_space=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": [m.split(" ", 1) for m in pairs["tokenizer.ggml.merges"]],
        },
    }


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        made = tokenizer(metadata(file))
    with open(target, "w", encoding="utf-8", newline="\n") as file:
        json.dump(made, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
