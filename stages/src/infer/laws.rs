//! Laws that hold of every run, asserted at its end.

use super::time::Nanos;

/// Little's law over a run that starts and ends empty: the time integral of the number of requests in the system,
/// swept over arrivals and completions, equals the sum of the times that requests were in it. Exact in integers.
///
/// `spans` are arrival and completion of each request in order of arrival; `completions` the same completions in the
/// order in which the loop saw them.
///
/// # Panics
/// When it does not hold: a request was lost or counted twice, or completions went back in time.
pub(super) fn assert_little(spans: &[(Nanos, Nanos)], completions: &[Nanos]) {
    let sojourn: u128 = spans.iter().map(|(arrival, completion)| u128::from(completion.since(*arrival).0)).sum();
    let mut arrivals = spans.iter().map(|(arrival, _)| *arrival).peekable();
    let (mut area, mut present, mut last) = (0u128, 0u128, Nanos::default());
    for completion in completions {
        while let Some(arrival) = arrivals.next_if(|a| a <= completion) {
            area += present * u128::from(arrival.since(last).0);
            (present, last) = (present + 1, arrival);
        }
        assert!(*completion >= last, "a completion at {} ns comes before {} ns", completion.0, last.0);
        area += present * u128::from(completion.since(last).0);
        assert!(present > 0, "more requests were completed than have arrived");
        (present, last) = (present - 1, *completion);
    }
    assert_eq!(present, 0, "requests that arrived and were never completed");
    assert_eq!(area, sojourn, "Little's law: requests in the system over time, and the time each spent there");
}

#[cfg(test)]
mod tests;
