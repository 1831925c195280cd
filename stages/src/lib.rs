//! The kinds of stage that measure, simulate and compare inference.

pub mod infer;
pub mod kinds;
pub mod model;
pub mod predict;
pub mod random;
pub mod sim;
pub mod tables;
pub mod vidur;
pub mod weights;
pub mod workload;
