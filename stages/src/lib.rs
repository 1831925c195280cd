//! The kinds of stage that measure, simulate and compare inference.

pub mod device;
pub mod infer;
pub mod kinds;
pub mod model;
pub mod tables;
