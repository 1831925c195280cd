//! The kinds this program brings, and the identity of their code.

use engine::kind::Kind;

/// `(module, digest)` for each kind, made by `build.rs` from `kinds.in`.
pub mod codes {
    include!(concat!(env!("OUT_DIR"), "/codes.rs"));
}

/// All kinds, in the order in which `pipe kinds` lists them.
pub static KINDS: &[Kind] = &[
    Kind::of::<crate::workload::Workload>(),
    Kind::of::<crate::weights::Weights>(),
    Kind::of::<crate::profile::Profile>(),
    Kind::of::<crate::sim::Sim>(),
    Kind::of::<crate::bench::Bench>(),
    Kind::of::<crate::compare::Compare>(),
    Kind::of::<crate::report::Report>(),
];
