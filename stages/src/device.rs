//! Devices that a model runs on.

pub mod cuda;
