//! Where the values of a configuration were written: asked for when somebody wants to know why, and until then kept as
//! text.

use std::fmt;

use crate::config::Piece;
use crate::pack::{Packer, Unpacker};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Dotted path in the configuration.
    pub field: String,
    /// File and line, or the word on the command line.
    pub place: String,
}

/// Where each value of a configuration was written (defaults have no entry).
#[derive(Clone)]
pub struct Origins(Piece);

impl Origins {
    pub(crate) fn kept(piece: Piece) -> Origins {
        Origins(piece)
    }

    /// As they are kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Each value that was written.
    pub fn iter(&self) -> impl Iterator<Item = Origin> {
        let mut reader = Unpacker::new(self.0.bytes());
        std::iter::from_fn(move || Some(Origin { field: reader.text()?.to_owned(), place: reader.text()?.to_owned() }))
    }
}

impl From<Vec<Origin>> for Origins {
    fn from(origins: Vec<Origin>) -> Origins {
        let mut packer = Packer::default();
        for origin in origins {
            packer.text(&origin.field);
            packer.text(&origin.place);
        }
        Origins(Piece::of(packer.0))
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
