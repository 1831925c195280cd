//! Numbers of a trace, read as what they are written: counts of tokens, decimals of a unit of time, wall clocks.

use crate::infer::time::Nanos;

/// A count of tokens: a whole number, also written as `374.0`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn tokens(text: &str) -> Result<u32, String> {
    let text = text.trim();
    if let Ok(count) = text.parse::<u32>() {
        return Ok(count);
    }
    let number = number(text)?;
    if number.fract() != 0.0 {
        return Err(format!("`{text}` is not a whole number of tokens"));
    }
    if number > f64::from(u32::MAX) {
        return Err(format!("`{text}` tokens are more than {}", u32::MAX));
    }
    // In range and whole, as just checked.
    Ok(number as u32)
}

/// An id: a whole number.
///
/// # Errors
/// What is wrong with it.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a whole number, 0 or more"))
}

/// An instant as a decimal number of a unit of 10^`digits` ns (9 = s, 6 = ms, 0 = ns), exact; what lies behind the
/// nanosecond is rounded. Exponents (`5e-06`) go through a float.
///
/// # Errors
/// What is wrong with it.
pub(super) fn instant(text: &str, digits: u32) -> Result<Nanos, String> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !whole.is_empty() && plain(whole) && plain(fraction) {
        return decimal(whole, fraction, digits).ok_or_else(|| format!("`{text}` is later than can be told"));
    }
    let nanos = (number(text)? * 10f64.powi(i32::try_from(digits).unwrap_or(0))).round();
    if nanos > u64::MAX as f64 {
        return Err(format!("`{text}` is later than can be told"));
    }
    Ok(Nanos(nanos as u64))
}

fn decimal(whole: &str, fraction: &str, digits: u32) -> Option<Nanos> {
    let mut nanos: u64 = whole.parse().ok()?;
    let mut rest = fraction.bytes().map(|b| u64::from(b - b'0'));
    for _ in 0..digits {
        nanos = nanos.checked_mul(10)?.checked_add(rest.next().unwrap_or(0))?;
    }
    if rest.next().is_some_and(|digit| digit >= 5) {
        nanos = nanos.checked_add(1)?;
    }
    Some(Nanos(nanos))
}

/// A number that is finite and not negative.
fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        _ if text.is_empty() => Err("is empty".to_owned()),
        Ok(number) if number.is_nan() => Err(format!("`{text}` is not a number")),
        Ok(number) if number < 0.0 => Err(format!("`{text}` is negative")),
        Ok(number) if number.is_infinite() => Err(format!("`{text}` is infinite")),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is not a number")),
    }
}

/// A wall clock, `2023-11-16 18:15:46.6805900`, in ns since 1970; a zone may follow if it is UTC.
///
/// # Errors
/// What is wrong with it.
pub(super) fn wall_clock(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("`{text}` is not a time as `2023-11-16 18:15:46.6805900`");
    let trimmed = text.trim();
    let bare = trimmed.strip_suffix('Z').or_else(|| trimmed.strip_suffix("+00:00")).unwrap_or(trimmed);
    let (date, clock) = bare.split_once([' ', 'T']).ok_or_else(wrong)?;
    let fields = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> =
            text.split(by).map(|p| if p.len() <= 4 { p.parse().ok() } else { None }).collect();
        parts?.try_into().ok()
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [year, month, day] = fields(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = fields(clock, ':').ok_or_else(wrong)?;
    let days = days_since_1970(year, month, day).ok_or_else(wrong)?;
    if hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    decimal(&seconds.to_string(), fraction, 9).ok_or_else(wrong)
}

/// Days from 1970-01-01 in the Gregorian calendar; `None` for a date that does not exist or lies before.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *months.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if !(1970..=2500).contains(&year) || day == 0 || day > length {
        return None;
    }
    let years: u64 = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum();
    let before: u64 = months.iter().take(usize::try_from(month).ok()? - 1).sum();
    Some(years + before + day - 1)
}
