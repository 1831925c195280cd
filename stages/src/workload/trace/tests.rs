#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/traces").join(name)
}

fn shipped(name: &str) -> Trace {
    read(&data(name), Format::Auto).unwrap()
}

/// A trace of this text, in a file.
fn given(text: impl AsRef<[u8]>, format: Format) -> Result<Trace, String> {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("t");
    std::fs::write(&path, text).unwrap();
    read(&path, format).map_err(|fault| fault.of("t").message)
}

fn lengths(trace: &Trace) -> Vec<(u64, u32, u32)> {
    trace.rows.iter().map(|r| (r.arrival.0, r.prompt_tokens, r.output_tokens)).collect()
}

#[test]
fn azure_and_vidur_agree_on_the_same_stream_to_the_microsecond() {
    let (azure, vidur) = (shipped("azure_conv.csv"), shipped("vidur_splitwise_conv.csv"));
    assert_eq!((azure.rows.len(), azure.timed), (50, true));
    let first = azure.rows[0].arrival;
    let moved: Vec<_> = lengths(&azure).into_iter().map(|(t, p, o)| (t - first.0, p, o)).collect();
    assert_eq!(moved, lengths(&vidur));
    assert_eq!(moved[1], (4_314_579_000, 396, 109));
}

#[test]
fn azure_stamps_are_wall_clocks_exact_to_their_seventh_decimal() {
    // 2023-11-16 18:15:46.68059 UTC, from an independent clock.
    assert_eq!(shipped("azure_conv.csv").rows[0].arrival.0, 1_700_158_546_680_590_000);
    assert_eq!(shipped("azure_code.csv").rows.len(), 50);
}

#[test]
fn mooncake_lines_carry_blocks_of_512_tokens() {
    let trace = shipped("mooncake_conversation.jsonl");
    assert_eq!((trace.rows.len(), trace.block_tokens, trace.timed), (30, 512, true));
    assert!(trace.rows.iter().all(|r| r.prefix_blocks.len() == r.prompt_tokens.div_ceil(512) as usize));
    assert_eq!(trace.rows.iter().filter(|r| r.arrival.0 == 0).count(), 10);
    let late = &trace.rows[29];
    assert_eq!(late.arrival.0 % 1_000_000, 0, "whole milliseconds");
    assert_eq!(shipped("mooncake_synthetic.jsonl").rows.len(), 10);
}

#[test]
fn both_layouts_of_burstgpt_are_read_and_failed_requests_are_counted() {
    let one = shipped("burstgpt_1.csv");
    assert_eq!(one.failed, 1);
    assert_eq!(lengths(&one), [(5_000_000_000, 472, 18), (45_000_000_000, 1087, 230), (118_000_000_000, 1360, 466)]);
    assert_eq!(one.rows.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 3]);
    let three = shipped("burstgpt_3.csv");
    assert_eq!(lengths(&three), [(19_440_110_000_000_000, 12, 34), (19_440_112_000_000_000, 78, 90)]);
}

#[test]
fn lengths_without_arrivals_are_a_trace_that_is_not_timed() {
    let trace = shipped("vidur_arxiv_lengths.csv");
    assert_eq!((trace.rows.len(), trace.timed), (30, false));
    assert_eq!(lengths(&trace)[0], (0, 3772, 54));
}

#[test]
fn the_three_layouts_of_the_predecessor_describe_the_same_requests() {
    let pair = shipped("predecessor/workload");
    let seconds = shipped("predecessor/trace_b");
    let nanoseconds = read(&data("predecessor/trace_c/trace.csv"), Format::PredecessorTrace).unwrap();
    assert_eq!(pair.rows.len(), 12);
    assert_eq!(lengths(&pair), lengths(&seconds));
    assert_eq!(lengths(&pair), lengths(&nanoseconds));
    assert!(pair.timed && pair.rows[0].prompt_id.as_deref() == Some("p000"));
}

#[test]
fn a_byte_order_mark_crlf_and_a_missing_last_newline_do_not_matter() {
    let bare = given("arrival_ns,prompt_tokens,output_tokens\n0,1,2\n5,3,4\n", Format::Auto).unwrap();
    let odd = given("\u{feff}arrival_ns,prompt_tokens,output_tokens\r\n0,1,2\r\n5,3,4", Format::Auto).unwrap();
    assert_eq!(bare, odd);
}

#[test]
fn numbers_written_by_other_programs_are_read() {
    let text = "arrived_at,num_prefill_tokens,num_decode_tokens\n5e-06,374.0,44\n0.1234567891, 3 ,4\n";
    assert_eq!(lengths(&given(text, Format::Auto).unwrap()), [(5_000, 374, 44), (123_456_789, 3, 4)]);
}

#[test]
fn bad_cells_are_named_by_line_and_column() {
    let with = |row: &str| {
        given(format!("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,3,4\n{row}\n"), Format::Auto).unwrap_err()
    };
    let tokens = "`t`, line 3, column `num_prefill_tokens`: ";
    assert_eq!(with("1.0,-3,4"), format!("{tokens}`-3` is negative"));
    assert_eq!(with("1.0,NaN,4"), format!("{tokens}`NaN` is not a number"));
    assert_eq!(with("1.0,,4"), format!("{tokens}is empty"));
    assert_eq!(with("1.0,3.5,4"), format!("{tokens}`3.5` is not a whole number of tokens"));
    assert_eq!(with("1.0,many,4"), format!("{tokens}`many` is not a number"));
    assert_eq!(with("1.0,0,4"), format!("{tokens}is 0, wanted at least 1"));
    assert_eq!(with("1.0,5000000000,4"), format!("{tokens}`5000000000` tokens are more than 4294967295"));
    assert_eq!(with("1.0,3,0"), "`t`, line 3, column `num_decode_tokens`: is 0, wanted at least 1");
    let arrival = "`t`, line 3, column `arrived_at`: ";
    assert_eq!(with("-1.0,3,4"), format!("{arrival}`-1.0` is negative"));
    assert_eq!(with("nan,3,4"), format!("{arrival}`nan` is not a number"));
    assert_eq!(with("inf,3,4"), format!("{arrival}`inf` is infinite"));
    assert_eq!(with("1e30,3,4"), format!("{arrival}`1e30` is later than can be told"));
    assert_eq!(with("0.4,3,4"), format!("{arrival}arrives 100000000 ns before the request above it"));
    assert_eq!(with("1.0,3"), "`t`, line 3: has 2 fields, the header has 3");
}

#[test]
fn wall_clocks_that_do_not_exist_are_refused() {
    let with = |stamp: &str| given(format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{stamp},3,4\n"), Format::Auto);
    for good in ["2024-02-29 00:00:00", "2023-11-16T18:15:46.68Z", "2024-05-10 00:00:00.009930+00:00"] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in [
        "2023-02-29 00:00:00",
        "2023-13-01 00:00:00",
        "2023-11-16",
        "2023-11-16 24:00:00",
        "2023-11-16 18:15:46+01:00",
        "",
    ] {
        assert!(with(bad).unwrap_err().contains("is not a time as"), "{bad}");
    }
}

#[test]
fn a_header_of_no_known_trace_is_refused_with_what_is_known() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("t");
    std::fs::write(&path, "when,how_long\n1,2\n").unwrap();
    let fault = read(&path, Format::Auto).unwrap_err();
    assert_eq!(fault.message, "these columns make no known trace: when, how_long");
    assert!(fault.help.unwrap().contains("`arrived_at,num_prefill_tokens,num_decode_tokens`"));
}

#[test]
fn a_header_that_is_nearly_a_known_one_names_the_column_that_is_missing() {
    let told = given("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,3\n", Format::Auto).unwrap_err();
    assert!(told.ends_with("TIMESTAMP, ContextTokens; beside them there is no column `GeneratedTokens`"), "{told}");
}

#[test]
fn a_declared_format_names_the_column_that_is_missing() {
    let text = "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,3\n";
    assert_eq!(given(text, Format::Azure).unwrap_err(), "`t`, line 1: there is no column `GeneratedTokens`");
    let seconds = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,3,4\n";
    assert!(given(seconds, Format::PredecessorTrace).unwrap_err().contains("no column `arrival_time_ns`"));
}

#[test]
fn empty_traces_are_refused() {
    assert_eq!(given("", Format::Auto).unwrap_err(), "`t`: is empty");
    assert_eq!(
        given("arrived_at,num_prefill_tokens,num_decode_tokens\n", Format::Auto).unwrap_err(),
        "`t`: there is no request in it"
    );
    assert_eq!(
        given("Timestamp,Request tokens,Response tokens\n1,2,0\n", Format::Auto).unwrap_err(),
        "`t`: all 1 requests have no output"
    );
    assert_eq!(given("", Format::Mooncake).unwrap_err(), "`t`: there is no request in it");
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_line() {
    let text = b"arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,3,4\n\xff,3,4\n";
    assert_eq!(given(text, Format::Auto).unwrap_err(), "`t`, line 3: is not UTF-8");
}

#[test]
fn bad_lines_of_mooncake_are_named() {
    let good = r#"{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}"#;
    let with = |line: &str| given(format!("{good}\n\n{line}\n"), Format::Auto).unwrap_err();
    assert_eq!(with(r#"{"timestamp": 1, "input_length": 600}"#), "`t`, line 3: missing field `output_length`");
    assert_eq!(
        with(r#"{"timestamp": 1, "input_length": 600, "output_length": 5, "hash_ids": [1]}"#),
        "`t`, line 3, column `hash_ids`: has 1 ids for 600 tokens, wanted 2 (one for each 512)"
    );
    assert_eq!(
        with(r#"{"timestamp": 1, "input_length": -6, "output_length": 5}"#),
        "`t`, line 3, column `input_length`: `-6` is negative"
    );
    assert_eq!(
        with(r#"{"timestamp": -1, "input_length": 6, "output_length": 5}"#),
        "`t`, line 3, column `timestamp`: `-1` is negative"
    );
    assert!(with("{\"timestamp\": 1,").starts_with("`t`, line 3: EOF while parsing"));
}

#[test]
fn a_pair_of_files_that_do_not_belong_together_is_refused() {
    let directory = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let refused = || read(directory.path(), Format::Auto).map_err(|fault| fault.of("d").message).unwrap_err();
    assert_eq!(refused(), "`d`: holds neither `trace_lengths.csv` nor `trace.csv`");
    write("trace_lengths.csv", "request_id,prompt_id,num_prefill_tokens,num_decode_tokens\n0,a,3,4\n1,b,5,6\n");
    assert!(!read(directory.path(), Format::Predecessor).unwrap().timed, "lengths alone have no arrivals");
    let header = "request_id,inter_arrival_ns,arrival_time_ns\n";
    let intervals = |rows: &str| {
        write("trace_intervals.csv", &format!("{header}{rows}"));
        refused()
    };
    assert_eq!(
        intervals("0,0,0\n1,5,6\n"),
        "`d/trace_intervals.csv`, line 3, column `arrival_time_ns`: is 6, the gaps up to here add up to 5"
    );
    assert_eq!(intervals("0,0,0\n"), "`d/trace_intervals.csv`: ends after 1 requests, `trace_lengths.csv` has 2");
    assert!(intervals("0,0,0\n2,5,5\n").contains("is 2, `trace_lengths.csv` has 1 in this row"));
    assert!(intervals("0,0,0\n1,5,5\n2,5,10\n").contains("line 4: `trace_lengths.csv` ends after 2 requests"));
    assert!(intervals("0,0,0\n1,-5,5\n").contains("`-5` is not a whole number"));
}

/// The longer slices, where they are: `PIPE_TEST_DATA` names the directory that holds `traces/`.
#[test]
fn the_long_slices_have_the_facts_that_are_known_of_them() {
    let Some(root) = std::env::var_os("PIPE_TEST_DATA") else {
        eprintln!("skipped: PIPE_TEST_DATA is not set; it names the directory that holds `traces/`");
        return;
    };
    let root = PathBuf::from(root).join("traces");
    let azure = read(&root.join("azure_conv.csv"), Format::Auto).unwrap();
    let vidur = read(&root.join("vidur_splitwise_conv.csv"), Format::Auto).unwrap();
    assert_eq!((azure.rows.len(), vidur.rows.len()), (2_000, 2_000));
    let first = azure.rows[0].arrival;
    for (a, v) in azure.rows.iter().zip(&vidur.rows) {
        assert_eq!(
            (a.arrival.since(first), a.prompt_tokens, a.output_tokens),
            (v.arrival, v.prompt_tokens, v.output_tokens)
        );
    }
    let span = azure.rows[1_999].arrival.since(first).as_secs_f64();
    assert!((span - 424.259).abs() < 0.001, "{span}");
    for (name, blocks, hits) in [("conversation", 14_162, 2_283), ("synthetic", 12_833, 1_084)] {
        let trace = read(&root.join(format!("mooncake_{name}.jsonl")), Format::Auto).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let (mut all, mut reused) = (0, 0);
        for row in &trace.rows {
            all += row.prefix_blocks.len();
            reused += row.prefix_blocks.iter().take_while(|b| seen.contains(*b)).count();
            seen.extend(row.prefix_blocks.iter().copied());
        }
        assert_eq!((trace.rows.len(), all, reused), (500, blocks, hits), "{name}");
    }
}
