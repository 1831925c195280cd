//! The `pipe` program: the engine's command line with this project's kinds of stage.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
