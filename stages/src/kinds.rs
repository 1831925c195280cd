//! The kinds this program brings, and the identity of their code.

use engine::kind::Kind;

/// `(module, digest)` for each kind, made by `build.rs` from `kinds.in`.
pub mod codes {
    include!(concat!(env!("OUT_DIR"), "/codes.rs"));
}

/// All kinds, in the order in which `pipe kinds` lists them.
pub static KINDS: &[Kind] = &[
    Kind::of::<crate::workload::Workload>(),
    Kind::of::<crate::weights::Weights>(),
    Kind::of::<crate::profile::Profile>(),
    Kind::of::<crate::sim::Sim>(),
    Kind::of::<crate::bench::Bench>(),
    Kind::of::<crate::compare::Compare>(),
    Kind::of::<crate::report::Report>(),
    Kind::of::<crate::roofline::Roofline>(),
    Kind::of::<crate::fleet::Fleet>(),
    Kind::of::<crate::profiling::ProfilingRoot>(),
    Kind::of::<crate::capacity::CapacityStage>(),
    Kind::of::<crate::search::Search>(),
];

/// What a port that holds `word` carries, in lines for `pipe kinds KIND`.
pub fn carries(word: &str) -> Option<String> {
    match word {
        "trace" => Some(crate::workload::trace::FORMATS.to_owned()),
        "profiling-root" => {
            Some("a directory with Vidur's `data/profiling/{compute,network,cpu_overhead}`\n".to_owned())
        }
        "capacity" => Some("capacity.json: the rate found, what limits it, how it is served at 85 %\n".to_owned()),
        "prompts" => Some("JSON lines: `prompt_id`, `text`, and `output_tokens` if the line says it\n".to_owned()),
        "model" => Some("a model.toml, or a Hugging Face config.json (dense qwen3 and llama)\n".to_owned()),
        "tokenizer" => Some("a Hugging Face tokenizer.json\n".to_owned()),
        "weights" => Some("a directory with safetensors in Hugging Face names, or a GGUF file\n".to_owned()),
        _ => crate::tables::carries(word),
    }
}
