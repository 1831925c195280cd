//! The digest of a table by its meaning: schema and rows, blind to row groups, pages, encodings, compression and the
//! writer's metadata. Of a directory: every table in it by meaning, every other file by its bytes.
//!
//! Canonical form, framed so that no two contents share one: for each column in order its name, its Arrow type and
//! then, row by row, a byte that tells whether there is a value, and the value (integers and floats little-endian,
//! text and lists with their length in front). Names of list items are not part of a type.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use blake3::Hasher;
use engine::kind::Meaning;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

/// Digests a Parquet table, or a directory that holds some, by meaning.
pub const TABLE: Meaning = Meaning { name: "table/1", digest };

const CONTEXT: &str = "pipe 2025 table meaning 1";

/// The digest; see the module.
///
/// # Errors
/// When the file cannot be read as a table.
pub fn digest(path: &Path) -> Result<[u8; 32], String> {
    let mut hasher = Hasher::new_derive_key(CONTEXT);
    if path.is_dir() {
        directory(path, &mut hasher)?;
    } else {
        table(path, &mut hasher)?;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// The digest as 64 hexadecimal digits.
///
/// # Errors
/// When the file cannot be read as a table.
pub fn hex(path: &Path) -> Result<String, String> {
    digest(path).map(|bytes| blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

fn directory(path: &Path, hasher: &mut Hasher) -> Result<(), String> {
    let mut entries: Vec<_> = std::fs::read_dir(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("cannot list `{}`: {e}", path.display()))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let inner = entry.path();
        let name = entry.file_name();
        frame(hasher, name.as_encoded_bytes());
        if inner.is_dir() {
            hasher.update(b"d");
            directory(&inner, hasher)?;
            hasher.update(b"e");
        } else if inner.extension().is_some_and(|e| e == "parquet") {
            hasher.update(b"t");
            table(&inner, hasher)?;
        } else {
            hasher.update(b"f");
            let bytes = std::fs::read(&inner).map_err(|e| format!("cannot read `{}`: {e}", inner.display()))?;
            frame(hasher, &bytes);
        }
    }
    Ok(())
}

fn table(path: &Path, hasher: &mut Hasher) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("cannot read `{}` as a table: {e}", path.display());
    let open = || File::open(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()));
    let metadata = ArrowReaderMetadata::load(&open()?, Default::default()).map_err(|e| failed(&e))?;
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    hasher.update(&rows.to_le_bytes());
    hasher.update(&(metadata.schema().fields().len() as u64).to_le_bytes());
    // One column at a time: memory stays within a batch of one column.
    for (place, field) in metadata.schema().fields().iter().enumerate() {
        frame(hasher, field.name().as_bytes());
        frame(hasher, type_name(field.data_type()).as_bytes());
        let mask = ProjectionMask::roots(metadata.parquet_schema(), [place]);
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(open()?, metadata.clone())
            .with_projection(mask)
            .with_batch_size(8_192)
            .build()
            .map_err(|e| failed(&e))?;
        for batch in batches {
            let batch = batch.map_err(|e| failed(&e))?;
            values(batch.column(0), hasher).map_err(|e| failed(&e))?;
        }
    }
    Ok(())
}

fn type_name(of: &DataType) -> String {
    match of {
        DataType::List(item) => format!("List({})", type_name(item.data_type())),
        other => other.to_string(),
    }
}

macro_rules! numbers {
    ($array:expr, $of:ty, $hasher:expr) => {{
        let mut bytes = Vec::with_capacity($array.len() * 9);
        for value in $array.as_primitive::<$of>() {
            match value {
                Some(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
                None => bytes.push(0),
            }
        }
        $hasher.update(&bytes);
    }};
}

fn values(array: &dyn Array, hasher: &mut Hasher) -> Result<(), String> {
    match array.data_type() {
        DataType::UInt32 => numbers!(array, UInt32Type, hasher),
        DataType::UInt64 => numbers!(array, UInt64Type, hasher),
        DataType::Int32 => numbers!(array, Int32Type, hasher),
        DataType::Int64 => numbers!(array, Int64Type, hasher),
        DataType::Float64 => numbers!(array, Float64Type, hasher),
        DataType::Utf8 => {
            for value in array.as_string::<i32>() {
                match value {
                    Some(text) => {
                        hasher.update(&[1]);
                        frame(hasher, text.as_bytes());
                    }
                    None => {
                        hasher.update(&[0]);
                    }
                }
            }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            for row in 0..list.len() {
                if list.is_null(row) {
                    hasher.update(&[0]);
                    continue;
                }
                hasher.update(&[1]);
                let items = list.value(row);
                hasher.update(&(items.len() as u64).to_le_bytes());
                values(&items, hasher)?;
            }
        }
        other => return Err(format!("columns of type {other} are not part of any table")),
    }
    Ok(())
}

fn frame(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
