//! Run on a machine with a card: `gpu check` holds every kernel and way through a step against references, `gpu exchange`
//! only the kernels of whole steps, without cublasLt (for sanitizers); `gpu bench` measures; `CARDS=a/model.toml gpu
//! shapes` decodes with other shapes; `CARDS=… WEIGHTS=DIR gpu load` times the way of safetensors to the card. Each writes
//! `$OUT/gpu-<verb>.json` where `OUT` is set.

mod bench;
mod check;
mod drive;
mod reference;
mod seeded;
mod shapes;

use std::process::ExitCode;

fn list(name: &str, default: &[usize]) -> Vec<usize> {
    let given = std::env::var(name).ok();
    given.map_or_else(|| default.to_vec(), |text| text.split(',').filter_map(|n| n.parse().ok()).collect())
}

fn names(name: &str) -> Vec<std::path::PathBuf> {
    std::env::var(name).unwrap_or_default().split(',').filter(|n| !n.is_empty()).map(Into::into).collect()
}

fn run(verb: &str) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    match verb {
        "check" => check::all().map(|()| serde_json::json!({ "passed": true })),
        "bench" => bench::all(&bench::Wanted {
            batches: list("BATCHES", &[1, 8, 32, 64, 128, 256]),
            prompts: list("PROMPTS", &[128, 512, 2048, 8192]),
            offline_runs: list("RUNS", &[3])[0],
            narrow: list("NARROW", &[32]),
            whole: list("WHOLE", &[]),
            pacings: list("PACINGS", &[]),
            layers: list("LAYERS", &[28])[0],
            blocks: list("BLOCKS", &[30_000])[0],
        }),
        "shapes" => shapes::larger(&names("CARDS"), &list("BATCHES", &[1, 32])),
        "load" => shapes::load(&names("CARDS"), &names("WEIGHTS")),
        "exchange" => check::exchange().map(|()| serde_json::json!({ "passed": true })),
        other => Err(format!("`{other}` is none of check, exchange, bench, shapes and load").into()),
    }
}

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_else(|| "check".to_owned());
    match run(&verb) {
        Ok(value) => {
            if let Some(out) = std::env::var_os("OUT") {
                let path = std::path::Path::new(&out).join(format!("gpu-{verb}.json"));
                if let Err(e) = std::fs::write(&path, format!("{value:#}\n")) {
                    eprintln!("cannot write `{}`: {e}", path.display());
                }
            }
            println!("{verb}: done");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{verb}: {e}");
            ExitCode::FAILURE
        }
    }
}
