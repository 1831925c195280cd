//! The `pipe` program.
fn main() {}
