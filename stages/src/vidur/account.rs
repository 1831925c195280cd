//! What Vidur keeps of each request, and its request metrics.

use super::case::CaseRequest;

/// Instants and sums of one request, s.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Account {
    pub(super) arrived: f64,
    /// At arrival, before any restart.
    pub(super) prefill: u32,
    pub(super) decode: u32,
    pub(super) scheduled: Option<f64>,
    pub(super) prefill_completed: Option<f64>,
    pub(super) completed: Option<f64>,
    execution: f64,
    model_execution: f64,
    preemption: f64,
    /// End of its latest stage; 0 until there is one, and then Vidur takes it for unset.
    latest_stage_end: f64,
    /// Prefill and decode counts after restarts, and their number; known at the end.
    pub(super) last_prefill: u32,
    pub(super) last_decode: u32,
    pub(super) restarts: u32,
}

impl Account {
    /// Of a request that has just arrived.
    pub(super) fn of(request: &CaseRequest) -> Account {
        Account {
            arrived: request.arrived_at,
            prefill: request.num_prefill_tokens,
            decode: request.num_decode_tokens,
            last_prefill: request.num_prefill_tokens,
            last_decode: request.num_decode_tokens,
            ..Account::default()
        }
    }

    /// A stage begins to work on it.
    pub(super) fn stage_starts(&mut self, at: f64) {
        if self.latest_stage_end == 0.0 {
            self.preemption = 0.0;
        } else {
            self.preemption += at - self.latest_stage_end;
        }
    }

    /// A stage has worked on it.
    pub(super) fn stage_ends(&mut self, at: f64, total: f64, model: f64) {
        self.execution += total;
        self.model_execution += model;
        self.latest_stage_end = at;
    }

    /// The request metrics; `before` is the request that arrived before it.
    pub(super) fn metrics(&self, before: Option<&Account>) -> RequestMetrics {
        let (prefill, decode) = (f64::from(self.last_prefill), f64::from(self.last_decode));
        let busy = self.execution + self.preemption;
        let end = self.completed;
        // Vidur writes most figures when a request completes.
        let done = |value: f64| end.map(|_| value);
        let first = self.prefill_completed.filter(|_| end.is_some());
        let since_scheduled = |t: f64| self.scheduled.map(|s| t - s);
        RequestMetrics {
            e2e_time: end.map(|c| c - self.arrived),
            e2e_time_normalized: end.map(|c| (c - self.arrived) / decode),
            execution_time: done(self.execution),
            execution_time_normalized: done(self.execution / decode),
            model_execution_time: done(self.model_execution),
            model_execution_time_normalized: done(self.model_execution / decode),
            preemption_time: done(self.preemption),
            scheduling_delay: end.and(self.scheduled).map(|s| s - self.arrived),
            execution_plus_preemption_time: done(busy),
            execution_plus_preemption_time_normalized: done(busy / decode),
            prefill_e2e_time: first.map(|f| f - self.arrived),
            prefill_time_execution_plus_preemption: first.and_then(since_scheduled),
            prefill_time_execution_plus_preemption_normalized: first.and_then(since_scheduled).map(|t| t / prefill),
            decode_time_execution_plus_preemption_normalized: end.zip(first).map(|(c, f)| (c - f) / decode),
            inter_arrival_delay: before.map(|b| self.arrived - b.arrived),
            num_tokens: self.prefill + self.decode,
            num_prefill_tokens: self.prefill,
            num_decode_tokens: self.decode,
            pd_ratio: f64::from(self.prefill) / f64::from(self.decode),
            num_restarts: end.map(|_| self.restarts),
        }
    }
}

/// A row of Vidur's `request_metrics.csv`, s; what is set at completion is empty where a request did not complete.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names are Vidur's columns")]
pub struct RequestMetrics {
    pub e2e_time: Option<f64>,
    pub e2e_time_normalized: Option<f64>,
    pub execution_time: Option<f64>,
    pub execution_time_normalized: Option<f64>,
    pub model_execution_time: Option<f64>,
    pub model_execution_time_normalized: Option<f64>,
    pub preemption_time: Option<f64>,
    pub scheduling_delay: Option<f64>,
    pub execution_plus_preemption_time: Option<f64>,
    pub execution_plus_preemption_time_normalized: Option<f64>,
    pub prefill_e2e_time: Option<f64>,
    pub prefill_time_execution_plus_preemption: Option<f64>,
    pub prefill_time_execution_plus_preemption_normalized: Option<f64>,
    pub decode_time_execution_plus_preemption_normalized: Option<f64>,
    pub inter_arrival_delay: Option<f64>,
    pub num_tokens: u32,
    pub num_prefill_tokens: u32,
    pub num_decode_tokens: u32,
    pub pd_ratio: f64,
    pub num_restarts: Option<u32>,
}
