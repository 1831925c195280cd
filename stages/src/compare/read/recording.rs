//! A client's recording: `requests.csv` (`request_id, arrival_ns, sent_ns, prompt_tokens, output_tokens`) and
//! `tokens.csv` (`request_id, token_index, time_ns`); times are the client's, ns from the run's start.

use std::path::Path;

use engine::kind::StageError;

use super::by_id;
use super::sheet::Sheet;
use crate::compare::side::{Format, Side};
use crate::infer::time::Nanos;
use crate::tables::run::{RequestRow, RunMeta, Status};

/// Reads the directory.
pub(super) fn read(directory: &Path, label: &str) -> Result<Side, StageError> {
    let mut requests = requests(&directory.join("requests.csv"))?;
    let tokens = tokens(&directory.join("tokens.csv"), &mut requests)?;
    Ok(Side {
        label: label.to_owned(),
        format: Format::Recording,
        requests,
        tokens: Some(tokens),
        batches: Vec::new(),
        meta: RunMeta::new("import", "recording"),
    })
}

fn requests(path: &Path) -> Result<Vec<RequestRow>, StageError> {
    let sheet = Sheet::open(path)?;
    let id = sheet.column("request_id")?;
    let arrival = sheet.column("arrival_ns")?;
    let sent = sheet.optional("sent_ns");
    let prompt = sheet.column("prompt_tokens")?;
    let output = sheet.column("output_tokens")?;
    let mut rows = Vec::with_capacity(sheet.len());
    for row in 0..sheet.len() {
        rows.push(RequestRow {
            id: sheet.small(row, id)?,
            arrival: Nanos(sheet.whole(row, arrival)?),
            sent: sent.map_or(Ok(None), |c| sheet.maybe_whole(row, c))?.map(Nanos),
            prompt_tokens: sheet.small(row, prompt)?,
            output_tokens: sheet.small(row, output)?,
            ..RequestRow::default()
        });
    }
    by_id(path, rows)
}

/// Token times by request; they say what each request produced, and when it began and ended.
fn tokens(path: &Path, requests: &mut [RequestRow]) -> Result<Vec<Vec<u64>>, StageError> {
    let sheet = Sheet::open(path)?;
    let id = sheet.column("request_id")?;
    let index = sheet.column("token_index")?;
    let time = sheet.column("time_ns")?;
    let mut all: Vec<Vec<(u64, u64)>> = vec![Vec::new(); requests.len()];
    for row in 0..sheet.len() {
        let id = sheet.small(row, id)?;
        let Ok(place) = requests.binary_search_by_key(&id, |r| r.id) else {
            return Err(sheet.fault(row, format!("`request_id` {id} is not in `requests.csv`")));
        };
        all[place].push((sheet.whole(row, index)?, sheet.whole(row, time)?));
    }
    let mut times = Vec::with_capacity(all.len());
    for (request, mut tokens) in requests.iter_mut().zip(all) {
        tokens.sort_unstable();
        let contiguous = tokens.iter().enumerate().all(|(i, (index, _))| *index == i as u64);
        if !contiguous {
            return Err(StageError::new(format!(
                "`{}`: `token_index` of request {} does not count from 0 without a gap",
                path.display(),
                request.id
            )));
        }
        request.produced_tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        request.first_token = tokens.first().map(|t| Nanos(t.1));
        request.completion = tokens.last().map(|t| Nanos(t.1));
        if tokens.is_empty() {
            request.status = Status::Error;
            request.error = Some("no token came".to_owned());
        }
        times.push(tokens.into_iter().map(|t| t.1).collect());
    }
    Ok(times)
}
