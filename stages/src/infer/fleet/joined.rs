//! One account of a fleet from those of its replicas.

use super::super::record::{RequestRow, Status};
use super::super::request::Request;
use super::super::serve::Served;
use super::super::tally::{Gaps, Tally};
use super::super::time::Nanos;
use super::{FleetRun, Way};

/// Joins what each replica recorded, by the way of each request.
///
/// # Panics
/// When a request was lost or got another number of tokens than it asked for: a defect of the fleet.
pub(super) fn join(requests: &[Request], members: Vec<(Served, Tally)>, ways: &[Way]) -> FleetRun {
    let mut gaps = Gaps::default();
    members.iter().for_each(|(_, tally)| gaps.extend(&tally.gaps));
    let rows: Vec<RequestRow> = requests.iter().zip(ways).map(|(r, way)| row(r, way, &members, &mut gaps)).collect();
    let produced: u64 = rows.iter().map(|r| u64::from(r.produced_tokens)).sum();
    let served: u64 = members.iter().map(|(served, _)| served.tokens).sum();
    assert_eq!(produced, served, "tokens of all requests and tokens of all replicas");
    FleetRun {
        requests: rows,
        replicas: ways.iter().map(|w| (w.first.map(|p| p.replica), w.second.map(|p| p.replica))).collect(),
        gaps,
        members: members.into_iter().map(|(served, tally)| (served, tally.iterations)).collect(),
    }
}

fn row(request: &Request, way: &Way, members: &[(Served, Tally)], gaps: &mut Gaps) -> RequestRow {
    let at = |place: super::Place| &members[place.replica as usize].1.requests[place.local as usize];
    let first = at(way.first.expect("every request is handed to somebody"));
    let whole = RequestRow {
        request_id: request.id,
        arrival: way.sent,
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.output_tokens,
        ..first.clone()
    };
    let Some(second) = way.second.map(at) else {
        let complete = whole.status == Status::Refused || whole.produced_tokens == whole.output_tokens;
        assert!(complete, "request {} got {} tokens", request.id, whole.produced_tokens);
        return whole;
    };
    let known = |at: Option<Nanos>| at.expect("what was served has its instants");
    if second.status == Status::Ok {
        gaps.add(known(second.first_token).since(known(first.first_token)), 1);
        assert_eq!(second.produced_tokens + 1, request.output_tokens, "tokens of request {}", request.id);
    }
    RequestRow {
        status: second.status,
        completion: second.completion,
        produced_tokens: first.produced_tokens + second.produced_tokens,
        preemptions: first.preemptions + second.preemptions,
        error: second.error.clone(),
        ..whole
    }
}
