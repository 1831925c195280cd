//! The command line.

mod arguments;
mod doctor;
mod draw;
mod here;
mod init;
mod kinds;
