//! The configuration of `workload`, and what can be wrong with it before anything is read.

use engine::kind::{Complaint, Wired};
use serde::{Deserialize, Serialize};

use super::laws::{Arrivals, Lengths};
use super::trace::Format;

#[cfg(test)]
mod tests;

/// What `workload` can be told. Requests come from a trace or from prompts where one is wired, else from laws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many requests; without it, all that the trace or the prompts give.
    pub requests: Option<u32>,
    /// Every random choice follows from it.
    pub seed: u64,
    /// Mean rate: of the law; or of a trace, whose gaps are scaled to it.
    pub rate_per_s: Option<f64>,
    /// Factor on all arrivals (2 = half the rate).
    pub time_scale: f64,
    /// Factor on all lengths that a trace or a law gives; rounded, at least 1.
    pub length_scale: f64,
    /// When requests arrive; without it, when the trace says.
    pub arrivals: Option<Arrivals>,
    /// Lengths of prompts, where neither trace nor prompts give them.
    pub prompt_tokens: Option<Lengths>,
    /// Tokens to produce, where the trace does not say.
    pub output_tokens: Option<Lengths>,
    /// The trace's format.
    pub format: Format,
    /// Which rows of the trace or the prompts.
    pub subset: Option<Subset>,
    /// How rows become requests.
    pub rows: Rows,
    /// Longest prompt.
    pub max_prompt_tokens: Option<u32>,
    /// Most tokens to produce.
    pub max_output_tokens: Option<u32>,
    /// Longest sequence: prompt and output together; without it, what the model can.
    pub max_total_tokens: Option<u32>,
    /// What becomes of a request that is longer than allowed.
    pub over_limit: OverLimit,
    /// Where the ids of prompts come from that have no text.
    pub token_ids: TokenIds,
    /// Ids are drawn below this; without it, below the size of the model's or the tokenizer's vocabulary.
    pub token_ids_below: Option<u32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            requests: None,
            seed: 0,
            rate_per_s: None,
            time_scale: 1.0,
            length_scale: 1.0,
            arrivals: None,
            prompt_tokens: None,
            output_tokens: None,
            format: Format::Auto,
            subset: None,
            rows: Rows::InOrder,
            max_prompt_tokens: None,
            max_output_tokens: None,
            max_total_tokens: None,
            over_limit: OverLimit::Refuse,
            token_ids: TokenIds::Random,
            token_ids_below: None,
        }
    }
}

/// Rows that are taken, 0-based; one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subset {
    /// `[first, end]`: rows from `first` up to, not with, `end`.
    pub range: Option<[u64; 2]>,
    /// These rows in this order; not on a trace that has arrivals, whose gaps would lose their meaning.
    pub indices: Option<Vec<u64>>,
}

/// How rows of a trace or of prompts become requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// One after the other, each once.
    InOrder,
    /// Drawn with replacement; arrivals come from a law.
    Drawn,
}

/// What becomes of a request that is longer than a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimit {
    /// It is an error.
    Refuse,
    /// It is cut: each length to its own limit, then the prompt to what the output leaves of the total.
    Clip,
    /// It is left out and counted; a law draws another one.
    Drop,
}

/// Where the ids of prompts come from that have no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenIds {
    /// Drawn for each request; blocks that a trace shares between prompts share their ids.
    Random,
    /// None are made: enough for a simulation.
    None,
}

impl Config {
    /// Everything that can be said before an input is read.
    ///
    /// # Errors
    /// The field at fault.
    pub fn check(&self, wired: &Wired) -> Result<(), Complaint> {
        self.check_numbers()?;
        self.check_subset()?;
        if let Some(arrivals) = &self.arrivals {
            arrivals.check(self.rate_per_s).map_err(|c| within("arrivals", c))?;
        }
        for (name, lengths) in [("prompt_tokens", &self.prompt_tokens), ("output_tokens", &self.output_tokens)] {
            if let Some(lengths) = lengths {
                lengths.check().map_err(|c| within(name, c))?;
            }
        }
        if wired.has("prompts") {
            self.check_prompts(wired)
        } else if wired.has("trace") {
            self.check_trace(wired)
        } else {
            self.check_laws(wired)
        }
    }

    fn check_numbers(&self) -> Result<(), Complaint> {
        if self.requests == Some(0) {
            return Err(Complaint::new("requests", "a workload of no requests").help("ask for at least 1"));
        }
        if let Some(rate) = self.rate_per_s
            && !(rate.is_finite() && rate > 0.0)
        {
            return Err(Complaint::new("rate_per_s", format!("a rate of {rate} requests a second"))
                .help("give a positive number; for all requests at once use `arrivals = { law = \"at-once\" }`"));
        }
        for (name, factor) in [("time_scale", self.time_scale), ("length_scale", self.length_scale)] {
            if !(factor.is_finite() && factor > 0.0) {
                return Err(Complaint::new(name, format!("a factor of {factor}")).help("give a positive number"));
            }
        }
        if self.rate_per_s.is_some() && self.time_scale != 1.0 {
            return Err(Complaint::new("time_scale", "both `rate_per_s` and `time_scale` set the rate")
                .help("keep one of them"));
        }
        let limits = [
            ("max_prompt_tokens", self.max_prompt_tokens, 1),
            ("max_output_tokens", self.max_output_tokens, 1),
            ("max_total_tokens", self.max_total_tokens, 2),
        ];
        for (name, limit, least) in limits {
            if limit.is_some_and(|limit| limit < least) {
                return Err(Complaint::new(name, format!("a limit below {least}"))
                    .help("a request has at least 1 token of prompt and 1 of output"));
            }
        }
        if self.token_ids_below == Some(0) {
            return Err(Complaint::new("token_ids_below", "there is no token id below 0"));
        }
        Ok(())
    }

    fn check_subset(&self) -> Result<(), Complaint> {
        let Some(subset) = &self.subset else { return Ok(()) };
        match (&subset.range, &subset.indices) {
            (Some([first, end]), None) if first >= end => {
                Err(Complaint::new("subset.range", format!("rows {first} up to {end} are none"))
                    .help("`range = [first, end]` takes rows from `first` up to, not with, `end`"))
            }
            (None, Some(indices)) if indices.is_empty() => Err(Complaint::new("subset.indices", "no rows are named")),
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(Complaint::new("subset", "a subset is either `range` or `indices`")),
        }
    }

    fn check_trace(&self, wired: &Wired) -> Result<(), Complaint> {
        for (name, given) in
            [("prompt_tokens", self.prompt_tokens.is_some()), ("output_tokens", self.output_tokens.is_some())]
        {
            if given {
                return Err(Complaint::new(name, "both the trace and this law say how long requests are")
                    .help("leave out the law, or do not wire `trace`"));
            }
        }
        self.check_drawn()?;
        self.check_ids(wired)
    }

    fn check_prompts(&self, wired: &Wired) -> Result<(), Complaint> {
        if !wired.has("tokenizer") {
            return Err(Complaint::new("", "`prompts` are wired, and no `tokenizer` to make token ids of them")
                .help("wire it: `in = { prompts = …, tokenizer = \"@model.tokenizer\" }`"));
        }
        if self.prompt_tokens.is_some() {
            return Err(Complaint::new("prompt_tokens", "the prompts say how long they are")
                .help("leave it out; `max_prompt_tokens` with `over_limit` cuts long ones"));
        }
        if wired.has("trace") && self.output_tokens.is_some() {
            return Err(Complaint::new("output_tokens", "both the trace and this law say how many tokens to produce")
                .help("leave out the law, or do not wire `trace`"));
        }
        if !wired.has("trace") && self.arrivals.is_none() {
            return Err(Complaint::new("arrivals", "nothing says when the prompts arrive")
                .help("give a law, for example `arrivals = { law = \"at-once\" }`"));
        }
        self.check_drawn()
    }

    fn check_laws(&self, wired: &Wired) -> Result<(), Complaint> {
        if self.requests.is_none() {
            return Err(Complaint::new("requests", "laws do not say how many requests to draw")
                .help("set `requests`, or wire a trace or prompts"));
        }
        if self.arrivals.is_none() {
            return Err(Complaint::new("arrivals", "nothing says when requests arrive")
                .help("give a law (`arrivals = { law = \"poisson\" }`), or wire a trace"));
        }
        for (name, given) in
            [("prompt_tokens", self.prompt_tokens.is_some()), ("output_tokens", self.output_tokens.is_some())]
        {
            if !given {
                return Err(Complaint::new(name, "nothing says how long requests are")
                    .help(format!("give a law (`{name} = {{ law = \"fixed\", value = 128 }}`), or wire a trace")));
            }
        }
        if self.subset.is_some() {
            return Err(Complaint::new("subset", "a subset is of the rows of a trace or of prompts; none is wired"));
        }
        self.check_ids(wired)
    }

    fn check_drawn(&self) -> Result<(), Complaint> {
        if self.rows == Rows::InOrder {
            return Ok(());
        }
        if self.requests.is_none() {
            return Err(Complaint::new("requests", "rows are drawn, and nothing says how many"));
        }
        if self.arrivals.is_none() {
            return Err(Complaint::new("arrivals", "rows are drawn, so that their own arrivals mean nothing")
                .help("give a law: `arrivals = { law = \"poisson\" }`"));
        }
        Ok(())
    }

    fn check_ids(&self, wired: &Wired) -> Result<(), Complaint> {
        let known = self.token_ids_below.is_some() || wired.has("model") || wired.has("tokenizer");
        if self.token_ids == TokenIds::Random && !known {
            return Err(Complaint::new("token_ids", "nothing says below which number token ids are to be drawn").help(
                "wire the model (`in = { model = \"@model\" }`), or set `token_ids = \"none\"` where nobody computes with them",
            ));
        }
        Ok(())
    }
}

fn within(name: &str, complaint: Complaint) -> Complaint {
    let field = if complaint.field.is_empty() { name.to_owned() } else { format!("{name}.{}", complaint.field) };
    Complaint { field, ..complaint }
}
