//! The kind `workload`: requests from a trace, from prompts or from laws.
//!
//! What is wired decides: `prompts` (with a `tokenizer`; a `trace` beside them gives arrivals and output lengths by
//! `prompt_id`), else `trace`, else laws. Same inputs, same configuration: same bytes, on any machine.
//! This module does not know what serves the requests.
//!
//! Invariants: requests leave in order of arrival, numbered from 0, the first at 0 ns; every length is at least 1;
//! every token id lies below the vocabulary's size.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use engine::exec::Io;
use engine::kind::{Code, Complaint, Contract, Port, Sort, StageError, StageKind, Wired};

use crate::infer::request::Request;
use crate::kinds::codes;
use crate::model::card::{self, Card};
use crate::random::Stream;
use crate::tables::requests::Row;
use crate::tables::{TABLE, Writer};

pub mod config;
mod ids;
pub mod laws;
pub mod prompts;
pub mod shape;
pub mod trace;

#[cfg(test)]
mod tests;

use config::{Config, TokenIds};
use ids::Ids;
use laws::draw_arrivals;
use shape::{Draft, Limits, Tally, Verdict};

/// Draws of a law that are dropped one after the other before the law is given up.
const DROPS_IN_A_ROW: u32 = 1_000;

/// The kind.
#[derive(Debug)]
pub struct Workload;

impl StageKind for Workload {
    type Config = Config;
    const NAME: &'static str = "workload";
    const ABOUT: &'static str = "requests from a trace, from prompts or from laws of arrival and length";
    const CODE: Code = Code { version: 1, modules: codes::WORKLOAD };
    const EXAMPLE: &'static str = r#"requests = 400
rate_per_s = 8.0
seed = 7
arrivals = { law = "poisson" }
prompt_tokens = { law = "uniform", min = 16, max = 256 }
output_tokens = { law = "uniform", min = 8, max = 64 }
token_ids = "none"
"#;

    fn contract(config: &Config, wired: &Wired) -> Result<Contract, Complaint> {
        config.check(wired)?;
        let inputs = vec![
            Port::new("trace", "trace", "requests of a trace, or their lengths").optional(),
            Port::new("prompts", "prompts", "texts: JSON lines of `prompt_id` and `text`").optional(),
            Port::new("tokenizer", "tokenizer", "a `tokenizer.json`, for prompts and for the size of the vocabulary")
                .optional(),
            Port::new("model", "model", "a card, for the size of the vocabulary and the longest sequence")
                .optional()
                .by_meaning(card::MEANING),
        ];
        let requests = Port::new("requests", "requests", "table `requests`, one file");
        let outputs = vec![requests.by_meaning(TABLE).as_file("parquet")];
        Ok(Contract { inputs, outputs, sort: Sort::Computed, ..Contract::default() })
    }

    fn run(config: &Config, io: &mut Io) -> Result<(), StageError> {
        let world = World::open(io, config)?;
        let mut report = Report::default();
        let drafts = if io.optional("prompts").is_some() {
            from_prompts(config, io, &world, &mut report)?
        } else if io.optional("trace").is_some() {
            from_trace(config, io, &world, &mut report)?
        } else {
            from_laws(config, &world, &mut report)?
        };
        let path = io.output("requests")?;
        write(&path, config, &world, &report, &drafts)?;
        report.tell(io, &drafts);
        Ok(())
    }
}

/// What the other inputs say.
struct World {
    tokenizer: Option<tokenizers::Tokenizer>,
    /// Token ids lie below this.
    vocabulary: Option<u32>,
    limits: Limits,
}

impl World {
    fn open(io: &Io, config: &Config) -> Result<World, StageError> {
        let model: Option<Card> = io.optional("model").map(|source| card::load(&source.path)).transpose()?;
        let tokenizer =
            io.optional("tokenizer").map(|source| prompts::tokenizer(&source.path, &source.label)).transpose()?;
        let of_tokenizer = tokenizer.as_ref().map(|t| u32::try_from(t.get_vocab_size(true)).unwrap_or(u32::MAX));
        let of_model = model.as_ref().map(|card| card.tokenizer_size);
        let known = of_model.or(of_tokenizer);
        let vocabulary = match (config.token_ids_below, known) {
            (Some(below), Some(size)) if below > size => {
                return Err(StageError::new(format!("`token_ids_below` is {below}, the vocabulary has {size} tokens")));
            }
            (below, known) => below.or(known),
        };
        Ok(World { tokenizer, vocabulary, limits: Limits::new(config, model.map(|card| card.max_positions)) })
    }
}

/// What happened on the way.
#[derive(Debug, Default)]
struct Report {
    source: &'static str,
    tally: Tally,
    /// Rows of the trace without output.
    failed: u64,
    /// Prompts whose text has another length than the trace says.
    other_length: u64,
    /// Tokens of a prefix block; 0 = none.
    block_tokens: u32,
}

impl Report {
    fn tell(&self, io: &mut Io, drafts: &[Draft]) {
        let sum = |of: fn(&Draft) -> u32| drafts.iter().map(|d| f64::from(of(d))).sum::<f64>();
        io.metric("requests", drafts.len() as f64, "");
        io.metric("prompt_tokens", sum(|d| d.prompt_tokens), "tokens");
        io.metric("output_tokens", sum(|d| d.output_tokens), "tokens");
        let span = drafts.last().map_or(0.0, |d| d.arrival.as_secs_f64());
        if span > 0.0 {
            io.metric("rate", (drafts.len() - 1) as f64 / span, "requests/s");
        }
        let counts = [
            (self.tally.clipped, "requests were cut to the limits"),
            (self.tally.dropped, "requests were longer than the limits and left out"),
            (self.failed, "rows of the trace have no output (failed requests) and were left out"),
            (self.other_length, "prompts have another number of tokens than the trace says; the text's own was taken"),
        ];
        for (count, what) in counts {
            if count > 0 {
                io.warn(&format!("{count} {what}"));
            }
        }
    }
}

fn from_trace(config: &Config, io: &Io, world: &World, report: &mut Report) -> Result<Vec<Draft>, StageError> {
    let source = io.input("trace")?;
    let trace = trace::read(&source.path, config.format).map_err(|fault| fault.of(&source.label))?;
    report.source = "trace";
    report.failed = trace.failed;
    if trace.block_tokens > 0 {
        report.block_tokens = shape::scaled(trace.block_tokens, config.length_scale);
    }
    untimed(config, trace.timed, &source.label)?;
    let rows = shape::pick(config, trace.rows.len(), trace.timed)?;
    let drafts = rows.into_iter().map(|at| {
        let row = &trace.rows[at];
        Ok(Draft {
            arrival: row.arrival,
            prompt_tokens: shape::scaled(row.prompt_tokens, config.length_scale),
            output_tokens: shape::scaled(row.output_tokens, config.length_scale),
            ids: None,
            prefix_blocks: row.prefix_blocks.clone(),
            source: row_name(row),
        })
    });
    gather(config, world, report, drafts)
}

fn row_name(row: &trace::Row) -> String {
    match &row.prompt_id {
        Some(id) => format!("row {} ({id})", row.index),
        None => format!("row {}", row.index),
    }
}

fn untimed(config: &Config, timed: bool, label: &str) -> Result<(), StageError> {
    if timed || config.arrivals.is_some() {
        return Ok(());
    }
    Err(StageError::new(format!("`{label}` has no arrivals, and no law gives them"))
        .help("set `arrivals`, for example `arrivals = { law = \"poisson\" }` with `rate_per_s`"))
}

fn from_prompts(config: &Config, io: &Io, world: &World, report: &mut Report) -> Result<Vec<Draft>, StageError> {
    let source = io.input("prompts")?;
    let tokenizer = world.tokenizer.as_ref().ok_or_else(|| StageError::new("prompts are wired, and no tokenizer"))?;
    let prompts = trace::text(&source.path)
        .and_then(|text| prompts::read(&text, tokenizer, world.vocabulary))
        .map_err(|fault| fault.of(&source.label))?;
    report.source = "prompts";
    if io.optional("trace").is_some() {
        return joined(config, io, world, report, &prompts);
    }
    let law = config.output_tokens.as_ref().map(laws::Lengths::sampler).transpose().map_err(late)?;
    let mut stream = Stream::new(config.seed, "workload output lengths", 0);
    let rows = shape::pick(config, prompts.len(), false)?;
    let drafts = rows.into_iter().map(|at| {
        let prompt = &prompts[at];
        let output = match (prompt.output_tokens, &law) {
            (Some(tokens), _) => tokens,
            (None, Some(law)) => shape::scaled(law.draw(&mut stream), config.length_scale),
            (None, None) => {
                return Err(StageError::new(format!(
                    "nothing says how many tokens to produce for the prompt `{}`",
                    prompt.id
                ))
                .help("give a law of `output_tokens`, or put `output_tokens` in the prompt's line"));
            }
        };
        Ok(text_draft(prompt, output, prompt.id.clone()))
    });
    gather(config, world, report, drafts)
}

fn text_draft(prompt: &prompts::Prompt, output_tokens: u32, source: String) -> Draft {
    Draft {
        arrival: crate::infer::time::Nanos(0),
        prompt_tokens: u32::try_from(prompt.ids.len()).unwrap_or(u32::MAX),
        output_tokens,
        ids: Some(prompt.ids.clone()),
        prefix_blocks: Arc::from([]),
        source,
    }
}

/// Prompts in the order, at the times and with the output lengths of a trace that names them.
fn joined(
    config: &Config,
    io: &Io,
    world: &World,
    report: &mut Report,
    prompts: &[prompts::Prompt],
) -> Result<Vec<Draft>, StageError> {
    let source = io.input("trace")?;
    let trace = trace::read(&source.path, config.format).map_err(|fault| fault.of(&source.label))?;
    report.failed = trace.failed;
    untimed(config, trace.timed, &source.label)?;
    let by_id: BTreeMap<&str, &prompts::Prompt> = prompts.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut other_length = 0;
    let rows = shape::pick(config, trace.rows.len(), trace.timed)?;
    let drafts = rows.into_iter().map(|at| {
        let row = &trace.rows[at];
        let prompt = row.prompt_id.as_deref().and_then(|id| by_id.get(id)).ok_or_else(|| {
            let id = row.prompt_id.as_deref().map_or("no prompt".to_owned(), |id| format!("the prompt `{id}`"));
            StageError::new(format!(
                "row {} of `{}` names {id}, which is not among the prompts",
                row.index, source.label
            ))
            .help("the trace needs a column `prompt_id` whose names the prompts' file has")
        })?;
        if prompt.ids.len() != row.prompt_tokens as usize {
            other_length += 1;
        }
        let draft = text_draft(prompt, shape::scaled(row.output_tokens, config.length_scale), row_name(row));
        Ok(Draft { arrival: row.arrival, ..draft })
    });
    let drafts = gather(config, world, report, drafts)?;
    report.other_length = other_length;
    Ok(drafts)
}

fn from_laws(config: &Config, world: &World, report: &mut Report) -> Result<Vec<Draft>, StageError> {
    report.source = "laws";
    let sampler = |law: &Option<laws::Lengths>| -> Result<laws::Sampler, StageError> {
        law.as_ref().ok_or_else(|| StageError::new("no law says how long requests are"))?.sampler().map_err(late)
    };
    let (prompt, output) = (sampler(&config.prompt_tokens)?, sampler(&config.output_tokens)?);
    let mut prompt_stream = Stream::new(config.seed, "workload prompt lengths", 0);
    let mut output_stream = Stream::new(config.seed, "workload output lengths", 0);
    let mut drops = 0;
    let mut drawn = 0u64;
    let drafts = std::iter::from_fn(|| {
        let draft = Draft {
            arrival: crate::infer::time::Nanos(0),
            prompt_tokens: shape::scaled(prompt.draw(&mut prompt_stream), config.length_scale),
            output_tokens: shape::scaled(output.draw(&mut output_stream), config.length_scale),
            ids: None,
            prefix_blocks: Arc::from([]),
            source: format!("draw {drawn}"),
        };
        drawn += 1;
        let dropped = world.limits.judge(draft.prompt_tokens, draft.output_tokens) == Ok(Verdict::Dropped);
        drops = if dropped { drops + 1 } else { 0 };
        if drops > DROPS_IN_A_ROW {
            let limits = &world.limits;
            return Some(Err(StageError::new(format!(
                "{DROPS_IN_A_ROW} draws in a row are longer than the limits (prompt {}, output {}, together {})",
                limits.prompt, limits.output, limits.total
            ))
            .help(
                "the laws hardly ever give what the limits allow: change one of them, or use `over_limit = \"clip\"`",
            )));
        }
        Some(Ok(draft))
    });
    gather(config, world, report, drafts)
}

/// Applies the limits, takes as many as asked for, gives them arrivals.
fn gather(
    config: &Config,
    world: &World,
    report: &mut Report,
    drafts: impl Iterator<Item = Result<Draft, StageError>>,
) -> Result<Vec<Draft>, StageError> {
    let wanted = config.requests.map_or(usize::MAX, |n| n as usize);
    let mut kept = Vec::new();
    for draft in drafts {
        if kept.len() == wanted {
            break;
        }
        kept.extend(world.limits.apply(draft?, &mut report.tally)?);
    }
    if kept.is_empty() {
        return Err(StageError::new(format!("all {} requests are longer than the limits", report.tally.dropped))
            .help("raise the limits, or set `over_limit = \"clip\"`"));
    }
    if config.requests.is_some() && kept.len() < wanted {
        return Err(StageError::new(format!(
            "`requests` asks for {wanted}, the {} gives {} ({} were longer than the limits)",
            report.source,
            kept.len(),
            report.tally.dropped
        ))
        .help("ask for fewer, or set `rows = \"drawn\"` with a law of `arrivals`"));
    }
    match &config.arrivals {
        Some(law) => {
            let mut stream = Stream::new(config.seed, "workload arrivals", 0);
            let arrivals = draw_arrivals(law, config.rate_per_s, kept.len(), &mut stream).map_err(late)?;
            for (draft, arrival) in kept.iter_mut().zip(arrivals) {
                draft.arrival = shape::stretched(arrival, config.time_scale);
            }
        }
        None => shape::retime(&mut kept, config)?,
    }
    Ok(kept)
}

/// A complaint that should have come before the stage ran.
fn late(complaint: Complaint) -> StageError {
    StageError::new(format!("`{}`: {}", complaint.field, complaint.message))
}

fn write(path: &Path, config: &Config, world: &World, report: &Report, drafts: &[Draft]) -> Result<(), StageError> {
    let ids = match (config.token_ids, world.vocabulary) {
        (TokenIds::Random, Some(below)) => Some(Ids { seed: config.seed, below, block_tokens: report.block_tokens }),
        _ => None,
    };
    let notes = [
        ("source", report.source.to_owned()),
        ("seed", config.seed.to_string()),
        ("clipped", report.tally.clipped.to_string()),
        ("dropped", (report.tally.dropped + report.failed).to_string()),
        ("prefix_block_tokens", report.block_tokens.to_string()),
    ];
    let mut writer = Writer::<Row>::create(path, &notes)?;
    for (number, draft) in drafts.iter().enumerate() {
        let id = u32::try_from(number)
            .map_err(|_| StageError::new(format!("a workload of more than {} requests", u32::MAX)))?;
        let prompt = match (&draft.ids, &ids) {
            (Some(text), _) => text.clone(),
            (None, Some(ids)) => ids.draw(id, draft).into(),
            (None, None) => Arc::from([]),
        };
        let request = Request {
            id,
            arrival: draft.arrival,
            prompt_tokens: draft.prompt_tokens,
            output_tokens: draft.output_tokens,
            prompt,
            prefix_blocks: ids::blocks(draft, report.block_tokens).into(),
            priority: 0,
        };
        writer.push(&Row { request, source: Some(draft.source.clone()) })?;
    }
    writer.finish()?;
    Ok(())
}
