//! The profile as the comparison uses it: it forecasts measured batches, and says on which requests it was fitted.

use engine::exec::Source;
use engine::kind::StageError;

use super::replay::Forecast;
use crate::infer::machine::Predict;
use crate::infer::serve::{Batch, Slice};
use crate::predict::{Outside, Predictor};
use crate::tables::{self, OPS, ops};

/// A profile at work.
#[derive(Debug)]
pub struct Profile {
    predictor: Predictor,
    fitted_on: String,
    batch: Batch,
    forecasts: u64,
}

impl Profile {
    /// Reads the directory of a profile: `ops.parquet`, and `meta.json` where there is one.
    ///
    /// # Errors
    /// When the table cannot be read, or no prediction can rest on it.
    pub fn read(source: &Source) -> Result<Profile, StageError> {
        let path = source.path.join(format!("{}.parquet", OPS.name));
        let rows: Vec<ops::Row> = tables::read(&path)?;
        Profile::new(&rows, fitted_on(source))
            .map_err(|e| StageError::new(format!("the profile `{}` cannot be used: {}", path.display(), e.message)))
    }

    /// From rows. `fitted_on` is the digest of the requests that it was fitted on; empty where there were none.
    ///
    /// # Errors
    /// When no prediction can rest on the rows.
    pub fn new(rows: &[ops::Row], fitted_on: String) -> Result<Profile, StageError> {
        // A measured batch a little beyond the grid must not cost the whole attribution: it is counted instead.
        let predictor =
            Predictor::new(rows, Outside::Extrapolate).map_err(|e| StageError::new(e.to_string()).because(&e))?;
        Ok(Profile { predictor, fitted_on, batch: Batch::default(), forecasts: 0 })
    }

    /// The digest of the requests that it was fitted on; empty where there were none.
    pub fn fitted_on(&self) -> &str {
        &self.fitted_on
    }

    /// What it says of one iteration.
    ///
    /// # Errors
    /// Never where it extrapolates; the predictor's own otherwise.
    pub fn forecast(&mut self, slices: &[Slice]) -> Result<Forecast, StageError> {
        self.batch.slices.clear();
        self.batch.slices.extend_from_slice(slices);
        self.forecasts += 1;
        let step = self
            .predictor
            .step_time(&self.batch)
            .map_err(|e| StageError::new("cannot replay the measured batches").because(&e))?;
        Ok(Forecast { device_ns: step.device.0 as f64, host_ns: step.host.0 as f64 })
    }

    /// What a reader of the forecasts should know.
    pub fn notes(&self) -> Vec<String> {
        let beyond = self.predictor.beyond();
        if beyond.iterations == 0 {
            return Vec::new();
        }
        let farthest: Vec<String> = beyond.farthest.iter().map(ToString::to_string).collect();
        vec![format!(
            "{} of {} measured batches lie outside of the profile: {}",
            beyond.iterations,
            self.forecasts,
            farthest.join("; ")
        )]
    }
}

/// `requests.digest` of the profile's meta, where it names any.
fn fitted_on(source: &Source) -> String {
    let digest = || {
        let text = std::fs::read(source.path.join("meta.json")).ok()?;
        let meta: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(meta.pointer("/requests/digest")?.as_str()?.to_owned())
    };
    digest().unwrap_or_default()
}

#[cfg(test)]
mod tests;
