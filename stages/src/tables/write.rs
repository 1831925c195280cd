//! Rows to Parquet, with bounded memory and the same bytes for the same rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, ListBuilder, RecordBatch, StringBuilder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use super::{Column, Holds, Record, Table, TableError};

/// Rows that are handed to Parquet at once.
const BATCH_ROWS: usize = 8_192;
/// List values that are handed to Parquet at once, whatever the number of rows.
const BATCH_VALUES: usize = 1 << 20;
/// Rows of a row group at most.
const GROUP_ROWS: usize = 1 << 18;
/// Encoded bytes of a row group at which it is closed.
const GROUP_BYTES: usize = 64 << 20;
/// Stands in the file where a library would put its own name and version, which would change bytes with it.
const CREATED_BY: &str = "pipe tables 1";

/// A table file that grows row by row. Memory stays within one row group.
pub struct Writer<R: Record> {
    path: PathBuf,
    parquet: ArrowWriter<File>,
    schema: Arc<Schema>,
    slots: Slots,
    written: u64,
    rows: PhantomData<fn(&R)>,
}

impl<R: Record> std::fmt::Debug for Writer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl<R: Record> Writer<R> {
    /// A new file at `path`; `notes` go into its metadata, sorted by name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, notes: &[(&str, String)]) -> Result<Writer<R>, TableError> {
        let table = R::TABLE.name;
        let file = File::create(path).map_err(|source| TableError::Io {
            doing: "write",
            table,
            path: path.to_owned(),
            source,
        })?;
        let schema = Arc::new(schema(&R::TABLE));
        let options =
            ArrowWriterOptions::new().with_properties(properties(&R::TABLE, notes)).with_skip_arrow_metadata(true);
        let parquet = ArrowWriter::try_new_with_options(file, schema.clone(), options)
            .map_err(|source| TableError::Parquet { doing: "write", table, path: path.to_owned(), source })?;
        let slots = Slots::new(R::TABLE.columns);
        Ok(Writer { path: path.to_owned(), parquet, schema, slots, written: 0, rows: PhantomData })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.written + self.slots.rows as u64
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When a value is not finite, or the file cannot be written.
    pub fn push(&mut self, row: &R) -> Result<(), TableError> {
        row.put(&mut self.slots);
        if let Some((column, value)) = self.slots.end_row() {
            return Err(TableError::NotFinite { path: self.path.clone(), column, row: self.rows() - 1, value });
        }
        if self.slots.rows >= BATCH_ROWS || self.slots.values >= BATCH_VALUES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is left and the footer; without it the file is not a table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), TableError> {
        self.flush()?;
        let failed = failed::<R>(&self.path);
        self.parquet.close().map_err(failed)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TableError> {
        if self.slots.rows == 0 {
            return Ok(());
        }
        self.written += self.slots.rows as u64;
        let arrays = self.slots.drain();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).expect("the slots were made from this schema");
        self.parquet.write(&batch).map_err(failed::<R>(&self.path))?;
        if self.parquet.in_progress_size() >= GROUP_BYTES {
            self.parquet.flush().map_err(failed::<R>(&self.path))?;
        }
        Ok(())
    }
}

fn failed<R: Record>(path: &Path) -> impl Fn(parquet::errors::ParquetError) -> TableError {
    let path = path.to_owned();
    move |source| TableError::Parquet { doing: "write", table: R::TABLE.name, path: path.clone(), source }
}

fn properties(table: &Table, notes: &[(&str, String)]) -> WriterProperties {
    let mut entries: BTreeMap<&str, String> = notes.iter().map(|(name, value)| (*name, value.clone())).collect();
    entries.insert("table", table.name.to_owned());
    entries.insert("format", table.format.to_string());
    let entries = entries.into_iter().map(|(name, value)| KeyValue::new(name.to_owned(), value)).collect();
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(Some(entries))
        .build()
}

pub(super) fn schema(table: &Table) -> Schema {
    Schema::new(
        table.columns.iter().map(|c| Field::new(c.name, data_type(c.holds), c.nullable)).collect::<Vec<Field>>(),
    )
}

pub(super) fn data_type(holds: Holds) -> DataType {
    match holds {
        Holds::U32 => DataType::UInt32,
        Holds::U64 => DataType::UInt64,
        Holds::I32 => DataType::Int32,
        Holds::F64 => DataType::Float64,
        Holds::Text => DataType::Utf8,
        Holds::U32List => DataType::List(Arc::new(item(DataType::UInt32))),
        Holds::U64List => DataType::List(Arc::new(item(DataType::UInt64))),
    }
}

fn item(holds: DataType) -> Field {
    Field::new("item", holds, false)
}

/// Where a [`Record`] puts its fields, in the order of its table's columns.
#[derive(Debug)]
pub struct Slots {
    columns: &'static [Column],
    builders: Vec<Builder>,
    next: usize,
    rows: usize,
    values: usize,
    not_finite: Option<(&'static str, f64)>,
}

#[derive(Debug)]
enum Builder {
    U32(UInt32Builder),
    U64(UInt64Builder),
    I32(Int32Builder),
    F64(Float64Builder),
    Text(StringBuilder),
    U32List(ListBuilder<UInt32Builder>),
    U64List(ListBuilder<UInt64Builder>),
}

macro_rules! put {
    ($(#[$doc:meta] $name:ident $maybe:ident $variant:ident $of:ty;)*) => {
        $(
            #[$doc]
            ///
            /// # Panics
            /// When the next column is of another type.
            pub fn $name(&mut self, value: $of) {
                self.$maybe(Some(value));
            }

            /// The same for a column in which a row may lack a value.
            ///
            /// # Panics
            /// When the next column is of another type.
            pub fn $maybe(&mut self, value: Option<$of>) {
                match self.step() {
                    Builder::$variant(builder) => builder.append_option(value),
                    _ => out_of_order(),
                }
            }
        )*
    };
}

impl Slots {
    fn new(columns: &'static [Column]) -> Slots {
        let builders = columns
            .iter()
            .map(|c| match c.holds {
                Holds::U32 => Builder::U32(UInt32Builder::new()),
                Holds::U64 => Builder::U64(UInt64Builder::new()),
                Holds::I32 => Builder::I32(Int32Builder::new()),
                Holds::F64 => Builder::F64(Float64Builder::new()),
                Holds::Text => Builder::Text(StringBuilder::new()),
                Holds::U32List => {
                    Builder::U32List(ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32)))
                }
                Holds::U64List => {
                    Builder::U64List(ListBuilder::new(UInt64Builder::new()).with_field(item(DataType::UInt64)))
                }
            })
            .collect();
        Slots { columns, builders, next: 0, rows: 0, values: 0, not_finite: None }
    }

    put! {
        /// A `U32`.
        u32 maybe_u32 U32 u32;
        /// A `U64`.
        u64 maybe_u64 U64 u64;
        /// An `I32`.
        i32 maybe_i32 I32 i32;
        /// A `Text`.
        text maybe_text Text &str;
    }

    /// An `F64`; one that is not finite makes the writer refuse the row.
    ///
    /// # Panics
    /// When the next column is of another type.
    pub fn f64(&mut self, value: f64) {
        if !value.is_finite() {
            self.not_finite = self.not_finite.or(Some((self.columns[self.next].name, value)));
        }
        match self.step() {
            Builder::F64(builder) => builder.append_value(value),
            _ => out_of_order(),
        }
    }

    /// A `U32List`.
    ///
    /// # Panics
    /// When the next column is of another type.
    pub fn u32_list(&mut self, values: &[u32]) {
        self.values += values.len();
        match self.step() {
            Builder::U32List(builder) => {
                builder.values().append_slice(values);
                builder.append(true);
            }
            _ => out_of_order(),
        }
    }

    /// A `U64List`.
    ///
    /// # Panics
    /// When the next column is of another type.
    pub fn u64_list(&mut self, values: &[u64]) {
        self.values += values.len();
        match self.step() {
            Builder::U64List(builder) => {
                builder.values().append_slice(values);
                builder.append(true);
            }
            _ => out_of_order(),
        }
    }

    fn step(&mut self) -> &mut Builder {
        let at = self.next;
        self.next += 1;
        self.builders.get_mut(at).unwrap_or_else(|| out_of_order())
    }

    /// Ends a row; gives the first of its values that was not finite.
    fn end_row(&mut self) -> Option<(&'static str, f64)> {
        assert_eq!(self.next, self.columns.len(), "a record puts every field of its table");
        self.next = 0;
        self.rows += 1;
        self.not_finite
    }

    fn drain(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.values = 0;
        self.builders
            .iter_mut()
            .map(|builder| -> ArrayRef {
                match builder {
                    Builder::U32(b) => Arc::new(b.finish()),
                    Builder::U64(b) => Arc::new(b.finish()),
                    Builder::I32(b) => Arc::new(b.finish()),
                    Builder::F64(b) => Arc::new(b.finish()),
                    Builder::Text(b) => Arc::new(b.finish()),
                    Builder::U32List(b) => Arc::new(b.finish()),
                    Builder::U64List(b) => Arc::new(b.finish()),
                }
            })
            .collect()
    }
}

fn out_of_order() -> ! {
    panic!("a record puts its fields in the order and with the types of its table's columns")
}
