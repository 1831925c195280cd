//! A transformer's shape, its weights, and forward passes over an outside KV pool.

pub mod card;
