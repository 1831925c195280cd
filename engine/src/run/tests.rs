#![expect(clippy::unwrap_used, reason = "a test")]

mod crash;
mod matrix;
mod random;
mod scale;
mod share;
mod states;
