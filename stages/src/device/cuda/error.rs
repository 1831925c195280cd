//! What can go wrong on a card, said with what was attempted.

use std::path::PathBuf;

/// A failure of the card, its libraries or what was asked of them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CudaError {
    /// A library that is opened at run time is not there.
    #[error("no `{library}` was found in {}", places(.searched))]
    Missing {
        /// Its name without version.
        library: &'static str,
        /// Directories that were looked into, beside the system's own.
        searched: Vec<PathBuf>,
    },
    /// The driver, NVRTC or cublasLt refused.
    #[error("{attempted} failed: {reason}")]
    Refused {
        /// What was asked of it.
        attempted: String,
        /// Its words.
        reason: String,
    },
    /// A kernel file does not compile.
    #[error("kernel file `{file}` does not compile for `{architecture}`: {log}")]
    Compile {
        /// Its name.
        file: String,
        /// The target.
        architecture: String,
        /// The compiler's words.
        log: String,
    },
    /// The model or the batch is outside what this engine does.
    #[error("{0}")]
    Unsupported(String),
    /// A tensor is absent or has another shape.
    #[error("cannot load tensor `{name}`: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
}

impl CudaError {
    /// A refusal, from whatever a library returned.
    pub fn refused(attempted: impl Into<String>, reason: impl std::fmt::Debug) -> CudaError {
        CudaError::Refused { attempted: attempted.into(), reason: format!("{reason:?}") }
    }
}

fn places(searched: &[PathBuf]) -> String {
    if searched.is_empty() {
        return "the system's library directories".to_owned();
    }
    let names: Vec<String> = searched.iter().map(|p| format!("`{}`", p.display())).collect();
    names.join(", ")
}
