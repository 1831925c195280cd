//! Choosing a token from logits. Greedy: the largest, the lower id where two are equal, so that a run can be repeated.

use super::linear::{Opened, PANEL, Product};

/// The id of the largest logit of each row, appended to `ids`; `Err` with the row whose maximum is not finite.
///
/// # Errors
/// When a row holds NaN only, or infinity.
pub fn greedy(logits: &Product, ids: &mut Vec<u32>) -> Result<(), usize> {
    let opened = logits.open();
    for row in 0..opened.rows() {
        ids.push(largest(&opened, row).ok_or(row)?);
    }
    Ok(())
}

fn largest(logits: &Opened<'_>, row: usize) -> Option<u32> {
    let mut best = f32::NEG_INFINITY;
    let mut place = 0;
    for panel in 0..logits.panels() {
        let columns = PANEL.min(logits.columns() - panel * PANEL);
        let piece = &logits.panel(panel)[row * PANEL..][..columns];
        // NaN compares false and is passed over here; a row of it leaves `best` where it was.
        if piece_maximum(piece) > best {
            for (column, logit) in piece.iter().enumerate() {
                if *logit > best {
                    best = *logit;
                    place = panel * PANEL + column;
                }
            }
        }
    }
    best.is_finite().then_some(place as u32)
}

fn piece_maximum(piece: &[f32]) -> f32 {
    const LANES: usize = 8;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = piece.as_chunks::<LANES>();
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            maxima[lane] = larger(maxima[lane], chunk[lane]);
        }
    }
    maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| larger(a, *b))
}

#[cfg(test)]
mod tests;
