//! Laws of arrivals and lengths. Pure: a law and a stream give numbers.

mod arrivals;
mod lengths;
mod quantiles;

#[cfg(test)]
mod tests;

pub use arrivals::{ArrivalLaw, Arrivals, draw_arrivals};
pub use lengths::{LengthLaw, Lengths, Sampler, whole};
pub use quantiles::{Quantiles, Scale};
