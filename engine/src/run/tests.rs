#![expect(clippy::unwrap_used, reason = "a test")]

mod crash;
mod matrix;
mod random;
mod share;
mod states;
