//! `pipe vidur-case DIR OUT`: runs every case folder in DIR and writes what Vidur would have written.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use engine::kind::Verb;

use super::case::{Case, CaseError};
use super::events::run;
use super::output::{batches_csv, request_metrics_csv, summary_json};

/// The verb.
pub const VERB: Verb = Verb {
    name: "vidur-case",
    about: "run Vidur case folders exactly: `vidur-case DIR OUT` writes OUT/<case>/{batches.csv,request_metrics.csv,summary.json}",
    run: run_verb,
};

/// Good.
const GOOD: u8 = 0;
/// The author's mistake.
const MISTAKE: u8 = 2;

fn run_verb(words: &[OsString]) -> u8 {
    let mut errors = std::io::stderr().lock();
    let [from, to] = words else {
        let _ = writeln!(errors, "usage: pipe vidur-case DIR OUT");
        return MISTAKE;
    };
    match cases(Path::new(from)).and_then(|folders| folders.iter().try_for_each(|f| run_case(f, Path::new(to)))) {
        Ok(()) => GOOD,
        Err(error) => {
            let mut told = format!("{error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(c) = cause {
                told += &format!(": {c}");
                cause = c.source();
            }
            let _ = writeln!(errors, "error: {told}");
            MISTAKE
        }
    }
}

/// The folders in `folder` that hold a case with requests, by name; `folder` itself where it is one.
pub(super) fn cases(folder: &Path) -> Result<Vec<PathBuf>, CaseError> {
    let is_case = |path: &Path| path.join("case.json").is_file() && path.join("requests.csv").is_file();
    if is_case(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let failed = |source| CaseError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_case(&path) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        let what = format!("no folder in `{}` holds `case.json` and `requests.csv`", folder.display());
        return Err(CaseError::Invalid { what });
    }
    Ok(found)
}

fn run_case(folder: &Path, to: &Path) -> Result<(), CaseError> {
    let (case, requests) = Case::load(folder)?;
    let outcome = run(&case, &requests)?;
    let into = to.join(folder.file_name().unwrap_or(case.name.as_ref()));
    std::fs::create_dir_all(&into).map_err(|source| CaseError::Io { path: into.clone(), source })?;
    let write = |name: &str, text: String| {
        let path = into.join(name);
        std::fs::write(&path, text).map_err(|source| CaseError::Io { path, source })
    };
    write("batches.csv", batches_csv(&outcome))?;
    write("request_metrics.csv", request_metrics_csv(&outcome))?;
    write("summary.json", format!("{:#}\n", summary_json(&outcome)))
}
