#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::requests::{Row, read_requests, write_requests};
use super::run::{BatchRow, RequestRow, RunMeta, RunTables, Status, TokenRow};
use super::*;
use crate::infer::request::Request;
use crate::infer::time::Nanos;

fn request(id: u32) -> Row {
    let prompt_tokens = 3 + id % 5;
    Row {
        request: Request {
            id,
            arrival: Nanos(u64::from(id) * 1_000_003),
            prompt_tokens,
            output_tokens: 1 + id % 7,
            prompt: (0..prompt_tokens).map(|t| t * 31 + id).collect(),
            prefix_blocks: if id.is_multiple_of(3) { Arc::from([u64::from(id), u64::MAX - 1]) } else { Arc::from([]) },
            priority: -(id as i32),
        },
        source: id.is_multiple_of(2).then(|| format!("row {id}")),
    }
}

fn ops_row(median_ns: f64) -> ops::Row {
    ops::Row {
        op: "qkv".to_owned(),
        tokens: 8,
        sequences: 2,
        context: 0,
        calls_per_step: 28,
        samples: 5,
        median_ns,
        mad_ns: 0.5,
        min_ns: 9.0,
        p90_ns: 12.0,
    }
}

fn run() -> RunTables {
    let requests = vec![
        RequestRow {
            id: 0,
            status: Status::Ok,
            arrival: Nanos(5),
            scheduled: Some(Nanos(6)),
            first_token: Some(Nanos(9)),
            completion: Some(Nanos(12)),
            prompt_tokens: 4,
            output_tokens: 2,
            produced_tokens: 2,
            ..RequestRow::default()
        },
        RequestRow { id: 1, status: Status::Refused, error: Some("too long".to_owned()), ..RequestRow::default() },
    ];
    let tokens = vec![
        TokenRow { request: 0, index: 0, time: Nanos(9), batch: 0, token: Some(77) },
        TokenRow { request: 0, index: 1, time: Nanos(12), batch: 1, token: None },
    ];
    let batches = vec![
        BatchRow { id: 0, end: Nanos(9), seqs: vec![0], contexts: vec![0], tokens: vec![4], ..BatchRow::default() },
        BatchRow { id: 1, end: Nanos(12), seqs: vec![0], contexts: vec![4], tokens: vec![1], ..BatchRow::default() },
    ];
    let mut meta = RunMeta::new("sim", "virtual");
    meta.knobs = serde_json::json!({ "policy": "sarathi", "watermark": 0.01 });
    meta.facts.insert("wall_ns".to_owned(), serde_json::json!(12));
    RunTables { requests, tokens, batches, meta }
}

/// A Parquet file made by somebody else, with these columns.
fn foreign(columns: Vec<(&str, arrow::array::ArrayRef, bool)>) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.parquet");
    let fields: Vec<Field> =
        columns.iter().map(|(name, array, null)| Field::new(*name, array.data_type().clone(), *null)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    (directory, path)
}

fn foreign_tokens(ids: arrow::array::ArrayRef, null: bool) -> (TempDir, PathBuf) {
    let n = ids.len();
    let u32s = || -> arrow::array::ArrayRef { Arc::new(UInt32Array::from(vec![0; n])) };
    foreign(vec![
        ("request_id", ids, null),
        ("token_index", u32s(), false),
        ("time_ns", Arc::new(arrow::array::UInt64Array::from(vec![0; n])), false),
        ("batch_id", u32s(), false),
        ("token_id", u32s(), false),
    ])
}

#[test]
fn rows_come_back_as_they_were_written_across_batches_and_row_groups() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("requests");
    let rows: Vec<Row> = (0..20_000).map(request).collect();
    write_requests(&path, &[("made_by", "a test".to_owned())], &rows).unwrap();
    assert_eq!(read::<Row>(&path).unwrap(), rows);
    let requests: Vec<Request> = rows.iter().map(|r| r.request.clone()).collect();
    assert_eq!(read_requests(&path).unwrap(), requests);
    let reader = Reader::<Row>::open(&path).unwrap();
    assert_eq!(
        (reader.rows(), reader.note("made_by"), reader.note("table")),
        (20_000, Some("a test"), Some("requests"))
    );
}

#[test]
fn a_run_comes_back_as_it_was_written() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run");
    run().write(&path).unwrap();
    assert_eq!(RunTables::read(&path).unwrap(), run());
}

#[test]
fn a_profile_comes_back_as_it_was_written() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ops.parquet");
    let rows = [ops_row(10.0), ops_row(1.0 / 3.0)];
    write(&path, &[], &rows).unwrap();
    assert_eq!(read::<ops::Row>(&path).unwrap(), rows);
}

#[test]
fn equal_rows_give_equal_bytes() {
    let directory = TempDir::new().unwrap();
    let rows: Vec<Row> = (0..3_000).map(request).collect();
    let bytes = |name: &str| {
        let path = directory.path().join(name);
        write_requests(&path, &[("b", "2".to_owned()), ("a", "1".to_owned())], &rows).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(bytes("one"), bytes("two"));
}

#[test]
fn a_truncated_file_is_an_error_that_names_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("requests");
    write_requests(&path, &[], &(0..100).map(request).collect::<Vec<_>>()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for keep in [0, 3, 4, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let error = read_requests(&path).unwrap_err();
        assert!(matches!(error, TableError::Parquet { doing: "read", .. }), "{keep}: {error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.help().unwrap().contains("truncated"));
    }
}

#[test]
fn a_flipped_byte_never_makes_the_reader_panic() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("requests");
    write_requests(&path, &[], &(0..100).map(request).collect::<Vec<_>>()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // The store checks content by digest; what the reader owes is to come back without a panic.
    for at in (4..bytes.len()).step_by(37) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x55;
        std::fs::write(&path, &broken).unwrap();
        let _ = read_requests(&path);
    }
}

#[test]
fn a_missing_column_is_named_together_with_what_is_there() {
    let (_keep, path) = foreign(vec![("request_id", Arc::new(UInt32Array::from(vec![0])), false)]);
    let error = read::<TokenRow>(&path).unwrap_err();
    assert!(error.to_string().ends_with("has no column `token_index`"), "{error}");
    assert_eq!(error.help().unwrap(), "it has: request_id");
}

#[test]
fn a_column_of_another_type_is_an_error_that_says_both() {
    let (_keep, path) = foreign_tokens(Arc::new(Int64Array::from(vec![0, 1])), false);
    let error = read::<TokenRow>(&path).unwrap_err();
    assert!(error.to_string().contains("`request_id`"), "{error}");
    assert!(error.to_string().ends_with("is Int64, wanted UInt32"), "{error}");
}

#[test]
fn an_absent_value_is_named_by_its_row() {
    let ids: UInt32Array = vec![Some(0), Some(1), None, None].into();
    let (_keep, path) = foreign_tokens(Arc::new(ids), true);
    let error = read::<TokenRow>(&path).unwrap_err();
    assert!(matches!(error, TableError::Null { column: "request_id", row: 2, .. }), "{error}");
}

#[test]
fn a_column_that_may_lack_values_but_does_not_is_fine() {
    let (_keep, path) = foreign_tokens(Arc::new(UInt32Array::from(vec![7, 8])), true);
    let rows = read::<TokenRow>(&path).unwrap();
    assert_eq!(rows.iter().map(|t| t.request).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn a_number_that_is_not_finite_is_refused_by_writer_and_reader() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ops.parquet");
    let error = write(&path, &[], &[ops_row(1.0), ops_row(f64::NAN)]).unwrap_err();
    assert!(matches!(error, TableError::NotFinite { column: "median_ns", row: 1, .. }), "{error}");
    let one = |v: f64| -> arrow::array::ArrayRef { Arc::new(Float64Array::from(vec![1.0, v])) };
    let count = || -> arrow::array::ArrayRef { Arc::new(UInt32Array::from(vec![1, 1])) };
    let (_keep, path) = foreign(vec![
        ("op", Arc::new(StringArray::from(vec!["a", "b"])), false),
        ("tokens", count(), false),
        ("sequences", count(), false),
        ("context", count(), false),
        ("calls_per_step", count(), false),
        ("samples", count(), false),
        ("median_ns", one(1.0), false),
        ("mad_ns", one(f64::INFINITY), false),
        ("min_ns", one(1.0), false),
        ("p90_ns", one(1.0), false),
    ]);
    let error = read::<ops::Row>(&path).unwrap_err();
    assert!(matches!(error, TableError::NotFinite { column: "mad_ns", row: 1, .. }), "{error}");
}

#[test]
fn a_file_that_says_it_is_another_table_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.parquet");
    write(&path, &[], &run().tokens).unwrap();
    let error = read::<ops::Row>(&path).unwrap_err();
    assert!(error.to_string().ends_with("holds the table `tokens/1`, wanted `ops/1`"), "{error}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = read_requests(Path::new("/no/such/requests")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the table `requests` at `/no/such/requests`");
}

#[test]
fn requests_that_break_a_rule_are_refused_with_their_row() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("requests");
    let refused = |change: fn(&mut Vec<Row>)| {
        let mut rows: Vec<Row> = (0..4).map(request).collect();
        change(&mut rows);
        write_requests(&path, &[], &rows).unwrap();
        read_requests(&path).unwrap_err().to_string()
    };
    assert!(refused(|r| r[2].request.id = 9).contains("row 2"), "ids count");
    assert!(refused(|r| r[3].request.arrival = Nanos(0)).contains("`arrival_ns` falls from 2000006 to 0"));
    assert!(refused(|r| r[1].request.output_tokens = 0).contains("row 1"));
    assert!(refused(|r| r[1].request.prompt = Arc::from([1, 2])).contains("holds 2 ids for 4 prompt tokens"));
    assert!(refused(Vec::clear).contains("there is no request"));
}

#[test]
fn a_run_whose_tables_contradict_each_other_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run");
    let mut one = run();
    one.tokens[1].request = 7;
    one.write(&path).unwrap();
    assert!(RunTables::read(&path).unwrap_err().to_string().contains("`request_id` 7 is not among the 2 requests"));
    let mut one = run();
    one.batches[0].contexts.clear();
    one.write(&path).unwrap();
    assert!(RunTables::read(&path).unwrap_err().to_string().contains("differ in length"));
}

#[test]
fn meaning_is_blind_to_row_groups_compression_and_notes() {
    let directory = TempDir::new().unwrap();
    let ours = directory.path().join("ours");
    write(&ours, &[("note", "x".to_owned())], &run().tokens).unwrap();
    let theirs = directory.path().join("theirs");
    let batch = {
        let file = std::fs::File::open(&ours).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        reader.build().unwrap().next().unwrap().unwrap()
    };
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(1))
        .set_dictionary_enabled(false)
        .build();
    let file = std::fs::File::create(&theirs).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert_ne!(std::fs::read(&ours).unwrap(), std::fs::read(&theirs).unwrap());
    assert_eq!(meaning::hex(&ours).unwrap(), meaning::hex(&theirs).unwrap());
}

#[test]
fn meaning_sees_every_value_and_every_column_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t");
    let digest = |rows: &[Row]| {
        write(&path, &[], rows).unwrap();
        meaning::hex(&path).unwrap()
    };
    let rows: Vec<Row> = (0..4).map(request).collect();
    let changes: [fn(&mut Row); 8] = [
        |r| r.request.id += 1,
        |r| r.request.arrival.0 += 1,
        |r| r.request.prompt_tokens += 1,
        |r| r.request.output_tokens += 1,
        |r| r.request.prompt = Arc::from([9, 9, 9]),
        |r| r.request.prefix_blocks = Arc::from([4]),
        |r| r.request.priority += 1,
        |r| r.source = Some(String::new()),
    ];
    let mut seen = std::collections::BTreeSet::from([digest(&rows)]);
    for change in changes {
        let mut changed = rows.clone();
        change(&mut changed[1]);
        assert!(seen.insert(digest(&changed)));
    }
    assert!(seen.insert(digest(&rows[..3])));
    let (_a, one) = foreign(vec![("a", Arc::new(UInt32Array::from(vec![1])), false)]);
    let (_b, two) = foreign(vec![("b", Arc::new(UInt32Array::from(vec![1])), false)]);
    assert_ne!(meaning::hex(&one).unwrap(), meaning::hex(&two).unwrap());
}

#[test]
fn meaning_of_a_directory_covers_its_tables_and_its_other_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run");
    run().write(&path).unwrap();
    let before = meaning::hex(&path).unwrap();
    let mut other = run();
    other.meta.notes.push("hot".to_owned());
    other.write(&path).unwrap();
    assert_ne!(meaning::hex(&path).unwrap(), before);
    run().write(&path).unwrap();
    assert_eq!(meaning::hex(&path).unwrap(), before);
    std::fs::rename(path.join("tokens.parquet"), path.join("t0kens.parquet")).unwrap();
    assert_ne!(meaning::hex(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_table_has_no_meaning() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.parquet");
    std::fs::write(&path, "a,b\n1,2\n").unwrap();
    assert!(meaning::hex(&path).unwrap_err().contains("as a table"));
}

/// Keys of yesterday's records hold such digests: they must not move.
#[test]
fn the_digest_by_meaning_of_a_known_table_stays_the_same() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t");
    write(&path, &[], &(0..10).map(request).collect::<Vec<_>>()).unwrap();
    insta::assert_snapshot!(meaning::hex(&path).unwrap(), @"a2df9749e7dd620a82e9bc2d9edec8dfd4c01326346ce3b6384a10152d8d6ccb");
}

#[test]
fn every_table_has_distinct_columns_and_is_described() {
    for table in ALL {
        let names: std::collections::BTreeSet<&str> = table.columns.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), table.columns.len(), "{}", table.name);
        let text = describe(table);
        for column in table.columns {
            assert!(text.contains(column.name) && text.contains(column.about));
        }
    }
    assert_eq!(carries("run").unwrap().matches("table ").count(), 3);
    assert!(carries("requests").unwrap().contains("arrival_ns") && carries("verdict").is_none());
    let schema = write::schema(&TOKENS);
    assert_eq!(schema.field(4).data_type(), &DataType::UInt32);
    assert!(schema.field(4).is_nullable());
}

/// Files of format 1, as the first version wrote them. A format that changes gets a new number, and a new file here.
#[test]
fn yesterdays_files_are_still_read_and_still_mean_the_same() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tables");
    let rows: Vec<Row> = (0..10).map(request).collect();
    assert_eq!(read::<Row>(&data.join("requests-1.parquet")).unwrap(), rows);
    assert_eq!(
        meaning::hex(&data.join("requests-1.parquet")).unwrap(),
        "a2df9749e7dd620a82e9bc2d9edec8dfd4c01326346ce3b6384a10152d8d6ccb"
    );
    assert_eq!(RunTables::read(&data.join("run-1")).unwrap(), run());
    assert_eq!(read::<ops::Row>(&data.join("ops-1.parquet")).unwrap(), [ops_row(10.0), ops_row(1.0 / 3.0)]);
}

/// Writes the files of the test above; run it by name after a format got a new number.
#[test]
#[ignore = "writes tests/data/tables"]
fn write_todays_files() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tables");
    std::fs::create_dir_all(&data).unwrap();
    let name = |table: Table| data.join(format!("{}-{}.parquet", table.name, table.format));
    write(&name(REQUESTS), &[], &(0..10).map(request).collect::<Vec<_>>()).unwrap();
    write(&name(OPS), &[], &[ops_row(10.0), ops_row(1.0 / 3.0)]).unwrap();
    run().write(&data.join("run-1")).unwrap();
}

#[test]
fn a_run_written_while_it_goes_on_is_the_same_directory_as_one_written_at_the_end() {
    use super::run::{RunWriter, TokenIds};
    use crate::infer::record::{self, Recorder};
    use crate::infer::serve::Slice;
    let directory = TempDir::new().unwrap();
    let mut kept = record::Run::default();
    let mut stream = RunWriter::create(&directory.path().join("stream"), TokenIds::Computed).unwrap();
    let tell = |recorder: &mut dyn Recorder| {
        for id in 0..3u32 {
            let slices = [Slice { seq: id, context: 2 * id, tokens: 1, yields: true }; 2];
            let (scheduled, end) = (Nanos(u64::from(id)), Nanos(u64::from(id) + 1));
            let row = record::BatchRow {
                batch_id: id,
                scheduled,
                start: scheduled,
                end,
                device: Nanos(1),
                host: Nanos(0),
                prefill_tokens: 0,
                decode_tokens: 2,
                kv_blocks_used: id,
                running: 1,
                waiting: 0,
                preempted: 0,
            };
            recorder.batch(row, &slices);
            recorder.token(record::TokenRow { request_id: id, token_index: 0, time: end, batch_id: id, token_id: 9 });
        }
        for id in 0..3u32 {
            let row: record::RequestRow = (&RequestRow { id, ..run().requests[0].clone() }).into();
            recorder.request(row);
        }
    };
    tell(&mut kept);
    tell(&mut stream);
    stream.finish(&directory.path().join("stream"), &run().meta).unwrap();
    let tables = RunTables::of(kept, TokenIds::Computed, run().meta);
    tables.write(&directory.path().join("kept")).unwrap();
    assert_eq!(RunTables::read(&directory.path().join("stream")).unwrap(), tables);
    for name in ["requests.parquet", "tokens.parquet", "batches.parquet", "meta.json"] {
        let bytes = |side: &str| std::fs::read(directory.path().join(side).join(name)).unwrap();
        assert_eq!(bytes("stream"), bytes("kept"), "{name}");
    }
}
