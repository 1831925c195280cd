//! Colours and type, in one place for the page and for every figure.
//!
//! The palette is Okabe and Ito's, which people of every kind of colour vision can tell apart; what a colour says is
//! also said by dash, shape or word.

/// A colour by day and by night.
struct Colour {
    class: &'static str,
    day: &'static str,
    night: &'static str,
}

const fn colour(class: &'static str, day: &'static str, night: &'static str) -> Colour {
    Colour { class, day, night }
}

/// Strokes: predicted, measured, grid and axis.
const STROKES: &[Colour] = &[
    colour("lp", "#0072b2", "#56b4e9"),
    colour("lm", "#d55e00", "#f0a04b"),
    colour("lr", "#d55e00", "#f0a04b"),
    colour("grid", "#e4e7ec", "#2b313b"),
    colour("axis", "#8a93a3", "#6c7686"),
    colour("rule", "#8a93a3", "#8a93a3"),
];

/// Fills: predicted, measured, parts of a request's life, bands, text.
const FILLS: &[Colour] = &[
    colour("fp", "#0072b2", "#56b4e9"),
    colour("fm", "#d55e00", "#f0a04b"),
    colour("queue", "#999999", "#8a8f98"),
    colour("prefill", "#009e73", "#2fbf97"),
    colour("decode", "#cc79a7", "#d98cb8"),
    colour("ok-band", "#d9efe4", "#173a2b"),
    colour("warn-band", "#f7ecd0", "#3a3116"),
    colour("paper", "#ffffff", "#14171c"),
    colour("soft", "#5b6472", "#a6aebb"),
    colour("ink", "#1b1f26", "#e7eaee"),
    colour("on", "#14171c", "#14171c"),
];

/// The sheet of every figure. It uses no variables, so that programs that know little CSS draw it right.
pub(crate) fn figures() -> String {
    let mut sheet = String::from(
        ".fig text{font:11px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif}\
         .fig text.title{font-weight:600;font-size:12px}.fig .middle{text-anchor:middle}.fig .end{text-anchor:end}\
         .fig .lp,.fig .lm,.fig .lr,.fig .rule{fill:none}.fig .lp,.fig .lm{stroke-width:2}.fig .lp{stroke-dasharray:6 3}\
         .fig .lr{stroke-width:1;stroke-opacity:.5}.fig .rule{stroke-dasharray:2 3}.fig .dot{fill-opacity:.45}\
         .fig .solid{stroke-dasharray:none}",
    );
    colours(&mut sheet, |colour| colour.day);
    sheet.push_str("@media (prefers-color-scheme:dark){");
    colours(&mut sheet, |colour| colour.night);
    sheet.push_str("}@media print{");
    colours(&mut sheet, |colour| colour.day);
    sheet.push('}');
    sheet
}

fn colours(sheet: &mut String, pick: impl Fn(&Colour) -> &'static str) {
    for colour in STROKES {
        sheet.push_str(&format!(".fig .{}{{stroke:{}}}", colour.class, pick(colour)));
    }
    for colour in FILLS {
        sheet.push_str(&format!(".fig .{}{{fill:{}}}", colour.class, pick(colour)));
    }
}

const DAY: &str = "--bg:#fff;--ink:#1b1f26;--soft:#5b6472;--line:#d9dde4;--panel:#f6f7f9;--pass:#146c43;--warn:#8a5a00;\
                   --fail:#b3261e;--predicted:#0072b2;--measured:#b84f00";
const NIGHT: &str = "--bg:#14171c;--ink:#e7eaee;--soft:#a6aebb;--line:#333a45;--panel:#1c2027;--pass:#5fd39b;\
                     --warn:#f0c05a;--fail:#ff8a80;--predicted:#56b4e9;--measured:#f0a04b";

/// The sheet of the page, that of the figures included.
pub(crate) fn page() -> String {
    format!(
        ":root{{color-scheme:light dark;{DAY}}}@media (prefers-color-scheme:dark){{:root{{{NIGHT}}}}}\
         @media print{{:root{{{DAY}}}}}{LAYOUT}{}",
        figures()
    )
}

const LAYOUT: &str = "\
*{box-sizing:border-box}\
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif}\
main{max-width:72rem;margin:0 auto;padding:2rem 1.25rem 4rem}\
h1{font-size:1.5rem;line-height:1.3;margin:.5rem 0 .75rem;text-wrap:balance}\
h2{font-size:1.15rem;margin:2.75rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}\
h3{font-size:1rem;margin:1.5rem 0 .5rem}\
p{margin:.5rem 0;max-width:46rem}\
.soft{color:var(--soft)}\
.small{font-size:.875rem}\
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}\
.badge{display:inline-block;border:1.5px solid currentColor;border-radius:999px;padding:.1rem .7rem;font-weight:650;font-size:.9rem}\
.pass{color:var(--pass)}.warn{color:var(--warn)}.fail{color:var(--fail)}\
.predicted{color:var(--predicted)}.measured{color:var(--measured)}\
.scroll{overflow-x:auto}\
.scroll:focus-visible{outline:2px solid var(--predicted)}\
table{border-collapse:collapse;font-size:.925rem;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .75rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}\
th{font-weight:600}thead th{color:var(--soft);font-weight:500;white-space:nowrap}\
td.n,th.n{text-align:right;white-space:nowrap}\
tr.first td,tr.first th{border-top:2px solid var(--line)}\
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.25rem}\
figure{margin:0;min-width:0}figure svg{display:block;width:100%;height:auto}\
figcaption{font-size:.875rem;color:var(--soft);margin-top:.25rem}\
.wide svg{min-width:42rem;max-width:60rem}.middle svg{max-width:42rem}.wide{margin-bottom:1.25rem}.lead{font-size:1.1rem;max-width:52rem}\
ul{padding-left:1.2rem;max-width:52rem}li{margin:.3rem 0}\
.note{border-left:3px solid var(--warn);padding:.1rem 0 .1rem .8rem;margin:.75rem 0}\
details{margin:.75rem 0}summary{cursor:pointer;color:var(--soft)}\
pre{background:var(--panel);padding:.75rem;border-radius:6px;overflow-x:auto;font-size:.8rem;line-height:1.4}\
nav{font-size:.875rem;display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:1rem 0 0}nav a{color:var(--soft)}\
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;font-size:.875rem;margin:.25rem 0 .75rem}\
.legend svg{width:2rem;height:.75rem;vertical-align:middle;margin-right:.35rem}\
@media (max-width:34rem){main{padding:1rem .9rem 3rem}h1{font-size:1.25rem}table{font-size:.85rem}th,td{padding-right:.5rem}td .w{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}}\
@media print{main{max-width:none;padding:0}nav{display:none}h2,figure,tr{break-inside:avoid}.scroll{overflow:visible}.wide svg{min-width:0}}";

#[cfg(test)]
mod tests;
