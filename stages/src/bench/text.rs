//! A sample of what the model said: the first request that was served, for a person to look at.

use std::fmt::Write as _;
use std::path::Path;

use engine::kind::StageError;
use tokenizers::Tokenizer;

use crate::infer::record::{Run, Status};
use crate::infer::request::Request;

/// Ids shown of a long prompt or output.
const SHOWN: usize = 256;

/// As ids, where no tokenizer is wired.
pub(super) fn ids(requests: &[Request], run: &Run) -> String {
    let Some((request, output)) = first_served(requests, run) else { return nobody() };
    format!(
        "request {}\nprompt, {} token ids\n{}\noutput, {} token ids\n{}\n",
        request.id,
        request.prompt.len(),
        listed(&request.prompt),
        output.len(),
        listed(&output)
    )
}

/// As text.
///
/// # Errors
/// When the tokenizer cannot be read or does not know an id.
pub(super) fn decoded(requests: &[Request], run: &Run, tokenizer: &Path) -> Result<String, StageError> {
    let Some((request, output)) = first_served(requests, run) else { return Ok(nobody()) };
    let failed = |doing: &str, e: tokenizers::Error| {
        StageError::new(format!("cannot {doing} with the tokenizer `{}`", tokenizer.display())).because(e.as_ref())
    };
    let file = if tokenizer.is_dir() { tokenizer.join("tokenizer.json") } else { tokenizer.to_owned() };
    let tokenizer = Tokenizer::from_file(file).map_err(|e| failed("begin", e))?;
    let decode = |ids: &[u32]| tokenizer.decode(ids, false).map_err(|e| failed("decode", e));
    let tail = &request.prompt[request.prompt.len().saturating_sub(SHOWN)..];
    Ok(format!(
        "request {}\nprompt ({} tokens)\n{}\n\noutput ({} tokens)\n{}\n",
        request.id,
        request.prompt.len(),
        decode(tail)?,
        output.len(),
        decode(&output[..output.len().min(SHOWN)])?
    ))
}

/// The first request that was served to its end, with the ids of its output.
fn first_served<'a>(requests: &'a [Request], run: &Run) -> Option<(&'a Request, Vec<u32>)> {
    let row = run.requests.iter().find(|row| row.status == Status::Ok)?;
    let tokens = run.tokens.iter().filter(|t| t.request_id == row.request_id).map(|t| t.token_id);
    Some((requests.get(row.request_id as usize)?, tokens.collect()))
}

fn nobody() -> String {
    "no request was served\n".to_owned()
}

fn listed(ids: &[u32]) -> String {
    let mut text = String::new();
    for (i, id) in ids.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{}{id}", if i == 0 { "" } else { " " });
    }
    if ids.len() > SHOWN {
        let _ = write!(text, " and {} more", ids.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests;
