//! Parquet to rows, checked against the table's schema before the first row and value by value behind it.

use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::array::{UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::KeyValue;

use super::write::data_type;
use super::{Column, Holds, Record, Table, TableError};

const BATCH_ROWS: usize = 8_192;

/// A table file, read row by row with bounded memory.
pub struct Reader<R: Record> {
    path: PathBuf,
    rows: u64,
    notes: Vec<KeyValue>,
    batches: ParquetRecordBatchReader,
    /// For each column of the table, its place in a batch.
    places: Vec<usize>,
    /// The batch at hand, one entry a column; rows `at..end` are still to come, row 0 of it is row `first` of the file.
    columns: Vec<Values>,
    at: usize,
    end: usize,
    first: u64,
    records: PhantomData<fn() -> R>,
}

impl<R: Record> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<R: Record> Reader<R> {
    /// Opens the file and checks that it is this table: name and format where it says so, columns and their types.
    /// Further columns are left alone.
    ///
    /// # Errors
    /// When it cannot be read, is no Parquet file, is not whole, or has another schema.
    pub fn open(path: &Path) -> Result<Reader<R>, TableError> {
        let table = R::TABLE;
        let file = File::open(path).map_err(|source| TableError::Io {
            doing: "read",
            table: table.name,
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| TableError::Parquet { doing: "read", table: table.name, path: path.to_owned(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        let metadata = builder.metadata().file_metadata();
        let notes = metadata.key_value_metadata().cloned().unwrap_or_default();
        let rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
        check_identity(&table, path, &notes)?;
        check_schema(&table, path, builder.schema())?;
        let wanted = table.columns.iter().map(|c| c.name);
        let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
        let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)?;
        let schema = arrow::array::RecordBatchReader::schema(&batches);
        let places = table
            .columns
            .iter()
            .map(|c| schema.index_of(c.name).expect("the column was there, and was asked for"))
            .collect();
        Ok(Reader {
            path: path.to_owned(),
            rows,
            notes,
            batches,
            places,
            columns: Vec::new(),
            at: 0,
            end: 0,
            first: 0,
            records: PhantomData,
        })
    }

    /// Rows in the file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What the writer noted beside the rows under this name.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.iter().find(|entry| entry.key == name).and_then(|entry| entry.value.as_deref())
    }

    fn next_batch(&mut self) -> Result<bool, TableError> {
        self.first += self.end as u64;
        (self.at, self.end) = (0, 0);
        let Some(batch) = self.batches.next() else { return Ok(false) };
        let batch = batch.map_err(|source| TableError::Parquet {
            doing: "read",
            table: R::TABLE.name,
            path: self.path.clone(),
            source: source.into(),
        })?;
        self.columns.clear();
        for (column, place) in R::TABLE.columns.iter().zip(&self.places) {
            self.columns.push(Values::checked(&batch, *place, column, &self.path, self.first)?);
        }
        self.end = batch.num_rows();
        Ok(true)
    }
}

impl<R: Record> Iterator for Reader<R> {
    type Item = Result<R, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at == self.end {
            match self.next_batch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
        let mut cells = Cells { columns: &self.columns, row: self.at, next: 0 };
        self.at += 1;
        Some(Ok(R::take(&mut cells)))
    }
}

/// A file that names its table must name this one; one that names none (made elsewhere) is judged by its columns.
fn check_identity(table: &Table, path: &Path, notes: &[KeyValue]) -> Result<(), TableError> {
    let note = |name: &str| notes.iter().find(|e| e.key == name).and_then(|e| e.value.as_deref());
    let Some(name) = note("table") else { return Ok(()) };
    let format = note("format").unwrap_or("?");
    if name != table.name || format != table.format.to_string() {
        return Err(TableError::Other {
            path: path.to_owned(),
            wanted: format!("{}/{}", table.name, table.format),
            found: format!("{name}/{format}"),
        });
    }
    Ok(())
}

fn check_schema(table: &Table, path: &Path, schema: &Schema) -> Result<(), TableError> {
    for column in table.columns {
        let Ok(field) = schema.field_with_name(column.name) else {
            return Err(TableError::Missing {
                table: table.name,
                path: path.to_owned(),
                column: column.name,
                found: schema.fields().iter().map(|f| f.name().clone()).collect(),
            });
        };
        if !same_type(field.data_type(), column.holds) {
            return Err(TableError::Type {
                path: path.to_owned(),
                column: column.name,
                wanted: data_type(column.holds).to_string(),
                found: field.data_type().to_string(),
            });
        }
    }
    Ok(())
}

/// Names of a list's items differ between writers and mean nothing.
fn same_type(found: &DataType, holds: Holds) -> bool {
    match (found, holds) {
        (DataType::List(item), Holds::U32List) => *item.data_type() == DataType::UInt32,
        (DataType::List(item), Holds::U64List) => *item.data_type() == DataType::UInt64,
        (found, holds) => *found == data_type(holds),
    }
}

#[derive(Debug)]
enum Values {
    U32(UInt32Array),
    U64(UInt64Array),
    I32(Int32Array),
    F64(Float64Array),
    Text(StringArray),
    U32List(ListArray, UInt32Array),
    U64List(ListArray, UInt64Array),
}

impl Values {
    fn checked(
        batch: &RecordBatch,
        place: usize,
        column: &Column,
        path: &Path,
        first: u64,
    ) -> Result<Values, TableError> {
        let array: &ArrayRef = batch.column(place);
        let absent =
            |row: usize| TableError::Null { path: path.to_owned(), column: column.name, row: first + row as u64 };
        if !column.nullable
            && let Some(row) = first_null(array)
        {
            return Err(absent(row));
        }
        let values = match column.holds {
            Holds::U32 => Values::U32(array.as_primitive().clone()),
            Holds::U64 => Values::U64(array.as_primitive().clone()),
            Holds::I32 => Values::I32(array.as_primitive().clone()),
            Holds::F64 => Values::F64(array.as_primitive().clone()),
            Holds::Text => Values::Text(array.as_string().clone()),
            Holds::U32List => {
                let list = array.as_list::<i32>();
                Values::U32List(list.clone(), list.values().as_primitive().clone())
            }
            Holds::U64List => {
                let list = array.as_list::<i32>();
                Values::U64List(list.clone(), list.values().as_primitive().clone())
            }
        };
        if let Values::F64(numbers) = &values
            && let Some(row) = numbers.iter().position(|v| v.is_some_and(|v| !v.is_finite()))
        {
            let value = numbers.value(row);
            return Err(TableError::NotFinite {
                path: path.to_owned(),
                column: column.name,
                row: first + row as u64,
                value,
            });
        }
        if let Values::U32List(list, _) | Values::U64List(list, _) = &values
            && list.values().null_count() > 0
        {
            let row = (0..list.len()).find(|row| list.value(*row).null_count() > 0).unwrap_or(0);
            return Err(absent(row));
        }
        Ok(values)
    }
}

fn first_null(array: &ArrayRef) -> Option<usize> {
    if array.null_count() == 0 {
        return None;
    }
    (0..array.len()).find(|row| array.is_null(*row))
}

/// One row of a file, from which a [`Record`] takes its fields in the order of its table's columns.
#[derive(Debug)]
pub struct Cells<'a> {
    columns: &'a [Values],
    row: usize,
    next: usize,
}

macro_rules! take {
    ($(#[$doc:meta] $name:ident $maybe:ident $variant:ident $of:ty;)*) => {
        $(
            #[$doc]
            ///
            /// # Panics
            /// When the next column is of another type.
            pub fn $name(&mut self) -> $of {
                match self.step() {
                    (Values::$variant(array), row) => array.value(row),
                    _ => out_of_order(),
                }
            }

            /// The same for a column in which a row may lack a value.
            ///
            /// # Panics
            /// When the next column is of another type.
            pub fn $maybe(&mut self) -> Option<$of> {
                match self.step() {
                    (Values::$variant(array), row) => array.is_valid(row).then(|| array.value(row)),
                    _ => out_of_order(),
                }
            }
        )*
    };
}

impl<'a> Cells<'a> {
    take! {
        /// A `U32`.
        u32 maybe_u32 U32 u32;
        /// A `U64`.
        u64 maybe_u64 U64 u64;
        /// An `I32`.
        i32 maybe_i32 I32 i32;
        /// An `F64`, finite.
        f64 maybe_f64 F64 f64;
        /// A `Text`.
        text maybe_text Text &'a str;
    }

    /// A `U32List`.
    ///
    /// # Panics
    /// When the next column is of another type.
    pub fn u32_list(&mut self) -> &'a [u32] {
        match self.step() {
            (Values::U32List(list, values), row) => &values.values()[span(list, row)],
            _ => out_of_order(),
        }
    }

    /// A `U64List`.
    ///
    /// # Panics
    /// When the next column is of another type.
    pub fn u64_list(&mut self) -> &'a [u64] {
        match self.step() {
            (Values::U64List(list, values), row) => &values.values()[span(list, row)],
            _ => out_of_order(),
        }
    }

    fn step(&mut self) -> (&'a Values, usize) {
        let columns: &'a [Values] = self.columns;
        let at = self.next;
        self.next += 1;
        (columns.get(at).unwrap_or_else(|| out_of_order()), self.row)
    }
}

fn span(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    let place = |i: usize| usize::try_from(offsets[i]).expect("offsets of a list are not negative");
    place(row)..place(row + 1)
}

fn out_of_order() -> ! {
    panic!("a record takes its fields in the order and with the types of its table's columns")
}
