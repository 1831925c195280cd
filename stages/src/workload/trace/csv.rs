//! CSV traces: a format is a layout, which names the columns and says how arrivals are written.

use std::sync::Arc;

use ::csv::{ReaderBuilder, StringRecord};

use crate::infer::time::Nanos;

use super::{Fault, Format, Row, Trace, in_order, number};

/// A CSV format.
struct Layout {
    format: Format,
    arrival: Option<(&'static str, Clock)>,
    prompt: &'static str,
    output: &'static str,
    /// Whether a row without output is a failed request, to be left out, and not an error.
    drops_failed: bool,
}

/// How arrivals are written.
#[derive(Clone, Copy)]
enum Clock {
    Wall,
    Seconds,
    Nanoseconds,
}

const PREFILL: &str = "num_prefill_tokens";
const DECODE: &str = "num_decode_tokens";

/// Those with arrivals first: a file that has them is read with them.
const LAYOUTS: [Layout; 7] = [
    layout(Format::Azure, Some(("TIMESTAMP", Clock::Wall)), "ContextTokens", "GeneratedTokens"),
    Layout {
        drops_failed: true,
        ..layout(Format::Burstgpt, Some(("Timestamp", Clock::Seconds)), "Request tokens", "Response tokens")
    },
    layout(Format::PredecessorTrace, Some(("arrival_time_ns", Clock::Nanoseconds)), PREFILL, DECODE),
    layout(Format::Vidur, Some(("arrived_at", Clock::Seconds)), PREFILL, DECODE),
    layout(Format::Plain, Some(("arrival_ns", Clock::Nanoseconds)), "prompt_tokens", "output_tokens"),
    layout(Format::Lengths, None, PREFILL, DECODE),
    layout(Format::Plain, None, "prompt_tokens", "output_tokens"),
];

const fn layout(
    format: Format,
    arrival: Option<(&'static str, Clock)>,
    prompt: &'static str,
    output: &'static str,
) -> Layout {
    Layout { format, arrival, prompt, output, drops_failed: false }
}

impl Layout {
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.arrival.map(|(name, _)| name).into_iter().chain([self.prompt, self.output])
    }
}

pub(super) fn read(text: &str, format: Format) -> Result<Trace, Fault> {
    let mut sheet = Sheet::open(text)?;
    let layout = choose(&sheet, format)?;
    let arrival_at = layout.arrival.map(|(name, clock)| sheet.place(name).map(|place| (place, clock))).transpose()?;
    let (prompt_at, output_at) = (sheet.place(layout.prompt)?, sheet.place(layout.output)?);
    let id_at = sheet.place("prompt_id").ok();
    let mut trace = Trace { rows: Vec::new(), timed: arrival_at.is_some(), failed: 0, block_tokens: 0 };
    let mut index = 0;
    let mut before = None;
    while sheet.next()? {
        let arrival = match arrival_at {
            None => Nanos(0),
            Some((place, Clock::Wall)) => sheet.cell(place, number::wall_clock)?,
            Some((place, Clock::Seconds)) => sheet.cell(place, |text| number::instant(text, 9))?,
            Some((place, Clock::Nanoseconds)) => sheet.cell(place, |text| number::instant(text, 0))?,
        };
        in_order(before, arrival, sheet.line(), layout.arrival.map_or("", |(name, _)| name))?;
        before = Some(arrival);
        let output = sheet.cell(output_at, number::tokens)?;
        let row = index;
        index += 1;
        if output == 0 && layout.drops_failed {
            trace.failed += 1;
            continue;
        }
        trace.rows.push(Row {
            index: row,
            arrival,
            prompt_tokens: sheet.cell(prompt_at, at_least_1)?,
            output_tokens: sheet.cell(output_at, at_least_1)?,
            prefix_blocks: Arc::from([]),
            prompt_id: id_at.map(|place| sheet.text(place).to_owned()),
        });
    }
    Ok(trace)
}

/// A count of tokens that is not 0.
pub(super) fn at_least_1(text: &str) -> Result<u32, String> {
    match number::tokens(text)? {
        0 => Err("is 0, wanted at least 1".to_owned()),
        count => Ok(count),
    }
}

fn choose(sheet: &Sheet<'_>, format: Format) -> Result<&'static Layout, Fault> {
    let fits = |layout: &&Layout| layout.columns().all(|column| sheet.place(column).is_ok());
    let mut candidates = LAYOUTS.iter().filter(|l| format == Format::Auto || l.format == format).peekable();
    let first = candidates.peek().copied();
    if let Some(layout) = candidates.find(fits) {
        return Ok(layout);
    }
    match first {
        // The author said which: name what is missing.
        Some(layout) if format != Format::Auto => {
            let missing = layout.columns().find(|column| sheet.place(column).is_err());
            Err(sheet.missing(missing.unwrap_or(layout.prompt)))
        }
        _ => {
            let known: Vec<String> =
                LAYOUTS.iter().map(|l| format!("`{}`", l.columns().collect::<Vec<_>>().join(","))).collect();
            let message = format!("these columns make no known trace: {}{}", sheet.names(), nearly(sheet));
            Err(Fault::new(message).line(1).help(format!(
                "known are {}; columns are found by name and may have others beside them",
                known.join(", ")
            )))
        }
    }
}

/// What the layout lacks that comes nearest, if any column of it is there.
fn nearly(sheet: &Sheet<'_>) -> String {
    let lacks = |layout: &Layout| layout.columns().filter(|column| sheet.place(column).is_err()).collect::<Vec<_>>();
    let begun = LAYOUTS.iter().filter(|layout| lacks(layout).len() < layout.columns().count());
    let Some(nearest) = begun.min_by_key(|layout| lacks(layout).len()) else { return String::new() };
    format!("; beside them there is no column `{}`", lacks(nearest).join("`, `"))
}

/// A CSV text with a header, row by row.
pub(super) struct Sheet<'a> {
    reader: ::csv::Reader<&'a [u8]>,
    header: Vec<String>,
    record: StringRecord,
}

impl<'a> Sheet<'a> {
    pub(super) fn open(text: &'a str) -> Result<Sheet<'a>, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::new("is empty"));
        }
        let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| Fault::new(e.to_string()).line(1))?;
        let header = header.iter().map(|name| name.trim().to_owned()).collect();
        Ok(Sheet { reader, header, record: StringRecord::new() })
    }

    /// The place of a column.
    pub(super) fn place(&self, name: &str) -> Result<usize, Fault> {
        self.header.iter().position(|n| n == name).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Fault {
        Fault::new(format!("there is no column `{name}`")).line(1).help(format!("it has: {}", self.names()))
    }

    fn names(&self) -> String {
        self.header.join(", ")
    }

    /// Moves to the next row.
    pub(super) fn next(&mut self) -> Result<bool, Fault> {
        self.reader.read_record(&mut self.record).map_err(|e| {
            let line = e.position().map(::csv::Position::line);
            let message = match e.kind() {
                ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    format!("has {len} fields, the header has {expected_len}")
                }
                _ => e.to_string(),
            };
            Fault { line, ..Fault::new(message) }
        })
    }

    /// The row's first line.
    pub(super) fn line(&self) -> u64 {
        self.record.position().map_or(0, ::csv::Position::line)
    }

    pub(super) fn text(&self, place: usize) -> &str {
        self.record.get(place).unwrap_or("")
    }

    pub(super) fn cell<T>(&self, place: usize, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Fault> {
        read(self.text(place)).map_err(|message| Fault::new(message).line(self.line()).column(&self.header[place]))
    }
}
