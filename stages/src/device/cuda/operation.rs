//! The pieces that a step consists of, by name. It does not know what a piece launches (`engine`).

/// Pieces of a step's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The step's description into place, rows of the embedding; once.
    Begin,
    /// Last norm and output projection of the rows that yield; once.
    Head,
    /// The greatest logit of each; once.
    Choose,
    /// RMSNorm before attention.
    AttentionNorm,
    /// q, k, v.
    Qkv,
    /// Norm, rotation and cache write of prefill rows.
    Rotate,
    /// Attention of decodes, with norm, rotation and cache write.
    AttendDecode,
    /// Attention of prefills.
    AttendPrefill,
    /// Output projection, added to the residual.
    O,
    /// RMSNorm before the feed-forward layer.
    FfnNorm,
    /// Gate and up.
    GateUp,
    /// SiLU of the gate times up.
    Silu,
    /// Down, added to the residual.
    Down,
    /// Norm with q, k, v, for few rows.
    NarrowQkv,
    /// Output projection, for few rows.
    NarrowO,
    /// Norm, gate, up and SiLU, for few rows.
    NarrowFfn,
    /// Down, for few rows.
    NarrowDown,
}

/// What a layer consists of where cublasLt makes the products.
pub const WIDE: [Operation; 10] = [
    Operation::AttentionNorm,
    Operation::Qkv,
    Operation::Rotate,
    Operation::AttendDecode,
    Operation::AttendPrefill,
    Operation::O,
    Operation::FfnNorm,
    Operation::GateUp,
    Operation::Silu,
    Operation::Down,
];

/// What a layer consists of where a step is narrow.
pub(super) const NARROW: [Operation; 5] =
    [Operation::NarrowQkv, Operation::AttendDecode, Operation::NarrowO, Operation::NarrowFfn, Operation::NarrowDown];
