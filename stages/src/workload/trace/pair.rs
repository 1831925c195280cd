//! The predecessor's workload directory: lengths in one file, arrivals in another, joined by `request_id`.

use std::path::Path;

use crate::infer::time::Nanos;

use super::{Fault, Format, Trace, csv, inner, number, text};

const LENGTHS: &str = "trace_lengths.csv";
const INTERVALS: &str = "trace_intervals.csv";
const WHOLE: &str = "trace.csv";

pub(super) fn read(directory: &Path) -> Result<Trace, Fault> {
    if let Some(path) = inner(directory, LENGTHS) {
        let in_lengths = |fault: Fault| fault.file(LENGTHS);
        let lengths = text(&path).map_err(in_lengths)?;
        let mut trace = csv::read(&lengths, Format::Lengths).map_err(in_lengths)?;
        let Some(path) = inner(directory, INTERVALS) else { return Ok(trace) };
        let ids = ids(&lengths).map_err(in_lengths)?;
        let arrivals = text(&path).and_then(|text| arrivals(&text, &ids)).map_err(|fault| fault.file(INTERVALS))?;
        for (row, arrival) in trace.rows.iter_mut().zip(arrivals) {
            row.arrival = arrival;
        }
        trace.timed = true;
        return Ok(trace);
    }
    match inner(directory, WHOLE) {
        Some(path) => text(&path).and_then(|text| csv::read(&text, Format::Auto)).map_err(|fault| fault.file(WHOLE)),
        None => Err(Fault::new(format!("holds neither `{LENGTHS}` nor `{WHOLE}`"))),
    }
}

fn ids(lengths: &str) -> Result<Vec<u64>, Fault> {
    let mut sheet = csv::Sheet::open(lengths)?;
    let place = sheet.place("request_id")?;
    let mut ids = Vec::new();
    while sheet.next()? {
        ids.push(sheet.cell(place, number::whole)?);
    }
    Ok(ids)
}

/// Arrivals for `ids`, row by row; an arrival is the running sum of the gaps.
fn arrivals(intervals: &str, ids: &[u64]) -> Result<Vec<Nanos>, Fault> {
    let mut sheet = csv::Sheet::open(intervals)?;
    let (id, gap, arrival) =
        (sheet.place("request_id")?, sheet.place("inter_arrival_ns")?, sheet.place("arrival_time_ns")?);
    let mut sum = 0u64;
    let mut arrivals = Vec::with_capacity(ids.len());
    while sheet.next()? {
        let row = arrivals.len();
        let found = sheet.cell(id, number::whole)?;
        match ids.get(row) {
            Some(wanted) if *wanted == found => {}
            Some(wanted) => {
                return Err(Fault::new(format!("is {found}, `{LENGTHS}` has {wanted} in this row"))
                    .line(sheet.line())
                    .column("request_id"));
            }
            None => {
                return Err(Fault::new(format!("`{LENGTHS}` ends after {} requests", ids.len())).line(sheet.line()));
            }
        }
        let (gap, stated) = (sheet.cell(gap, number::whole)?, sheet.cell(arrival, number::whole)?);
        // The first gap may be left at 0 while the first request arrives later.
        sum = if row == 0 { stated } else { sum.saturating_add(gap) };
        if sum != stated {
            return Err(Fault::new(format!("is {stated}, the gaps up to here add up to {sum}"))
                .line(sheet.line())
                .column("arrival_time_ns"));
        }
        arrivals.push(Nanos(stated));
    }
    if arrivals.len() != ids.len() {
        return Err(Fault::new(format!("ends after {} requests, `{LENGTHS}` has {}", arrivals.len(), ids.len())));
    }
    Ok(arrivals)
}
