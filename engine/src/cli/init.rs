//! `pipe init`: a starter project that runs as it stands and says in comments what each line does.

use std::path::{Path, PathBuf};

const PROJECT: &str = "\
# What is the project's and not an experiment's. This file marks the project's root; all of it may be left out.

[cache]
# Where results are kept. Teammates who name the same directory share what they have computed.
directory = \"cache\"
";

const PIPELINE: &str = "\
# Which words occur most often in a text.
#
# Run it:               pipe run hello
# Run it again:         everything is known, nothing runs
# Change something:     pipe run hello top.most=5      or edit data/words.txt
# Ask:                  pipe why hello top             pipe plan hello     pipe graph hello
name = \"hello\"

[choose]                                    # config groups: configs/<group>/<choice>.toml
list = \"short\"                              # `pipe run hello list=long` takes configs/list/long.toml

[stage.sorted]
kind = \"command\"                            # any program; `pipe kinds` lists what else there is
in = { words = \"data/words.txt\" }           # a word with a slash is a file of this project
[stage.sorted.config]
argv = [\"sort\", \"-o\", \"{out.lines}\", \"{in.words}\"]
env = { LC_ALL = \"C\" }                      # the environment is clean: what is not declared is not there
outputs = { lines = \"lines.txt\" }           # what the program leaves under out/

[stage.counted]
kind = \"command\"
in = { lines = \"sorted.lines\" }             # `stage.output`: this makes the graph
[stage.counted.config]
argv = [\"sh\", \"-c\", \"uniq -c {in.lines} | sort -rn > {out.table}\"]
outputs = { table = \"table.txt\" }

[stage.top]
kind = \"command\"
use = [\"list\"]                              # lays the chosen file of the group `list` under `config`
in = { table = \"counted.table\" }
[stage.top.config]
argv = [\"sh\", \"-c\", \"head -n $MOST {in.table} > {out.text}\"]
outputs = { text = { path = \"top.txt\", shown = true } }    # shown: printed at the end of a run
";

const SHORT: &str = "about = \"the three commonest words\"\nenv = { MOST = \"3\" }\n";
const LONG: &str = "about = \"the ten commonest words\"\nenv = { MOST = \"10\" }\n";

const WORDS: &str = "\
the\nquick\nbrown\nfox\njumps\nover\nthe\nlazy\ndog\nthe\nfox\nruns\nthe\ndog\nsleeps\n";

/// The files of a starter project: path and text.
pub(super) const FILES: [(&str, &str); 5] = [
    ("pipe.toml", PROJECT),
    ("pipelines/hello.toml", PIPELINE),
    ("configs/list/short.toml", SHORT),
    ("configs/list/long.toml", LONG),
    ("data/words.txt", WORDS),
];

/// Writes a starter project into `directory`, which is made if it is not there; gives the files.
///
/// # Errors
/// When one of the files is there already (then nothing is written), or cannot be written.
pub(super) fn init(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let paths: Vec<PathBuf> = FILES.iter().map(|(path, _)| directory.join(path)).collect();
    if let Some(there) = paths.iter().find(|p| p.symlink_metadata().is_ok()) {
        return Err(format!("`{}` is there already; nothing was written", there.display()));
    }
    for (path, (_, text)) in paths.iter().zip(FILES) {
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, text)
        };
        write().map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
    }
    Ok(paths)
}
