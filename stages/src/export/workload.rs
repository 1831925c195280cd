//! A workload: `prompts.jsonl`, `trace_lengths.csv`, `trace_intervals.csv`, `workload_meta.json`.
//!
//! Our prompts are token ids. The layout wants text in `prompts.jsonl` and allows further fields: `text` is empty and
//! the ids stand beside it.

use std::path::Path;

use engine::kind::StageError;
use serde_json::json;

use super::{File, content_id, csv, stamp};
use crate::tables::requests::Row;
use crate::tables::run::RunMeta;
use crate::tables::{self, meaning};

/// The four files of the workload in the table at `path`.
pub(super) fn files(path: &Path) -> Result<Vec<File>, StageError> {
    let rows: Vec<Row> = tables::read(path)?;
    if rows.is_empty() {
        return Err(StageError::new(format!("`{}` holds no request", path.display())));
    }
    let lengths = csv(
        &["request_id", "prompt_id", "num_prefill_tokens", "num_decode_tokens"],
        rows.iter().map(|row| {
            let request = &row.request;
            vec![
                request.id.to_string(),
                prompt_id(row),
                request.prompt_tokens.to_string(),
                request.output_tokens.to_string(),
            ]
        }),
    );
    let intervals = intervals(&rows);
    let prompts: String = rows
        .iter()
        .map(|row| {
            let prompt: &[u32] = &row.request.prompt;
            format!("{}\n", json!({ "prompt_id": prompt_id(row), "text": "", "token_ids": prompt }))
        })
        .collect();
    let digest = meaning::hex(path).map_err(StageError::new)?;
    let (_, made) = stamp::of_run(path, &RunMeta::new("workload", ""), 0);
    let meta = json!({
        "schema_version": "v1",
        "workload_id": content_id('w', &digest),
        "model": "",
        "seed": 0,
        "tokenizer_ref": "",
        "created_at": made,
        "git_commit": "",
        "paths": {
            "prompts": "prompts.jsonl",
            "trace_lengths": "trace_lengths.csv",
            "trace_intervals": "trace_intervals.csv",
        },
        "hydra": { "config_path": "", "config_name": "workload" },
        "requests_digest": digest,
    });
    Ok(vec![
        ("prompts.jsonl".to_owned(), prompts),
        ("trace_lengths.csv".to_owned(), lengths),
        ("trace_intervals.csv".to_owned(), intervals),
        ("workload_meta.json".to_owned(), super::json(&meta)),
    ])
}

fn prompt_id(row: &Row) -> String {
    row.source.clone().unwrap_or_else(|| format!("p{:05}", row.request.id))
}

/// The gap before the first request is its own arrival, so that arrivals stay the running sum of gaps.
fn intervals(rows: &[Row]) -> String {
    let mut before = 0;
    csv(
        &["request_id", "inter_arrival_ns", "arrival_time_ns"],
        rows.iter().map(|row| {
            let at = row.request.arrival.0;
            let gap = at.saturating_sub(before);
            before = at;
            vec![row.request.id.to_string(), gap.to_string(), at.to_string()]
        }),
    )
}
