//! A dense transformer on an NVIDIA card: kernels compiled at first use, products by cublasLt, decode steps as graphs.
//!
//! Nothing here is needed to build or to start: driver, NVRTC and cublasLt are opened when a card is asked for, and
//! what is missing is an error that says what was searched. The folder knows tensors, batches and the card; it knows
//! no scheduler, no clock but the card's events, and no file but the cache of compiled kernels.
//!
//! Invariants: one thread drives a [`Device`], one stream orders everything; after loading no step allocates on the
//! card; a buffer outlives every launch that names it, because the [`engine::Engine`] that launches owns both.
#![expect(unsafe_code, reason = "calls into the driver, NVRTC and cublasLt; each says why it is sound")]

pub mod backend;
pub mod compile;
pub mod driver;
pub mod engine;
pub mod error;
pub mod kernels;
pub mod library;
pub mod open;
pub mod operation;
pub mod product;
pub mod step;
pub mod weights;
pub mod whole;

pub use self::engine::{Engine, Limits};
pub use backend::CudaBackend;
pub use driver::Device;
pub use error::CudaError;
