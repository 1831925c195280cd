//! Vidur's utilisation figures, oddities included: memory is a plain mean over samples; the stretch that begins at time
//! 0 is left out of time-weighted means.

/// A series of samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    last: (f64, f64),
    pub(super) min: f64,
    pub(super) max: f64,
    sum: f64,
    weight: f64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    ByTime,
}

impl Series {
    /// A plain mean over samples.
    pub(super) fn plain() -> Series {
        Series::new(Kind::Plain)
    }

    /// A mean of a step function over time.
    pub(super) fn by_time() -> Series {
        Series::new(Kind::ByTime)
    }

    fn new(kind: Kind) -> Series {
        let mut series =
            Series { last: (0.0, 0.0), min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, weight: 0.0, kind };
        series.put(0.0, 0.0);
        series
    }

    /// The value from `at` on.
    pub(super) fn put(&mut self, at: f64, value: f64) {
        match self.kind {
            Kind::Plain => {
                self.sum += value;
                self.weight += 1.0;
            }
            Kind::ByTime => {
                let (since, before) = self.last;
                if since != 0.0 {
                    self.sum += before * (at - since);
                    self.weight += at - since;
                }
            }
        }
        self.last = (at, value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// The mean; 0 where no time has passed.
    pub(super) fn mean(&self) -> f64 {
        if self.weight == 0.0 { 0.0 } else { self.sum / self.weight }
    }
}
