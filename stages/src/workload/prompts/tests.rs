#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

/// A tokenizer of four words.
pub(crate) const WORDS: &str = r#"{
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"?": 0, "rain": 1, "falls": 2, "softly": 3}, "unk_token": "?"}
}"#;

fn words() -> Tokenizer {
    WORDS.parse().unwrap()
}

fn refused(text: &str, vocabulary: Option<u32>) -> String {
    read(text, &words(), vocabulary).unwrap_err().of("p").message
}

#[test]
fn texts_become_token_ids() {
    let text = "{\"prompt_id\": \"a\", \"text\": \"rain falls\", \"mood\": 1}\n\n\
                {\"prompt_id\": \"b\", \"text\": \"softly falls snow\", \"output_tokens\": 9}\n";
    let prompts = read(text, &words(), Some(4)).unwrap();
    assert_eq!((prompts[0].id.as_str(), &*prompts[0].ids, prompts[0].output_tokens), ("a", [1, 2].as_slice(), None));
    assert_eq!(
        (prompts[1].id.as_str(), &*prompts[1].ids, prompts[1].output_tokens),
        ("b", [3, 2, 0].as_slice(), Some(9))
    );
}

#[test]
fn bad_lines_are_named() {
    let good = "{\"prompt_id\": \"a\", \"text\": \"rain\"}\n";
    let with = |line: &str| refused(&format!("{good}{line}"), Some(4));
    assert_eq!(with("{\"prompt_id\": \"b\"}"), "`p`, line 2: missing field `text`");
    assert_eq!(
        with("{\"prompt_id\": \"a\", \"text\": \"rain\"}"),
        "`p`, line 2, column `prompt_id`: `a` is there twice"
    );
    assert_eq!(with("{\"prompt_id\": \"b\", \"text\": \" \"}"), "`p`, line 2, column `text`: has no tokens");
    assert_eq!(
        with("{\"prompt_id\": \"b\", \"text\": \"rain\", \"output_tokens\": 0}"),
        "`p`, line 2, column `output_tokens`: is 0, wanted at least 1"
    );
    assert_eq!(refused("\n", None), "`p`: there is no prompt in it");
}

#[test]
fn a_tokenizer_that_is_not_the_models_is_refused() {
    let text = "{\"prompt_id\": \"a\", \"text\": \"softly\"}";
    assert_eq!(refused(text, Some(3)), "`p`, line 1, column `text`: makes the token id 3, the model knows 3");
}

/// The real tokenizer, where `models/qwen3-0.6b/bootstrap.sh` brought it.
#[test]
fn the_real_tokenizer_of_qwen3_gives_the_known_ids() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/qwen3-0.6b/tokenizer.json");
    if !path.is_file() {
        eprintln!("skipped: {} is not here; run models/qwen3-0.6b/bootstrap.sh", path.display());
        return;
    }
    let qwen = tokenizer(&path, "tokenizer.json").unwrap();
    let prompts = read("{\"prompt_id\": \"a\", \"text\": \"Hello, world!\"}", &qwen, Some(151_669)).unwrap();
    assert_eq!(&*prompts[0].ids, [9707, 11, 1879, 0]);
    assert_eq!(qwen.get_vocab_size(true), 151_669);
}

/// The tokenizer that `models/smollm2-135m/bootstrap.sh` makes.
#[test]
fn the_tokenizer_of_smollm2_splits_digits_and_gives_the_text_back() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-135m/tokenizer.json");
    if !path.is_file() {
        eprintln!("skipped: {} is not here; run models/smollm2-135m/bootstrap.sh", path.display());
        return;
    }
    let smol = tokenizer(&path, "tokenizer.json").unwrap();
    let text = "The year 2024, naïve façade — it's 3.14!\n  x";
    let encoding = smol.encode_fast(text, false).unwrap();
    assert_eq!(smol.decode(encoding.get_ids(), false).unwrap(), text);
    let tokens = smol.encode("2024", false).unwrap();
    assert_eq!(tokens.get_tokens(), ["2", "0", "2", "4"]);
    assert_eq!(smol.token_to_id("<|im_start|>"), Some(1));
    assert_eq!(smol.get_vocab_size(true), 49_152);
}
