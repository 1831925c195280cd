//! The kinds of stage that measure, simulate and compare inference.

pub mod bench;
pub mod capacity;
pub mod compare;
pub mod device;
pub mod export;
pub mod fit;
pub mod fleet;
pub mod infer;
pub mod kinds;
pub mod model;
pub mod predict;
pub mod profile;
pub mod profiling;
pub mod random;
pub mod report;
pub mod roofline;
pub mod search;
pub mod sim;
pub mod tables;
pub mod vidur;
pub mod weights;
pub mod workload;
