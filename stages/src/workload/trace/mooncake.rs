//! Mooncake's JSON lines.

use serde::Deserialize;
use serde_json::Number;

use super::{Fault, Row, Trace, csv, in_order, number};

/// Tokens of a prefix block, by the format's definition.
const BLOCK_TOKENS: u32 = 512;

#[derive(Deserialize)]
struct Line {
    timestamp: Number,
    input_length: Number,
    output_length: Number,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

pub(super) fn read(text: &str) -> Result<Trace, Fault> {
    let mut trace = Trace { rows: Vec::new(), timed: true, failed: 0, block_tokens: BLOCK_TOKENS };
    let mut before = None;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, (at, line)) in lines.enumerate() {
        let at = at as u64 + 1;
        let line: Line = serde_json::from_str(line).map_err(|e| {
            // The parser counts lines from this one.
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            Fault::new(message)
                .line(at)
                .help("a line is `{\"timestamp\": ms, \"input_length\": n, \"output_length\": n, \"hash_ids\": […]}`")
        })?;
        let in_column = |column: &'static str| move |message: String| Fault::new(message).line(at).column(column);
        let arrival = number::instant(&line.timestamp.to_string(), 6).map_err(in_column("timestamp"))?;
        in_order(before, arrival, at, "timestamp")?;
        before = Some(arrival);
        let prompt_tokens = csv::at_least_1(&line.input_length.to_string()).map_err(in_column("input_length"))?;
        let output_tokens = csv::at_least_1(&line.output_length.to_string()).map_err(in_column("output_length"))?;
        let blocks = prompt_tokens.div_ceil(BLOCK_TOKENS) as usize;
        if !line.hash_ids.is_empty() && line.hash_ids.len() != blocks {
            return Err(Fault::new(format!(
                "has {} ids for {prompt_tokens} tokens, wanted {blocks} (one for each {BLOCK_TOKENS})",
                line.hash_ids.len()
            ))
            .line(at)
            .column("hash_ids"));
        }
        trace.rows.push(Row {
            index: index as u64,
            arrival,
            prompt_tokens,
            output_tokens,
            prefix_blocks: line.hash_ids.into(),
            prompt_id: None,
        });
    }
    Ok(trace)
}
