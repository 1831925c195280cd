//! Rows of [`REQUESTS`]: what `workload` makes and `sim` and `bench` serve.

use std::path::Path;

use crate::infer::request::Request;
use crate::infer::time::Nanos;

use super::{Cells, REQUESTS, Reader, Record, Slots, Table, TableError};

/// A request and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The request.
    pub request: Request,
    /// A prompt's id, a trace's row.
    pub source: Option<String>,
}

impl Record for Row {
    const TABLE: Table = REQUESTS;

    fn put(&self, slots: &mut Slots) {
        let request = &self.request;
        slots.u32(request.id);
        slots.u64(request.arrival.0);
        slots.u32(request.prompt_tokens);
        slots.u32(request.output_tokens);
        slots.u32_list(&request.prompt);
        slots.u64_list(&request.prefix_blocks);
        slots.i32(request.priority);
        slots.maybe_text(self.source.as_deref());
    }

    fn take(cells: &mut Cells<'_>) -> Row {
        let request = Request {
            id: cells.u32(),
            arrival: Nanos(cells.u64()),
            prompt_tokens: cells.u32(),
            output_tokens: cells.u32(),
            prompt: cells.u32_list().into(),
            prefix_blocks: cells.u64_list().into(),
            priority: cells.i32(),
        };
        Row { request, source: cells.maybe_text().map(str::to_owned) }
    }
}

/// Reads the requests of a workload and checks what the schema cannot say: ids count from 0, arrivals do not fall,
/// lengths are at least 1, and a row has as many token ids as its prompt has tokens, or none.
///
/// # Errors
/// When the file cannot be read as `requests`, is empty, or breaks one of these rules.
pub fn read_requests(path: &Path) -> Result<Vec<Request>, TableError> {
    let reader = Reader::<Row>::open(path)?;
    let mut requests: Vec<Request> = Vec::with_capacity(usize::try_from(reader.rows()).unwrap_or(0).min(1 << 20));
    for row in reader {
        let request = row?.request;
        let at = requests.len() as u64;
        if let Some(message) = fault(&request, at, requests.last()) {
            return Err(TableError::Row { path: path.to_owned(), row: at, message });
        }
        requests.push(request);
    }
    if requests.is_empty() {
        return Err(TableError::Row { path: path.to_owned(), row: 0, message: "there is no request".to_owned() });
    }
    Ok(requests)
}

/// Writes a workload.
///
/// # Errors
/// When the file cannot be written.
pub fn write_requests<'a>(
    path: &Path,
    notes: &[(&str, String)],
    rows: impl IntoIterator<Item = &'a Row>,
) -> Result<(), TableError> {
    super::write(path, notes, rows)
}

fn fault(request: &Request, at: u64, before: Option<&Request>) -> Option<String> {
    if u64::from(request.id) != at {
        return Some(format!("`request_id` is {}, wanted {at}", request.id));
    }
    if let Some(before) = before
        && request.arrival < before.arrival
    {
        return Some(format!(
            "`arrival_ns` falls from {} to {}; requests stand in order of arrival",
            before.arrival.0, request.arrival.0
        ));
    }
    if request.prompt_tokens == 0 || request.output_tokens == 0 {
        return Some("`prompt_tokens` and `output_tokens` must be at least 1".to_owned());
    }
    let ids = request.prompt.len();
    if ids != 0 && ids != request.prompt_tokens as usize {
        return Some(format!("`prompt_ids` holds {ids} ids for {} prompt tokens", request.prompt_tokens));
    }
    None
}
