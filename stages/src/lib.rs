//! The kinds of stage that measure, simulate and compare inference.

pub mod compare;
pub mod export;
pub mod infer;
pub mod kinds;
pub mod model;
pub mod predict;
pub mod random;
pub mod report;
pub mod tables;
pub mod weights;
pub mod workload;
