//! A DAG runner that caches by content: it skips what is known, runs the rest in parallel, gives each card to one
//! stage at a time and can say why it did each thing.
//!
//! It does not know what its stages compute. A program brings its kinds as a [`kind::Program`].

pub mod attempt;
pub mod cli;
pub mod command;
pub mod config;
pub mod digest;
pub mod error;
pub mod event;
pub mod exec;
pub mod explain;
mod fault;
pub mod graph;
pub mod key;
pub mod kind;
pub mod launch;
pub mod lease;
pub mod load;
pub mod meaning;
pub mod memory;
pub mod oracle;
mod pack;
pub mod report;
pub mod run;
pub mod source;
pub mod store;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod testing;
