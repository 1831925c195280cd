//! Errors by metric and statistic, of rates, and request by request. Pure: aligned instants in, figures out.

use super::align::{Aligned, Instants, throughput};
use super::distance::{self, median};
use super::metric::{Metric, Stat};
use super::verdict::{Figure, Grade, MetricError, Pair, PairError, Rate, Thresholds};

/// How many of the worst requests are named.
const WORST: usize = 10;

/// The relative error with its sign; `None` where nothing was measured to divide by, unless both are nothing.
pub fn error(predicted: f64, measured: f64) -> Option<f64> {
    if predicted == measured {
        Some(0.0)
    } else if measured == 0.0 {
        None
    } else {
        Some((predicted - measured) / measured)
    }
}

/// Every metric that both sides have.
pub fn metrics(aligned: &Aligned<'_>, thresholds: &Thresholds) -> Vec<MetricError> {
    Metric::ALL.into_iter().filter_map(|metric| metric_error(metric, aligned, thresholds)).collect()
}

fn metric_error(metric: Metric, aligned: &Aligned<'_>, thresholds: &Thresholds) -> Option<MetricError> {
    let predicted = metric.sample(&aligned.predicted);
    let measured: Vec<Vec<f64>> = aligned.measured.iter().map(|side| metric.sample(side)).collect();
    let n_measured = measured.iter().map(Vec::len).min()?;
    if predicted.is_empty() || n_measured == 0 {
        return None;
    }
    let n = predicted.len().min(n_measured);
    let figures: Vec<Figure> = Stat::ALL
        .into_iter()
        .filter_map(|stat| {
            let ours = stat.of(&predicted)?;
            let theirs: Vec<f64> = measured.iter().filter_map(|sample| stat.of(sample)).collect();
            let middle = median(&theirs)?;
            let error = error(ours, middle);
            let graded = metric.graded() && stat.supported(n);
            Some(Figure {
                stat,
                predicted_ns: ours,
                measured_ns: middle,
                measured_low_ns: theirs.iter().copied().fold(f64::INFINITY, f64::min),
                measured_high_ns: theirs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                error,
                grade: graded.then(|| thresholds.grade(error)),
            })
        })
        .collect();
    let pooled = distance::sorted(measured.into_iter().flatten().collect());
    let wasserstein_ns = distance::wasserstein(&predicted, &pooled)?;
    let mean = distance::mean(&pooled)?;
    Some(MetricError {
        metric,
        n_predicted: predicted.len() as u64,
        n_measured: n_measured as u64,
        grade: figures.iter().filter_map(|f| f.grade).max(),
        figures,
        ks: distance::kolmogorov_smirnov(&predicted, &pooled)?,
        wasserstein_ns,
        wasserstein_share: (mean > 0.0).then(|| wasserstein_ns / mean),
    })
}

/// Output tokens and requests a second.
pub fn rates(aligned: &Aligned<'_>, thresholds: &Thresholds) -> Vec<Rate> {
    let Some(predicted) = throughput(&aligned.predicted) else { return Vec::new() };
    let measured: Vec<_> = aligned.measured.iter().filter_map(|side| throughput(side)).collect();
    let rate = |name: &str, ours: f64, theirs: Vec<f64>| {
        let theirs = median(&theirs)?;
        let error = error(ours, theirs);
        let grade = thresholds.grade(error);
        Some(Rate { name: name.to_owned(), predicted_per_s: ours, measured_per_s: theirs, error, grade })
    };
    [
        rate("output_tokens", predicted.tokens_per_s, measured.iter().map(|t| t.tokens_per_s).collect()),
        rate("requests", predicted.requests_per_s, measured.iter().map(|t| t.requests_per_s).collect()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The worst of all grades, with what gave it.
pub fn worst_grade(metrics: &[MetricError], rates: &[Rate]) -> Option<Grade> {
    metrics.iter().filter_map(|m| m.grade).chain(rates.iter().map(|r| r.grade)).max()
}

/// A request's value on the measured side: the median over the repeats.
fn middle(metric: Metric, at: usize, aligned: &Aligned<'_>) -> Option<f64> {
    let values: Option<Vec<f64>> = aligned.measured.iter().map(|side| metric.of(&side[at])).collect();
    median(&values?)
}

/// Sizes of the errors of single requests.
pub fn pairs(aligned: &Aligned<'_>) -> Vec<PairError> {
    [Metric::Ttft, Metric::Tpot, Metric::E2e]
        .into_iter()
        .filter_map(|metric| {
            let sizes = aligned
                .predicted
                .iter()
                .enumerate()
                .filter_map(|(at, request)| error(metric.of(request)?, middle(metric, at, aligned)?).map(f64::abs));
            let sizes = distance::sorted(sizes.collect());
            Some(PairError {
                metric,
                n: u32::try_from(sizes.len()).unwrap_or(u32::MAX),
                p50: distance::quantile(&sizes, 0.5)?,
                p90: distance::quantile(&sizes, 0.9)?,
            })
        })
        .collect()
}

/// The requests whose E2E is most wrong, the worst first.
pub fn worst(aligned: &Aligned<'_>) -> Vec<Pair> {
    let mut all: Vec<Pair> =
        aligned.predicted.iter().enumerate().filter_map(|(at, request)| pair(at, request, aligned)).collect();
    all.sort_by(|a, b| b.error.abs().total_cmp(&a.error.abs()).then(a.request.cmp(&b.request)));
    all.truncate(WORST);
    all
}

fn pair(at: usize, request: &Instants<'_>, aligned: &Aligned<'_>) -> Option<Pair> {
    let e2e_predicted_ns = Metric::E2e.of(request)?;
    let e2e_measured_ns = middle(Metric::E2e, at, aligned)?;
    Some(Pair {
        request: request.id,
        start_ns: request.start,
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.tokens,
        ttft_predicted_ns: Metric::Ttft.of(request)?,
        ttft_measured_ns: middle(Metric::Ttft, at, aligned)?,
        e2e_predicted_ns,
        e2e_measured_ns,
        error: error(e2e_predicted_ns, e2e_measured_ns)?,
    })
}
