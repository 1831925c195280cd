//! Fingerprints of each kind's source: a kind's key changes when a module it names changes, comments and blank
//! space aside, or when a crate it names moves to another version.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// `(kind, modules, crates)`: a module is a file `src/<name>.rs` together with the folder `src/<name>/`; a crate's
/// lines in the lock file count. A tidy test fails where a kind's modules import one that is not named here.
const KINDS: &[(&str, &[&str], &[&str])] = include!("src/kinds.in");

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let lock = std::fs::read_to_string(root.join("../Cargo.lock")).unwrap_or_default();
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let mut out = String::from("// Made by build.rs.\n");
    for (kind, modules, crates) in KINDS {
        let constant = kind.to_uppercase().replace('-', "_");
        let _ = writeln!(out, "/// Source of kind `{kind}`.\npub const {constant}: &[(&str, &str)] = &[");
        for module in *modules {
            let _ = writeln!(out, "    ({module:?}, {:?}),", module_digest(&root.join("src"), module));
        }
        for name in *crates {
            let _ = writeln!(out, "    (\"crate {name}\", {:?}),", lock_line(&lock, name));
        }
        out.push_str("];\n");
    }
    let path = Path::new(&std::env::var("OUT_DIR").expect("cargo sets it")).join("codes.rs");
    std::fs::write(path, out).expect("the build directory is writable");
}

/// BLAKE3 of the module's files in order of their paths, comments and blank space aside, tests left out.
fn module_digest(src: &Path, module: &str) -> String {
    let mut files = Vec::new();
    let file = src.join(format!("{module}.rs"));
    if file.is_file() {
        files.push(file);
    }
    collect(&src.join(module), &mut files);
    assert!(!files.is_empty(), "src/kinds.in names the module `{module}`, which has no file");
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file is UTF-8");
        hasher.update(file.strip_prefix(src).expect("it lies there").to_string_lossy().as_bytes());
        hasher.update(&[0]);
        hasher.update(bare(&text).as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "tests" && name != "snapshots" {
                collect(&path, files);
            }
        } else if name != "tests.rs" && path.extension().is_some_and(|e| e == "rs" || e == "cu") {
            files.push(path);
        }
    }
}

/// The text without whole-line comments and without blank space at the ends of lines. A comment behind code stays:
/// telling it from `//` in a string would need a lexer, and a key that changes once too often is only slow.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")) {
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn lock_line(lock: &str, name: &str) -> String {
    let wanted = format!("name = \"{name}\"");
    let mut versions: Vec<&str> = Vec::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        if line == wanted
            && let Some(version) = lines.next()
        {
            versions.push(version.trim_start_matches("version = ").trim_matches('"'));
        }
    }
    assert!(!versions.is_empty(), "src/kinds.in names the crate `{name}`, which Cargo.lock does not hold");
    versions.join(" ")
}
