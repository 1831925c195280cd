//! Charts as SVG text: scales, frames with axes, and the two ways in which a figure leaves (inside the page, or as a
//! file of its own with the same colours). Knows nothing of runs.

use std::fmt::Write as _;

use super::style;
use super::text::{escape, plain};

/// A figure. Everything a reader cannot see in it is in its title and description.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// Its file's name without ending; unique on the page.
    pub(crate) name: String,
    /// What it shows.
    title: String,
    /// What can be read from it, in a sentence.
    about: String,
    width: f64,
    height: f64,
    body: String,
}

impl Figure {
    /// An empty figure of `width` × `height` user units, which are pixels at full size.
    pub(crate) fn new(name: &str, title: &str, about: &str, width: f64, height: f64) -> Figure {
        Figure {
            name: name.to_owned(),
            title: title.to_owned(),
            about: about.to_owned(),
            width,
            height,
            body: String::new(),
        }
    }

    /// Text at a point. `class` may hold `start`, `middle` or `end` for its anchor.
    pub(crate) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let _ = write!(self.body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text));
    }

    /// A straight line.
    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = write!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A rectangle with a tooltip where `tip` is not empty.
    pub(crate) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), tip: &str) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"{}",
            at.0,
            at.1,
            size.0.max(0.0),
            size.1.max(0.0),
            tipped("rect", tip)
        );
    }

    /// A mark at a point, with a tooltip where `tip` is not empty: `circle`, `square`, `diamond`, `triangle` or `cross`.
    pub(crate) fn mark(&mut self, class: &str, shape: &str, at: (f64, f64), size: f64, tip: &str) {
        let (x, y, r) = (at.0, at.1, size);
        let path = match shape {
            "square" => format!("M{:.1} {:.1}h{:.1}v{:.1}h{:.1}z", x - r, y - r, 2.0 * r, 2.0 * r, -2.0 * r),
            "diamond" => {
                let r = r * 1.3;
                format!("M{x:.1} {:.1}l{r:.1} {r:.1}l{:.1} {r:.1}l{:.1} {:.1}z", y - r, -r, -r, -r)
            }
            "triangle" => format!("M{x:.1} {:.1}l{:.1} {:.1}h{:.1}z", y - r * 1.2, r * 1.2, r * 2.1, -r * 2.4),
            "cross" => format!("M{:.1} {y:.1}h{:.1}M{x:.1} {:.1}v{:.1}", x - r, 2.0 * r, y - r, 2.0 * r),
            _ => format!(
                "M{:.1} {y:.1}a{r:.1} {r:.1} 0 1 0 {d:.1} 0a{r:.1} {r:.1} 0 1 0 {m:.1} 0z",
                x - r,
                d = 2.0 * r,
                m = -2.0 * r
            ),
        };
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{path}\"{}", tipped("path", tip));
    }

    /// A line through points.
    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.is_empty() {
            return;
        }
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{}\"/>", through(points));
    }

    /// The area between a line and the height `base`.
    pub(crate) fn area(&mut self, class: &str, points: &[(f64, f64)], base: f64) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let _ = write!(
            self.body,
            "<path class=\"{class}\" d=\"{}L{:.1} {base:.1}L{:.1} {base:.1}z\"/>",
            through(points),
            last.0,
            first.0
        );
    }

    fn svg(&self, attributes: &str, inside: &str) -> String {
        let name = &self.name;
        format!(
            "<svg {attributes} class=\"fig\" role=\"img\" aria-labelledby=\"{name}-t {name}-d\" viewBox=\"0 0 {w} {h}\">\
             <title id=\"{name}-t\">{}</title><desc id=\"{name}-d\">{}</desc>{inside}{}</svg>",
            escape(&self.title),
            escape(&self.about),
            self.body,
            w = self.width,
            h = self.height
        )
    }

    /// For a page whose style sheet holds [`style::figures`].
    pub(crate) fn inline(&self) -> String {
        self.svg("", "")
    }

    /// A file of its own.
    pub(crate) fn standalone(&self) -> String {
        let attributes =
            format!("xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\"", self.width, self.height);
        let inside =
            format!("<style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>", style::figures());
        let mut text = self.svg(&attributes, &inside);
        text.push('\n');
        text
    }
}

fn tipped(element: &str, tip: &str) -> String {
    if tip.is_empty() { "/>".to_owned() } else { format!("><title>{}</title></{element}>", escape(tip)) }
}

fn through(points: &[(f64, f64)]) -> String {
    let mut d = String::with_capacity(points.len() * 12);
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    d
}

/// From values to a share of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// In proportion.
    Linear {
        /// At 0.
        from: f64,
        /// At 1.
        to: f64,
    },
    /// In proportion to the logarithm; both ends positive.
    Log {
        /// At 0.
        from: f64,
        /// At 1.
        to: f64,
    },
}

impl Scale {
    /// A linear scale that holds something, whatever the ends.
    pub(crate) fn linear(from: f64, to: f64) -> Scale {
        if to > from { Scale::Linear { from, to } } else { Scale::Linear { from, to: from + 1.0 } }
    }

    /// A logarithmic scale over positive values; `least` and `most` are widened a little.
    pub(crate) fn log(least: f64, most: f64) -> Scale {
        let least = least.max(f64::MIN_POSITIVE);
        let most = most.max(least * 1.01);
        let room = (most / least).powf(0.03);
        Scale::Log { from: least / room, to: most * room }
    }

    /// The share of the axis, 0 to 1 within its ends, held to them beyond.
    pub(crate) fn at(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        share.clamp(0.0, 1.0)
    }

    /// About `wanted` round values between the ends.
    pub(crate) fn ticks(self, wanted: usize) -> Vec<f64> {
        match self {
            Scale::Linear { from, to } => linear_ticks(from, to, wanted),
            Scale::Log { from, to } => log_ticks(from, to, wanted),
        }
    }
}

fn linear_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let rough = (to - from) / wanted.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(power);
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

fn log_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let decades = (to / from).log10();
    let marks: &[f64] = if decades * 3.0 <= wanted as f64 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = ((decades / wanted as f64).ceil() as i32).max(1);
    let mut ticks = Vec::new();
    for power in (from.log10().floor() as i32)..=(to.log10().ceil() as i32) {
        if marks.len() == 1 && power.rem_euclid(every) != 0 {
            continue;
        }
        ticks.extend(marks.iter().map(|m| m * 10_f64.powi(power)).filter(|t| (from..=to).contains(t)));
    }
    if ticks.len() < 2 { linear_ticks(from, to, wanted) } else { ticks }
}

/// A plot's area with its two scales.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// Left edge.
    pub(crate) left: f64,
    /// Upper edge.
    pub(crate) top: f64,
    /// To the right.
    pub(crate) width: f64,
    /// Downwards.
    pub(crate) height: f64,
    /// Along the bottom.
    pub(crate) x: Scale,
    /// Along the left, upwards.
    pub(crate) y: Scale,
}

impl Frame {
    /// Where a point lies.
    pub(crate) fn point(&self, x: f64, y: f64) -> (f64, f64) {
        (self.left + self.x.at(x) * self.width, self.top + (1.0 - self.y.at(y)) * self.height)
    }

    /// The lower edge.
    pub(crate) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// The right edge.
    pub(crate) fn right(&self) -> f64 {
        self.left + self.width
    }

    /// Grid lines and labels of the bottom axis; `show` makes a tick's label.
    pub(crate) fn x_axis(&self, figure: &mut Figure, ticks: usize, show: impl Fn(f64) -> String) {
        let mut free_from = f64::NEG_INFINITY;
        for tick in self.x.ticks(ticks) {
            let (x, _) = self.point(tick, 0.0);
            figure.line("grid", (x, self.top), (x, self.bottom()));
            let label = show(tick);
            let half = label.chars().count() as f64 * 3.2;
            if x - half > free_from {
                figure.text("soft middle", x, self.bottom() + 14.0, &label);
                free_from = x + half + 4.0;
            }
        }
        figure.line("axis", (self.left, self.bottom()), (self.right(), self.bottom()));
    }

    /// Grid lines and labels of the left axis.
    pub(crate) fn y_axis(&self, figure: &mut Figure, ticks: usize, show: impl Fn(f64) -> String) {
        for tick in self.y.ticks(ticks) {
            let (_, y) = self.point(0.0, tick);
            figure.line("grid", (self.left, y), (self.right(), y));
            figure.text("soft end", self.left - 5.0, y + 3.5, &show(tick));
        }
    }
}

/// `12` or `12 k`, for axes of counts.
pub(crate) fn count(value: f64) -> String {
    if value.abs() >= 10_000.0 { format!("{}k", plain(value / 1000.0)) } else { plain(value) }
}

#[cfg(test)]
mod tests;
