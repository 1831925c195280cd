//! The house rules that a compiler does not hold: which room may know which, where printing and `unsafe` may stand,
//! how long a file may be, and that a kind's fingerprint covers every module its code reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Words of inference, which the engine must not know. Longer words that contain one are fine only if listed.
const WORDS_OF_INFERENCE: &[&str] =
    &["token", "tokens", "model", "models", "kernel", "kernels", "prefill", "decode", "transformer", "llm"];

/// No file is longer; look hard at those that come near.
const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, with its path from the project's root and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()))
            .map(|e| e.expect("a listed entry can be read").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((name, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("/testing.rs")
}

/// The lines of a file that are code, numbered from 1: no comment lines, nothing from `#[cfg(test)]` down.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l))
        .take_while(|(_, l)| !l.trim_start().starts_with("#[cfg(test)]"))
        .filter(|(_, l)| !l.trim_start().starts_with("//"))
}

fn complain(faults: Vec<String>, rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn the_engine_does_not_know_the_words_of_inference() {
    let mut faults = Vec::new();
    for (name, text) in sources("engine/src") {
        // A field of Linux's /proc/cpuinfo is called so by others.
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.contains("strip_prefix(\"model name\")")) {
            let lower = line.to_lowercase();
            let words: BTreeSet<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
            for word in WORDS_OF_INFERENCE {
                if words.contains(word) {
                    faults.push(format!("{name}:{}: `{word}`", i + 1));
                }
            }
        }
    }
    complain(faults, "engine/ runs anyone's experiments and does not know what they compute");
}

#[test]
fn the_engine_stands_on_no_heavy_crate() {
    let manifest = std::fs::read_to_string(root().join("engine/Cargo.toml")).expect("it is there");
    for heavy in ["candle", "arrow", "parquet", "tokenizers", "cudarc", "tokio", "csv"] {
        let found = manifest.lines().any(|l| l.starts_with(heavy));
        assert!(!found, "engine/Cargo.toml names `{heavy}`, which belongs to stages/");
    }
}

#[test]
fn stages_see_of_the_engine_only_kind_and_exec() {
    let mut faults = Vec::new();
    for (name, text) in sources("stages/src") {
        for (i, line) in code(&text) {
            for (at, _) in line.match_indices("engine::") {
                let before = line[..at].chars().next_back();
                let rest = &line[at + "engine::".len()..];
                let outside = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
                if outside && !rest.starts_with("kind") && !rest.starts_with("exec") {
                    faults.push(format!("{name}:{i}: {}", line.trim()));
                }
            }
        }
    }
    complain(faults, "stages/ would serve and simulate without a DAG");
}

#[test]
fn infer_imports_nothing_of_this_crate_but_itself_and_does_no_io() {
    let forbidden = [
        "std::fs",
        "std::io",
        "std::thread",
        "std::time::Instant",
        "Instant::now",
        "SystemTime",
        "candle_core",
        "rayon",
    ];
    let mut faults = Vec::new();
    for (name, text) in sources("stages/src") {
        if !name.starts_with("stages/src/infer") || is_test(&name) {
            continue;
        }
        for (i, line) in code(&text) {
            let foreign = line.match_indices("crate::").any(|(at, _)| !line[at + 7..].starts_with("infer"));
            if foreign || line.contains("engine::") || forbidden.iter().any(|f| line.contains(f)) {
                faults.push(format!("{name}:{i}: {}", line.trim()));
            }
        }
    }
    complain(faults, "infer/ has no I/O, no clock, no candle, no threads, and imports nothing but itself");
}

#[test]
fn only_report_and_cli_print() {
    let mut faults = Vec::new();
    for (name, text) in sources("engine/src").into_iter().chain(sources("stages/src")) {
        let may = ["/report", "/cli", "stages/src/verbs", "stages/src/bench_verb"];
        if is_test(&name) || may.iter().any(|room| name.contains(room)) {
            continue;
        }
        for (i, line) in code(&text) {
            for printer in ["println!", "eprintln!", "print!(", "eprint!(", "dbg!("] {
                if line.contains(printer) {
                    faults.push(format!("{name}:{i}: {}", line.trim()));
                }
            }
        }
    }
    complain(faults, "everything a person sees is made by an observer or by the command line");
}

#[test]
fn unsafe_stands_only_where_the_card_is_driven_or_a_file_is_mapped() {
    let mut faults = Vec::new();
    for (name, text) in sources("engine/src").into_iter().chain(sources("stages/src")) {
        if name.starts_with("stages/src/device/cuda") || name == "stages/src/model/weights/shards.rs" {
            continue;
        }
        for (i, line) in code(&text) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).collect();
            if words.contains(&"unsafe") || line.contains("allow(unsafe_code)") {
                faults.push(format!("{name}:{i}: {}", line.trim()));
            }
        }
    }
    complain(faults, "unsafe stands only under device/cuda and in model/weights/shards.rs");
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut faults = Vec::new();
    for (name, text) in sources("stages/src") {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let opens = line.contains("unsafe {") || line.trim_start().starts_with("unsafe impl");
            if opens && !line.trim_start().starts_with("//") {
                let near = &lines[i.saturating_sub(6)..=i];
                if !near.iter().any(|l| l.contains("SAFETY")) {
                    faults.push(format!("{name}:{}: {}", i + 1, line.trim()));
                }
            }
        }
    }
    complain(faults, "a SAFETY line stands above each unsafe block");
}

#[test]
fn a_module_opens_with_what_it_is() {
    let faults = sources("engine/src")
        .into_iter()
        .chain(sources("stages/src"))
        .filter(|(name, _)| !is_test(name))
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| name)
        .collect();
    complain(faults, "the first line of a module is its `//!`");
}

#[test]
fn a_file_holds_one_noun() {
    let faults = sources("engine/src")
        .into_iter()
        .chain(sources("stages/src"))
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(name, lines)| *lines > LONGEST_FILE && !is_test(name))
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    complain(faults, "a long file has a second noun in it");
}

#[test]
fn a_kinds_fingerprint_names_every_module_its_code_reaches() {
    let src = root().join("stages/src");
    let files: BTreeMap<String, String> = sources("stages/src")
        .into_iter()
        .filter(|(name, _)| !is_test(name))
        .map(|(name, text)| (name["stages/src/".len()..name.len() - 3].to_owned(), text))
        .collect();
    let mut faults = Vec::new();
    for Entry { kind, modules, .. } in kinds(&src) {
        let covered = |module: &str| modules.iter().any(|m| within(module, m));
        for (file, text) in files.iter().filter(|(file, _)| covered(file)) {
            for module in reached(file, text, &files) {
                if !covered(&module) {
                    faults.push(format!("kind `{kind}`: {file}.rs uses {module}, which kinds.in does not name"));
                }
            }
        }
    }
    faults.sort();
    faults.dedup();
    complain(faults, "a change in any module that a kind uses must change its key");
}

/// Crates whose version cannot change what a stage gives: plumbing, and functions that a specification pins down.
const CRATES_WITHOUT_A_SAY: &[&str] =
    &["engine", "blake3", "memmap2", "nvml-wrapper", "rustix", "serde", "thiserror", "tracing"];

#[test]
fn a_kinds_fingerprint_names_every_crate_its_code_uses() {
    let manifest = std::fs::read_to_string(root().join("stages/Cargo.toml")).expect("it is there");
    let crates: Vec<&str> = manifest
        .lines()
        .skip_while(|l| *l != "[dependencies]")
        .skip(1)
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split(['.', ' ']).next())
        .filter(|name| !name.is_empty() && !CRATES_WITHOUT_A_SAY.contains(name))
        .collect();
    assert!(crates.contains(&"arrow"), "the manifest was not understood: {crates:?}");
    let mut faults = Vec::new();
    for Entry { kind, modules, crates: named } in kinds(&root().join("stages/src")) {
        for (name, text) in sources("stages/src").iter().filter(|(name, _)| !is_test(name)) {
            let file = &name["stages/src/".len()..name.len() - 3];
            if !modules.iter().any(|m| within(file, m)) {
                continue;
            }
            let body: String = code(text).map(|(_, l)| format!("{l}\n")).collect();
            for name in crates.iter().filter(|name| !named.iter().any(|n| n == *name)) {
                let path = format!("{}::", name.replace('-', "_"));
                let before = |at: usize| body[..at].chars().next_back();
                let used = |at: usize| before(at).is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
                if body.match_indices(&path).any(|(at, _)| used(at)) {
                    faults.push(format!("kind `{kind}`: {file}.rs uses {name}, which kinds.in does not name"));
                }
            }
        }
    }
    complain(faults, "another version of a crate that a kind uses must change its key");
}

/// Whether `file` is the module or lies below it.
fn within(file: &str, module: &str) -> bool {
    file == module || file.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'))
}

/// A line of kinds.in.
struct Entry {
    kind: String,
    modules: Vec<String>,
    crates: Vec<String>,
}

/// The lines of kinds.in.
fn kinds(src: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(src.join("kinds.in")).expect("kinds.in is there");
    let mut found = Vec::new();
    let body: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    for entry in body.split('(').skip(1) {
        let entry = entry.split(')').next().unwrap_or_default();
        let mut lists = entry.split('[');
        let kind = lists.next().unwrap_or_default().split('"').nth(1).expect("a kind has a name").to_owned();
        let mut words = || -> Vec<String> {
            let list = lists.next().unwrap_or_default().split(']').next().unwrap_or_default();
            list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let (modules, crates) = (words(), words());
        found.push(Entry { kind, modules, crates });
    }
    found
}

/// The modules that the file `from` names through `crate::` or `super::`.
fn reached(from: &str, text: &str, files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let body: String = code(text).map(|(_, l)| format!("{l}\n")).collect();
    let parent = from.rsplit_once('/').map_or("", |(p, _)| p);
    for (marker, start) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in body.match_indices(marker) {
            let rest = &body[at + marker.len()..];
            if marker == "super::" && rest.starts_with("super::") {
                continue; // the inner `super::` is met on its own, one room too low: two rooms up is rare, and crate:: is the rule there
            }
            let mut paths = Vec::new();
            expand(rest, start, &mut paths);
            for path in paths {
                let mut module = path.as_str();
                loop {
                    if files.contains_key(module) {
                        found.insert(module.to_owned());
                        break;
                    }
                    match module.rsplit_once('/') {
                        Some((up, _)) => module = up,
                        None => break,
                    }
                }
            }
        }
    }
    found.retain(|m| m != from && !from.starts_with(&format!("{m}/")) && !["lib", "kinds"].contains(&m.as_str()));
    found
}

/// Lays out `a::{b, c::d}` as `a/b` and `a/c/d`.
fn expand(text: &str, prefix: &str, paths: &mut Vec<String>) {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &text[word.len()..];
    if word.is_empty() {
        if let Some(inner) = text.strip_prefix('{') {
            let (mut depth, mut start) = (0, 0);
            for (i, c) in inner.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        expand(inner[start..i].trim(), prefix, paths);
                        return;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        expand(inner[start..i].trim(), prefix, paths);
                        start = i + 1;
                    }
                    _ => {}
                }
            }
        }
        if !prefix.is_empty() {
            paths.push(prefix.to_owned());
        }
        return;
    }
    let path = if prefix.is_empty() { word } else { format!("{prefix}/{word}") };
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest, &path, paths),
        None => paths.push(path),
    }
}

#[test]
fn the_expansion_of_a_use_tree_finds_each_leaf() {
    let mut paths = Vec::new();
    expand("infer::{serve::{Batch, Slice}, time::Nanos}, x", "", &mut paths);
    assert_eq!(paths, ["infer/serve/Batch", "infer/serve/Slice", "infer/time/Nanos"]);
}
