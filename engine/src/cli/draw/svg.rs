//! A drawing as an SVG that stands alone: no script, no font file; light or dark as the reader's system is.

use std::fmt::Write as _;

use super::layout::{Layout, Point, Size, layout};
use super::{Drawing, Node, Shape};

/// Width of a letter of the monospaced face at 13 px.
const LETTER: f64 = 7.83;
const SMALL_LETTER: f64 = 6.63;

const STYLE: &str = "\
svg { font-family: ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: 13px; \
background: #fdfdfc; color: #1d2125; }
.box { fill: #ffffff; stroke: #7a8591; stroke-width: 1.2; }
.card { fill: #eef5ea; stroke: #4d8a3c; }
.file { fill: #f3f1ec; stroke: #a49d8f; stroke-dasharray: 4 3; }
.name { fill: currentColor; }
.note, .wire { fill: #66707a; font-size: 11px; }
.arrow { fill: none; stroke: #98a2ad; stroke-width: 1.2; }
.head { fill: #98a2ad; }
@media (prefers-color-scheme: dark) {
svg { background: #15181b; color: #e6e8ea; }
.box { fill: #1f2429; stroke: #7d8894; }
.card { fill: #1e2b1c; stroke: #71b25d; }
.file { fill: #25231f; stroke: #8a8272; }
.note, .wire { fill: #9aa4ae; }
.arrow { stroke: #6b7580; }
.head { fill: #6b7580; }
}
";

/// The drawing as SVG.
pub(in crate::cli) fn svg(drawing: &Drawing) -> String {
    let sizes: Vec<Size> = drawing.nodes.iter().map(size).collect();
    let ends: Vec<(usize, usize)> = drawing.edges.iter().map(|e| (e.from, e.to)).collect();
    let places = layout(&sizes, &ends);
    let (width, height) = (places.width.ceil(), places.height.ceil());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n",
        escaped(&drawing.title)
    );
    out.push_str(
        "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path class=\"head\" d=\"M0 0.8 L8 4 L0 7.2 z\"/></marker></defs>\n",
    );
    for index in 0..drawing.edges.len() {
        arrow(&mut out, drawing, &sizes, &places, index);
    }
    for (i, node) in drawing.nodes.iter().enumerate() {
        draw_box(&mut out, node, sizes[i], places.nodes[i]);
    }
    out.push_str("</svg>\n");
    out
}

fn size(node: &Node) -> Size {
    let name = node.name.chars().count() as f64 * LETTER;
    let note = node.note.chars().count() as f64 * SMALL_LETTER;
    Size { width: name.max(note) + 24.0, height: if node.note.is_empty() { 32.0 } else { 46.0 } }
}

fn draw_box(out: &mut String, node: &Node, size: Size, at: Point) {
    let (class, radius) = match node.shape {
        Shape::Stage => ("box", 6.0),
        Shape::CardStage => ("box card", 6.0),
        Shape::File => ("box file", 16.0),
    };
    let (x, y) = (at.x - size.width / 2.0, at.y - size.height / 2.0);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{radius}\"/>",
        size.width, size.height
    );
    let lift = if node.note.is_empty() { 4.5 } else { -3.0 };
    let _ = writeln!(
        out,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        at.x,
        at.y + lift,
        escaped(&node.name)
    );
    if !node.note.is_empty() {
        let _ = writeln!(
            out,
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            at.x,
            at.y + 14.0,
            escaped(&node.note)
        );
    }
}

/// A curve through the arrow's bends; its label is a tooltip, so that crossing labels never hide each other.
fn arrow(out: &mut String, drawing: &Drawing, sizes: &[Size], places: &Layout, index: usize) {
    let edge = &drawing.edges[index];
    let from = Point { x: places.nodes[edge.from].x + sizes[edge.from].width / 2.0, y: places.nodes[edge.from].y };
    let to = Point { x: places.nodes[edge.to].x - sizes[edge.to].width / 2.0, y: places.nodes[edge.to].y };
    let mut path = format!("M{:.1} {:.1}", from.x, from.y);
    let mut last = from;
    for point in places.bends[index].iter().copied().chain([to]) {
        let reach = (point.x - last.x) / 2.0;
        let _ = write!(
            path,
            " C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
            last.x + reach,
            last.y,
            point.x - reach,
            point.y,
            point.x,
            point.y
        );
        last = point;
    }
    let _ = writeln!(
        out,
        "<path class=\"arrow\" d=\"{path}\" marker-end=\"url(#head)\"><title>{}.{} → {}</title></path>",
        escaped(&drawing.nodes[edge.from].name),
        escaped(edge.label.split(" → ").next().unwrap_or_default()),
        escaped(&drawing.nodes[edge.to].name)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
