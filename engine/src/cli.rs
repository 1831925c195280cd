//! The command line.

mod draw;
