//! Runs over time, one above the other: tokens computed, sequences running and waiting, KV blocks held.
//!
//! Where a side has its iterations they are the source; else tokens are counted where they came and sequences between
//! their instants.

use super::svg::{Figure, Frame, Scale, count};
use super::text::plain;
use crate::compare::align::Clock;
use crate::compare::side::Side;
use crate::tables::run::RequestRow;

/// Columns of time.
const BINS: usize = 280;
const LEFT: f64 = 52.0;
const WIDTH: f64 = 696.0;

/// One side over time, in [`BINS`] equal columns from 0 to `end_ns`.
#[derive(Debug)]
struct Lane {
    /// Prompt tokens in each column.
    prefill: Vec<f64>,
    /// Output tokens in each column.
    decode: Vec<f64>,
    /// Most sequences running at once in each column.
    running: Vec<f64>,
    /// Most requests waiting at once.
    waiting: Vec<f64>,
    /// Most KV blocks held; empty where nobody saw them.
    blocks: Vec<f64>,
}

/// Which side of a comparison a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What was foretold.
    Predicted,
    /// What was seen.
    Measured,
}

impl Role {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Predicted => "predicted",
            Role::Measured => "measured",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Role::Predicted => "lp",
            Role::Measured => "lm",
        }
    }
}

/// Two charts: tokens of each run, and what the runs hold. None where no run has an instant at all.
pub(super) fn timelines(runs: &[(Role, &Side)], clock: Clock) -> Vec<Figure> {
    let end_ns = runs.iter().map(|(_, side)| end(side)).max().unwrap_or(0);
    if end_ns == 0 {
        return Vec::new();
    }
    let lanes: Vec<(Role, Lane)> = runs.iter().map(|(role, side)| (*role, lane(side, end_ns, clock))).collect();
    let pool = runs.iter().rev().find_map(|(_, side)| pool(side));
    vec![tokens(&lanes, end_ns), held(&lanes, end_ns, pool)]
}

fn end(side: &Side) -> u64 {
    let batches = side.batches.iter().map(|b| b.end.0);
    batches.chain(side.requests.iter().filter_map(|r| r.completion).map(|t| t.0)).max().unwrap_or(0)
}

/// Blocks of the whole pool, where the knobs say.
fn pool(side: &Side) -> Option<f64> {
    side.meta.knobs.get("kv_blocks")?.as_f64().filter(|blocks| *blocks > 0.0)
}

fn lane(side: &Side, end_ns: u64, clock: Clock) -> Lane {
    let mut lane = Lane {
        prefill: vec![0.0; BINS],
        decode: vec![0.0; BINS],
        running: vec![0.0; BINS],
        waiting: vec![0.0; BINS],
        blocks: Vec::new(),
    };
    let bin = |ns: u64| ((ns as f64 / end_ns as f64 * BINS as f64) as usize).min(BINS - 1);
    if side.has_batches() {
        lane.blocks = vec![0.0; BINS];
        let mut from = 0;
        for batch in &side.batches {
            spread(&mut lane.prefill, end_ns, batch.start.0, batch.end.0, f64::from(batch.prefill_tokens));
            spread(&mut lane.decode, end_ns, batch.start.0, batch.end.0, f64::from(batch.decode_tokens));
            // What was held when it was scheduled is held until it ends.
            let (first, last) = (bin(batch.scheduled.0.max(from)), bin(batch.end.0));
            for at in first..=last {
                for (values, value) in [
                    (&mut lane.running, batch.running),
                    (&mut lane.waiting, batch.waiting),
                    (&mut lane.blocks, batch.kv_blocks_used),
                ] {
                    values[at] = values[at].max(f64::from(value));
                }
            }
            from = batch.end.0;
        }
        return lane;
    }
    for (place, request) in side.requests.iter().enumerate() {
        if let Some(first) = request.first_token {
            lane.prefill[bin(first.0)] += f64::from(request.prompt_tokens);
        }
        match &side.tokens {
            Some(tokens) => tokens[place].iter().for_each(|at| lane.decode[bin(*at)] += 1.0),
            None => {
                if let (Some(first), Some(last)) = (request.first_token, request.completion) {
                    spread(&mut lane.decode, end_ns, first.0, last.0, f64::from(request.produced_tokens));
                }
            }
        }
    }
    (lane.waiting, lane.running) = queues(&side.requests, end_ns, clock);
    lane
}

/// Lays `amount` evenly over the columns between two instants.
fn spread(values: &mut [f64], end_ns: u64, from: u64, to: u64, amount: f64) {
    let scale = BINS as f64 / end_ns as f64;
    let (a, b) = (from as f64 * scale, (to as f64 * scale).min(BINS as f64));
    if b <= a {
        values[(a as usize).min(BINS - 1)] += amount;
        return;
    }
    let (first, last) = (a as usize, (b as usize).min(BINS - 1));
    for (at, value) in values.iter_mut().enumerate().take(last + 1).skip(first) {
        let overlap = (b.min(at as f64 + 1.0) - a.max(at as f64)).max(0.0);
        *value += amount * overlap / (b - a);
    }
}

/// Requests waiting and running from their instants: the largest number within each column.
fn queues(requests: &[RequestRow], end_ns: u64, clock: Clock) -> (Vec<f64>, Vec<f64>) {
    let start = |r: &RequestRow| match clock {
        Clock::Arrival => r.arrival.0,
        Clock::Sent => r.sent.unwrap_or(r.arrival).0,
    };
    let mut waits = Vec::new();
    let mut runs = Vec::new();
    for request in requests {
        let Some(done) = request.completion else { continue };
        let begin = request.scheduled.map_or(start(request), |t| t.0);
        waits.extend([(start(request), 1), (begin, -1)]);
        runs.extend([(begin, 1), (done.0, -1)]);
    }
    (largest(waits, end_ns), largest(runs, end_ns))
}

fn largest(mut changes: Vec<(u64, i64)>, end_ns: u64) -> Vec<f64> {
    changes.sort_unstable();
    let mut out = vec![0.0; BINS];
    let (mut level, mut next) = (0_i64, 0);
    for (at, value) in out.iter_mut().enumerate() {
        let until = (at + 1) as f64 * end_ns as f64 / BINS as f64;
        let mut most = level;
        while next < changes.len() && (changes[next].0 as f64) <= until {
            level += changes[next].1;
            most = most.max(level);
            next += 1;
        }
        *value = most.max(0) as f64;
    }
    out
}

fn steps(frame: &Frame, values: &[f64]) -> Vec<(f64, f64)> {
    let column = frame.width / values.len() as f64;
    values
        .iter()
        .enumerate()
        .flat_map(|(at, value)| {
            let (_, y) = frame.point(0.0, *value);
            let x = frame.left + column * at as f64;
            [(x, y), (x + column, y)]
        })
        .collect()
}

fn seconds(frame: &Frame, figure: &mut Figure) {
    frame.x_axis(figure, 8, |s| format!("{} s", plain(s)));
}

/// Tokens a second of each run, decode on the ground, prefill on top of it.
fn tokens(lanes: &[(Role, Lane)], end_ns: u64) -> Figure {
    let column_s = end_ns as f64 / 1e9 / BINS as f64;
    let rate = |values: &[f64]| values.iter().map(|v| v / column_s).collect::<Vec<_>>();
    let sum = |l: &Lane| l.prefill.iter().zip(&l.decode).map(|(p, d)| (p + d) / column_s).collect::<Vec<f64>>();
    let sums: Vec<Vec<f64>> = lanes.iter().map(|(_, lane)| sum(lane)).collect();
    let most = sums.iter().flatten().copied().fold(1.0, f64::max);
    let names: Vec<&str> = lanes.iter().map(|(role, _)| role.name()).collect();
    let about = format!(
        "Tokens computed a second over {:.1} s, {}, prompt tokens on top of decoded ones; \
         the peak is {} tokens a second.",
        end_ns as f64 / 1e9,
        names.join(" above "),
        count(most)
    );
    let height = 6.0 + 142.0 * lanes.len() as f64;
    let mut figure = Figure::new("timeline-tokens", "Tokens computed over time", &about, 760.0, height);
    for (row, (role, lane)) in lanes.iter().enumerate() {
        let frame = Frame {
            left: LEFT,
            top: 24.0 + 142.0 * row as f64,
            width: WIDTH,
            height: 102.0,
            x: Scale::linear(0.0, end_ns as f64 / 1e9),
            y: Scale::linear(0.0, most),
        };
        frame.y_axis(&mut figure, 3, count);
        let (decode, sum) = (rate(&lane.decode), &sums[row]);
        figure.area("prefill", &steps(&frame, sum), frame.bottom());
        figure.area("decode", &steps(&frame, &decode), frame.bottom());
        seconds(&frame, &mut figure);
        figure.text("ink title", LEFT, frame.top - 8.0, &format!("{}, tokens/s", role.name()));
    }
    legend(&mut figure, 16.0);
    figure
}

fn legend(figure: &mut Figure, y: f64) {
    let right = LEFT + WIDTH;
    figure.rect("prefill", (right - 118.0, y - 9.0), (10.0, 10.0), "");
    figure.text("soft start", right - 104.0, y, "prefill");
    figure.rect("decode", (right - 56.0, y - 9.0), (10.0, 10.0), "");
    figure.text("soft start", right - 42.0, y, "decode");
}

/// Running, waiting and KV blocks, the runs over each other.
fn held(lanes: &[(Role, Lane)], end_ns: u64, pool: Option<f64>) -> Figure {
    type Of = fn(&Lane) -> &Vec<f64>;
    let mut rows: Vec<(String, Of)> =
        vec![("running sequences".to_owned(), |l| &l.running), ("waiting requests".to_owned(), |l| &l.waiting)];
    if lanes.iter().all(|(_, lane)| !lane.blocks.is_empty()) {
        let of = pool.map_or_else(String::new, |pool| format!(" (the pool has {})", count(pool)));
        rows.push((format!("KV blocks held{of}"), |l| &l.blocks));
    }
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let list: Vec<String> = rows
        .iter()
        .map(|(name, of)| {
            let sides = lanes.iter().map(|(role, lane)| format!("{} {}", count(most(of(lane))), role.name()));
            format!("{name}: at most {}", sides.collect::<Vec<_>>().join(" and "))
        })
        .collect();
    let height = 6.0 + 122.0 * rows.len() as f64;
    let mut figure = Figure::new("timeline-held", "Queue and KV use over time", &list.join("; "), 760.0, height);
    for (row, (name, of)) in rows.iter().enumerate() {
        let highest = lanes.iter().map(|(_, lane)| most(of(lane))).fold(1.0, f64::max);
        let frame = Frame {
            left: LEFT,
            top: 24.0 + 122.0 * row as f64,
            width: WIDTH,
            height: 82.0,
            x: Scale::linear(0.0, end_ns as f64 / 1e9),
            y: Scale::linear(0.0, highest),
        };
        frame.y_axis(&mut figure, 3, count);
        for (role, lane) in lanes.iter().rev() {
            figure.path(role.class(), &steps(&frame, of(lane)));
        }
        seconds(&frame, &mut figure);
        figure.text("ink title", LEFT, frame.top - 8.0, name);
    }
    figure
}

#[cfg(test)]
mod tests;
