//! The kinds of stage that measure, simulate and compare inference.

pub mod infer;
pub mod kinds;
pub mod model;
pub mod predict;
pub mod tables;
pub mod vidur;
