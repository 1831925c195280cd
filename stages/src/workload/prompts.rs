//! `prompts.jsonl`: texts, made into token ids by a real tokenizer.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use engine::kind::StageError;
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::trace::Fault;

#[cfg(test)]
pub(crate) mod tests;

/// A prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its name.
    pub id: String,
    /// At least one.
    pub ids: Arc<[u32]>,
    /// Tokens to produce, where the line says so.
    pub output_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct Line {
    prompt_id: String,
    text: String,
    #[serde(default)]
    output_tokens: Option<u32>,
}

/// Loads a `tokenizer.json`.
///
/// # Errors
/// When it cannot be read as one.
pub fn tokenizer(path: &Path, label: &str) -> Result<Tokenizer, StageError> {
    Tokenizer::from_file(path).map_err(|e| {
        StageError::new(format!("cannot read the tokenizer `{label}`: {e}"))
            .help("it must be a Hugging Face `tokenizer.json`")
    })
}

/// Reads prompts and makes ids of them, without special tokens. Ids must lie below `vocabulary`.
///
/// # Errors
/// Line and cause, for the first prompt that cannot be used.
pub fn read(text: &str, tokenizer: &Tokenizer, vocabulary: Option<u32>) -> Result<Vec<Prompt>, Fault> {
    let mut prompts = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = at as u64 + 1;
        let line: Line = serde_json::from_str(line).map_err(|e| {
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            Fault::new(message)
                .line(at)
                .help("a line is `{\"prompt_id\": \"…\", \"text\": \"…\"}`; `output_tokens` may stand beside")
        })?;
        if !seen.insert(line.prompt_id.clone()) {
            return Err(Fault::new(format!("`{}` is there twice", line.prompt_id)).line(at).column("prompt_id"));
        }
        if line.output_tokens == Some(0) {
            return Err(Fault::new("is 0, wanted at least 1").line(at).column("output_tokens"));
        }
        let encoding = tokenizer
            .encode_fast(line.text.as_str(), false)
            .map_err(|e| Fault::new(format!("cannot be made into token ids: {e}")).line(at).column("text"))?;
        let ids: Arc<[u32]> = encoding.get_ids().into();
        if ids.is_empty() {
            return Err(Fault::new("has no tokens").line(at).column("text"));
        }
        if let Some(limit) = vocabulary
            && let Some(id) = ids.iter().find(|id| **id >= limit)
        {
            return Err(Fault::new(format!("makes the token id {id}, the model knows {limit}"))
                .line(at)
                .column("text")
                .help("the tokenizer is not the model's"));
        }
        prompts.push(Prompt { id: line.prompt_id, ids, output_tokens: line.output_tokens });
    }
    if prompts.is_empty() {
        return Err(Fault::new("there is no prompt in it"));
    }
    Ok(prompts)
}
