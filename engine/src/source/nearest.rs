//! Which word was meant: the nearest of those that exist, by edits.

#[cfg(test)]
mod tests;

/// How many names a remedy lists.
const LISTED: usize = 12;

/// The one of `names` that is nearest to `word`, if one is near enough to be meant: at most two fifths of the longer
/// word are edits (insert, delete, replace, or swap two neighbours), case aside; or one is the beginning of the other.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let low: Vec<char> = word.to_lowercase().chars().collect();
    names
        .into_iter()
        .filter_map(|name| {
            let other: Vec<char> = name.to_lowercase().chars().collect();
            let longer = low.len().max(other.len());
            // Names far longer than any key are not compared: the table would be the cost of the whole load.
            if longer > 120 {
                return None;
            }
            let allowed = (longer * 2 / 5).max(1);
            if low.len().abs_diff(other.len()) <= allowed {
                let edits = distance(&low, &other);
                if edits <= allowed && edits < longer {
                    return Some((edits, name));
                }
            }
            let begins = low.len() >= 2 && other.len() >= 2 && (other.starts_with(&low) || low.starts_with(&other));
            begins.then_some((longer, name))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// A remedy for an unknown word: the nearest name, and what there is.
pub fn remedy<'a>(word: &str, what: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return format!("there is no {what} at all");
    }
    let list = list(&names);
    match nearest(word, names.iter().copied()) {
        Some(near) if names.len() == 1 => format!("the only {what} is `{near}`: did you mean that?"),
        Some(near) => format!("did you mean `{near}`? the {what}s are {list}"),
        None if names.len() == 1 => format!("the only {what} is {list}"),
        None => format!("the {what}s are {list}"),
    }
}

/// Names in backticks with commas; of a long list the first dozen and how many more.
pub fn list(names: &[&str]) -> String {
    let mut out: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    if names.len() > LISTED {
        out.push(format!("and {} more", names.len() - LISTED));
    }
    out.join(", ")
}

/// The number of edits between two words, where swapping two neighbours is one edit (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
