#![expect(clippy::unwrap_used, reason = "a test")]

mod crash;
mod full;
mod matrix;
mod random;
mod scale;
mod share;
mod states;
mod tier;
mod unruly;
