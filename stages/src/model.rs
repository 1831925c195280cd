//! A transformer's shape, its weights, and forward passes over an outside KV pool.
//!
//! `card` says what a model is, `names` which tensors it is made of, `weights` where their numbers come from,
//! `forward` what happens to tokens. Nothing here knows requests, schedulers or clocks.

pub mod card;
pub mod forward;
pub mod linear;
pub mod names;
pub mod pool;
pub mod probe;
pub mod reference;
pub mod sample;
pub mod weights;

mod attention;
mod pointwise;
