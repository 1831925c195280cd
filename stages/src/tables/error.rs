//! What can be wrong with a table's file.

use std::path::PathBuf;

use engine::kind::StageError;

/// A table's file cannot be read or written as that table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file system refused.
    #[error("cannot {doing} the table `{table}` at `{}`", path.display())]
    Io {
        /// `read`, `write`.
        doing: &'static str,
        /// The table's name.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The bytes are not Parquet, or not whole.
    #[error("cannot {doing} the table `{table}` at `{}` as parquet", path.display())]
    Parquet {
        /// `read`, `write`.
        doing: &'static str,
        /// The table's name.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: parquet::errors::ParquetError,
    },
    /// It is another table, or another format of it.
    #[error("`{}` holds the table `{found}`, wanted `{wanted}`", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// `requests/1`.
        wanted: String,
        /// What its metadata say.
        found: String,
    },
    /// A column is not there.
    #[error("the table `{table}` at `{}` has no column `{column}`", path.display())]
    Missing {
        /// The table's name.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// What it has.
        found: Vec<String>,
    },
    /// A column has another type.
    #[error("column `{column}` of `{}` is {found}, wanted {wanted}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// As the table has it.
        wanted: String,
        /// As the file has it.
        found: String,
    },
    /// A value is absent where every row must have one.
    #[error("column `{column}` of `{}` is empty in row {row}", path.display())]
    Null {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// 0-based.
        row: u64,
    },
    /// A number is infinite or not a number.
    #[error("column `{column}` of `{}` is {value} in row {row}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// 0-based.
        row: u64,
        /// What it is.
        value: f64,
    },
    /// Rows contradict each other or the table's rules.
    #[error("row {row} of `{}`: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// 0-based.
        row: u64,
        /// What is wrong.
        message: String,
    },
    /// A JSON file beside a table does not fit its type.
    #[error("cannot read `{}`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl TableError {
    /// What to do about it, where something can be said.
    pub fn help(&self) -> Option<String> {
        match self {
            TableError::Parquet { doing: "read", .. } => Some(
                "the file is truncated or is no Parquet file; make it again (`pipe run … --again STAGE`)".to_owned(),
            ),
            TableError::Missing { found, .. } => Some(format!("it has: {}", found.join(", "))),
            TableError::Type { wanted, .. } => Some(format!("cast the column to {wanted} before it is handed in")),
            TableError::Other { .. } => {
                Some("wire the output that holds this table, or make it again with this version of `pipe`".to_owned())
            }
            _ => None,
        }
    }
}

impl From<TableError> for StageError {
    fn from(error: TableError) -> StageError {
        let mut stage = StageError::new(error.to_string());
        if let Some(source) = std::error::Error::source(&error) {
            stage = stage.because(source);
        }
        match error.help() {
            Some(help) => stage.help(help),
            None => stage,
        }
    }
}
