use super::*;

/// Relative luminance of `#rrggbb`, as the Web Content Accessibility Guidelines define it.
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let c = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two hexadecimal digits")) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

fn contrast(a: &str, b: &str) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn value<'a>(theme: &'a str, name: &str) -> &'a str {
    let from = theme.find(&format!("--{name}:")).expect("the theme has it") + name.len() + 3;
    theme[from..].split(';').next().expect("at least one piece")
}

#[test]
fn text_stands_out_from_its_ground_by_day_and_by_night() {
    for (theme, ground) in [(DAY, "#ffffff"), (NIGHT, "#14171c")] {
        for name in ["ink", "soft", "pass", "warn", "fail", "predicted", "measured"] {
            let found = contrast(value(theme, name), ground);
            assert!(found >= 4.5, "{name} on {ground}: {found:.2}");
        }
    }
}

#[test]
fn curves_stand_out_from_their_ground_by_day_and_by_night() {
    for class in ["lp", "lm"] {
        let colour = STROKES.iter().find(|c| c.class == class).expect("it is there");
        assert!(contrast(colour.day, "#ffffff") >= 3.0 && contrast(colour.night, "#14171c") >= 3.0, "{class}");
    }
}
