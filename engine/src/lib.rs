//! A DAG runner that caches by content: it skips what is known, runs the rest in parallel, gives each card to one
//! stage at a time and can say why it did each thing.
//!
//! It does not know what its stages compute. A program brings its kinds as a [`kind::Program`].

pub mod command;
pub mod error;
pub mod event;
pub mod exec;
pub mod graph;
pub mod kind;
pub mod load;
pub mod meaning;
pub mod source;
