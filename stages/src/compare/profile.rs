//! The profile as the comparison uses it: it forecasts measured batches, and says on which requests it was fitted.

use std::path::PathBuf;

use engine::exec::Source;
use engine::kind::StageError;

use super::replay::Forecast;
use crate::infer::machine::Predict;
use crate::infer::serve::{Batch, Slice};
use crate::predict::{Outside, Predictor};
use crate::tables::ops;
use crate::tables::run::{META, RunMeta, pace};

/// A profile at work.
#[derive(Debug)]
pub struct Profile {
    predictor: Predictor,
    fitted_on: String,
    /// The processor's pace while it was taken, ns, where the profile tells it.
    pace: Option<f64>,
    batch: Batch,
    forecasts: u64,
}

impl Profile {
    /// Reads the directories of a profile's repeats: `ops.parquet`, and `meta.json` where there is one. `None` where
    /// there is no profile.
    ///
    /// # Errors
    /// When a table cannot be read, or no prediction can rest on them.
    pub fn read(sources: &[Source]) -> Result<Option<Profile>, StageError> {
        if sources.is_empty() {
            return Ok(None);
        }
        let paths: Vec<PathBuf> = sources.iter().map(|source| ops::file(&source.path)).collect();
        let fitted = sources.iter().map(fitted_on).find(|digest| !digest.is_empty()).unwrap_or_default();
        let mut profile = Profile::new(&ops::read_all(&paths)?, fitted).map_err(|e| {
            StageError::new(format!("the profile {} cannot be used: {}", ops::listed(&paths), e.message))
        })?;
        let paces: Option<Vec<f64>> = sources.iter().map(|source| pace::of(&meta(source)?.facts)).collect();
        profile.pace = paces.map(|paces| paces.iter().sum::<f64>() / paces.len() as f64);
        Ok(Some(profile))
    }

    /// From rows. `fitted_on` is the digest of the requests that it was fitted on; empty where there were none.
    ///
    /// # Errors
    /// When no prediction can rest on the rows.
    pub fn new(rows: &[ops::Row], fitted_on: String) -> Result<Profile, StageError> {
        // A measured batch a little beyond the grid must not cost the whole attribution: it is counted instead.
        let predictor =
            Predictor::new(rows, Outside::Extrapolate).map_err(|e| StageError::new(e.to_string()).because(&e))?;
        Ok(Profile { predictor, fitted_on, pace: None, batch: Batch::default(), forecasts: 0 })
    }

    /// The digest of the requests that it was fitted on; empty where there were none.
    pub fn fitted_on(&self) -> &str {
        &self.fitted_on
    }

    /// How long a fixed loop of the processor took while it was taken, ns ([`pace`]), where that is known.
    pub fn pace(&self) -> Option<f64> {
        self.pace
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
    meta(source).map(|meta| meta.requests.digest).unwrap_or_default()
}

/// The profile's meta, where there is one that can be read.
fn meta(source: &Source) -> Option<RunMeta> {
    RunMeta::read(&source.path.join(META)).ok()
}

#[cfg(test)]
mod tests;
