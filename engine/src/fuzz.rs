//! Readers of what lies on disk, given bytes that nobody wrote: mangled copies of good ones, with their checks made good
//! again where there is one, so that what stands behind the check is reached. None panics, none makes room for what is
//! not there, and what is read can be believed.
//!
//! `PIPE_FUZZ_CASES=2000000 cargo test --release -p engine --lib fuzz::` gives each reader so many.

#![expect(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;

use crate::attempt::{Manifest, Outcome};
use crate::digest::Digest;
use crate::key::Key;
use crate::run::journal;
use crate::store::Record;

/// How many cases a reader is given.
pub(crate) fn cases() -> ProptestConfig {
    let cases = std::env::var("PIPE_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(512);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Copies of `whole` with bytes changed, a stretch taken out or put in twice, or the end cut off.
pub(crate) fn mangled(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let stretch = prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0usize..64, any::<bool>()));
    let cut = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (changes, stretch, cut).prop_map(move |(changes, stretch, cut)| {
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some((at, length, twice)) = stretch {
            let start = at.index(bytes.len());
            let end = (start + length).min(bytes.len());
            let taken = bytes[start..end].to_vec();
            bytes.splice(start..end, if twice { [&taken[..], &taken].concat() } else { Vec::new() });
        }
        if let Some(at) = cut {
            bytes.truncate(at.index(bytes.len() + 1));
        }
        bytes
    })
}

const RECORD: &str = include_str!("store/tests/record-1.json");

fn manifest() -> Vec<u8> {
    let source = serde_json::json!({ "label": "a.out", "path": "/cache/blobs/ab/abcd", "digest": "ab" });
    let manifest = serde_json::json!({
        "format": 1, "kind": "toy", "key": Key(Digest([1; 32])), "run": "r", "pipeline": "p", "stage": "s",
        "config": { "word": "x", "list": [1, 2.5, null] }, "inputs": { "in": [source] }, "outputs": ["out"],
        "cpus": 2, "gpus": ["GPU-1"],
    });
    serde_json::to_vec(&manifest).unwrap()
}

fn journal_text() -> Vec<u8> {
    let lines = [
        r#"{"at_ns":1,"what":{"event":"stage-moved","stage":"a","state":"ready"}}"#,
        r#"{"at_ns":2,"hit":{"stage":"a","key":"0123","saved_ns":5,"from":"r on h"}}"#,
        r#"{"at_ns":3,"what":{"event":"stage-missed","stage":"b","reason":"first run","expected_ns":0}}"#,
        r#"{"at_ns":4,"what":{"event":"run-finished","hits":1,"done":0,"failed":0,"skipped":0,"gates":0,"stopped":false,"exit":0}}"#,
    ];
    lines.join("\n").into_bytes()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_record_that_nobody_wrote_names_no_path_and_no_absurd_size(json in mangled(RECORD.trim_end().into())) {
        let signed = [&json[..], b"\n", Digest::of(&json).to_string().as_bytes(), b"\n"].concat();
        if let Ok(record) = Record::parse(&signed, Key(Digest([1; 32]))) {
            for (port, artifact) in &record.outputs {
                prop_assert!(!port.contains(['/', '\0']) && !matches!(port.as_str(), "" | "." | ".."), "{port:?}");
                prop_assert!(artifact.bytes <= 1 << 60);
                if let Some(inline) = &artifact.inline {
                    prop_assert_eq!(Digest::of(&inline.bytes()), artifact.digest);
                }
            }
        }
        let _ = Record::parse(&json, Key(Digest([1; 32])));
    }

    #[test]
    fn a_manifest_and_an_outcome_that_nobody_wrote_make_no_panic(json in mangled(manifest())) {
        let _ = serde_json::from_slice::<Manifest>(&json);
        let _ = serde_json::from_slice::<Outcome>(&json);
    }

    #[test]
    fn a_journal_that_nobody_wrote_reads_as_far_as_it_can(text in mangled(journal_text())) {
        let (lines, unread) = journal::read_lines(&text[..]).unwrap();
        prop_assert!(lines.len() <= 3 * (text.iter().filter(|b| **b == b'\n').count() + 1));
        prop_assert!(unread <= text.iter().filter(|b| **b == b'\n').count() + 1);
    }
}
