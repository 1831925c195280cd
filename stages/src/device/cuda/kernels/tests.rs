#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::device::cuda::{compile, library};
use crate::model::card::Architecture;

fn card(name: &str, numbers: [u32; 6], qk_norm: bool) -> Card {
    let [hidden, ffn, heads, kv_heads, head_dim, vocab] = numbers;
    Card {
        name: name.to_owned(),
        architecture: if qk_norm { Architecture::Qwen3 } else { Architecture::Llama },
        layers: 2,
        hidden,
        heads,
        kv_heads,
        head_dim,
        ffn,
        vocab,
        tokenizer_size: vocab,
        tied_embeddings: true,
        qk_norm,
        rope_theta: 1e6,
        norm_eps: 1e-6,
        max_positions: 4096,
        dtype: Dtype::Bf16,
        files: std::collections::BTreeMap::new(),
    }
}

fn qwen3_small() -> Card {
    card("qwen3-0.6b", [1024, 3072, 16, 8, 128, 151_936], true)
}

#[test]
fn every_kernel_compiles_for_every_card_and_shape() {
    if let Err(missing) = library::require_nvrtc() {
        eprintln!(
            "not compiled: {missing}; set {} to a Python environment with nvidia-cuda-nvrtc",
            library::NVRTC_VARIABLE
        );
        return;
    }
    let shapes = [
        qwen3_small(),
        card("qwen3-1.7b", [2048, 6144, 16, 8, 128, 151_936], true),
        card("qwen3-8b", [4096, 12_288, 32, 8, 128, 151_936], true),
        card("smollm2-135m", [576, 1536, 9, 3, 64, 49_152], false),
    ];
    for shape in shapes {
        for architecture in ["sm_80", "sm_90", "sm_90a"] {
            for source in sources(&Dimensions::of(&shape).unwrap(), architecture) {
                let code = compile::cubin(&source, architecture, &Cache::none());
                let code = code.unwrap_or_else(|e| panic!("{} for {}: {e}", source.file, shape.name));
                assert!(code.starts_with(b"\x7fELF"), "{} is not machine code", source.file);
            }
        }
    }
}

#[test]
fn a_cached_kernel_is_the_compiled_one_and_a_torn_file_is_made_again() {
    if library::require_nvrtc().is_err() {
        eprintln!("not run: NVRTC is not here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let source = Source { file: "one.cu", text: "extern \"C\" __global__ void one() {}".to_owned(), options: vec![] };
    let code = cubin(&source, "sm_90", &cache).unwrap();
    let file = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(cubin(&source, "sm_90", &cache).unwrap(), code);
    let kept = std::fs::read(&file).unwrap();
    std::fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    assert_eq!(cubin(&source, "sm_90", &cache).unwrap(), code);
    assert_eq!(std::fs::read(&file).unwrap(), kept);
}

#[test]
fn a_kernel_that_is_wrong_is_an_error_with_the_compilers_words() {
    if library::require_nvrtc().is_err() {
        eprintln!("not run: NVRTC is not here");
        return;
    }
    let source = Source { file: "bad.cu", text: "__global__ void bad() { nothing; }".to_owned(), options: vec![] };
    let error = cubin(&source, "sm_90", &Cache::none()).unwrap_err().to_string();
    assert!(error.contains("bad.cu") && error.contains("nothing"), "{error}");
}

#[test]
fn a_small_qwen_has_fused_products_that_fill_the_card_and_smollm_has_none() {
    let cuts = Cuts::of(&Dimensions::of(&qwen3_small()).unwrap()).unwrap();
    assert_eq!([cuts.qkv.blocks, cuts.o.blocks, cuts.ffn.blocks, cuts.down.blocks], [128; 4]);
    assert!(cuts.o.held_in_registers && !cuts.ffn.held_in_registers);
    let smollm = card("smollm2-135m", [576, 1536, 9, 3, 64, 49_152], false);
    assert_eq!(Cuts::of(&Dimensions::of(&smollm).unwrap()), None);
}

#[test]
fn a_shape_that_the_kernels_do_not_do_is_refused_by_its_number() {
    let mut wide = qwen3_small();
    wide.head_dim = 96;
    let error = Dimensions::of(&wide).unwrap_err().to_string();
    assert!(error.contains("head_dim must be 64 or 128, not 96"), "{error}");
    let mut wrong = qwen3_small();
    wrong.dtype = Dtype::F32;
    assert!(Dimensions::of(&wrong).unwrap_err().to_string().contains("bf16"));
}
