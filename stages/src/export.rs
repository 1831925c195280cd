//! Verb `export`: a run, or a workload, in the plain layout of gpu-simulate-test: CSV and JSON with that project's
//! columns and units, for tools that were written for it.
//!
//! A run of any format that [`crate::compare::read`] knows can be exported. Times are integer nanoseconds from the
//! run's start. What the layout requires and a run does not know is written as an empty text, never made up.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use engine::kind::{StageError, Verb};

use crate::tables::run::META;

mod run;
mod stamp;
mod vidur;
mod workload;

#[cfg(test)]
mod tests;

/// `pipe export`.
pub const VERB: Verb =
    Verb { name: "export", about: "Write a run or a workload in the predecessor's plain layout", run: verb };

const USAGE: &str = "\
usage: pipe export FROM TO
       pipe export --layout vidur FROM TO

FROM  a run's directory, the directory of a stage that made one (`results/PIPELINE/STAGE`), or a workload's requests
TO    a directory; it is made, and must hold nothing of what is to be written

A run becomes request_metrics.csv, token_metrics.csv and run_meta.json; a workload becomes prompts.jsonl,
trace_lengths.csv, trace_intervals.csv and workload_meta.json. With `--layout vidur` a run becomes Vidur's
request_metrics.csv, plots/*.csv, chrome_trace.json and config.json.
";

fn verb(words: &[OsString]) -> u8 {
    let mut out = std::io::stdout().lock();
    let mut err = std::io::stderr().lock();
    if words.iter().any(|w| w == "--help" || w == "-h") {
        let _ = write!(out, "{USAGE}");
        return 0;
    }
    let (layout, paths) = match words {
        [flag, name, rest @ ..] if flag == "--layout" && name == "vidur" => (Layout::Vidur, rest),
        [flag, name, ..] if flag == "--layout" => {
            let _ = write!(err, "error: no layout is called `{}`; there is `vidur`\n{USAGE}", name.to_string_lossy());
            return 2;
        }
        rest => (Layout::Plain, rest),
    };
    let [from, to] = paths else {
        let _ = write!(err, "error: `export` takes two paths, {} given\n{USAGE}", paths.len());
        return 2;
    };
    match export(Path::new(from), Path::new(to), layout) {
        Ok(written) => {
            for path in written {
                let _ = writeln!(out, "{}", path.display());
            }
            0
        }
        Err(error) => {
            let _ = writeln!(err, "error: {}", error.message);
            for cause in &error.causes {
                let _ = writeln!(err, "  because {cause}");
            }
            if let Some(help) = &error.help {
                let _ = writeln!(err, "  help: {help}");
            }
            2
        }
    }
}

/// Whose files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// gpu-simulate-test's.
    Plain,
    /// Vidur's; of runs only.
    Vidur,
}

/// Writes what lies at `from` into `to`, and says which files.
///
/// # Errors
/// When nothing at `from` can be exported, or a file would be overwritten or cannot be written.
pub fn export(from: &Path, to: &Path, layout: Layout) -> Result<Vec<PathBuf>, StageError> {
    if !from.exists() {
        return Err(StageError::new(format!("there is nothing at `{}`", from.display())));
    }
    let requests = from.join("requests.parquet");
    let files = if layout == Layout::Vidur {
        let inner = from.join("run");
        vidur::files(if inner.is_dir() { &inner } else { from })?
    } else if from.is_file() && from.extension().is_none_or(|e| e == "parquet") {
        workload::files(from)?
    } else if requests.is_file() && !from.join(META).is_file() {
        workload::files(&requests)?
    } else {
        let inner = from.join("run");
        run::files(if inner.is_dir() { &inner } else { from })?
    };
    write(to, &files)
}

/// A file's name, perhaps with a folder, and its whole text.
type File = (String, String);

fn write(to: &Path, files: &[File]) -> Result<Vec<PathBuf>, StageError> {
    let failed =
        |path: &Path, e: &std::io::Error| StageError::new(format!("cannot write `{}`", path.display())).because(e);
    std::fs::create_dir_all(to).map_err(|e| failed(to, &e))?;
    if let Some((name, _)) = files.iter().find(|(name, _)| to.join(name).exists()) {
        return Err(StageError::new(format!("`{}` exists already", to.join(name).display()))
            .help("name another directory, or move the file away"));
    }
    let mut written = Vec::new();
    for (name, text) in files {
        let path = to.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        }
        std::fs::write(&path, text).map_err(|e| failed(&path, &e))?;
        written.push(path);
    }
    Ok(written)
}

/// Rows as CSV text.
fn csv(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let into_memory = "writing to memory cannot fail, and every row is as long as the header";
    writer.write_record(header).expect(into_memory);
    for row in rows {
        writer.write_record(row).expect(into_memory);
    }
    let bytes = writer.into_inner().expect(into_memory);
    String::from_utf8(bytes).expect("the cells were text")
}

/// JSON as that project writes it: two spaces deep, a newline at its end.
fn json(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a JSON value prints");
    text.push('\n');
    text
}

/// A short name that follows from content alone.
fn content_id(letter: char, text: &str) -> String {
    let digest = blake3::hash(text.as_bytes()).to_hex();
    format!("{letter}_{}", &digest[..8])
}
