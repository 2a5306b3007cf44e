//! One column of a Parquet file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde_json::Value;

use super::compressed::check_start;
use super::{Error, Reader, Visit, missing, open, unreadable};

/// Rows that are in memory at a time: documents may be books.
const ROWS: usize = 32;

impl Reader<'_> {
    /// Hands over the documents of the column.
    pub(super) fn rows(&self, visit: Visit<'_>) -> Result<(), Error> {
        let (file, bytes) = self.parquet()?;
        let reader = self.guarded(|| SerializedFileReader::new(file))?;
        let metadata = reader.metadata().file_metadata();
        let (rows, column) = (metadata.num_rows().max(1) as u64, self.column(metadata.schema())?);
        let mut all = self.guarded(|| RowIter::from_file(Some(column), &reader))?.with_batch_size(ROWS);
        for row in 1.. {
            let Some(found) = self.guarded(|| all.next().transpose())? else { break };
            let field = found.into_columns().pop().map_or(Field::Null, |(_, field)| field);
            self.value(&value(field), row, visit)?;
            self.at.set((u128::from(bytes) * row as u128 / u128::from(rows)) as u64);
        }
        Ok(())
    }

    /// What the library makes of the file. It panics on some files whose numbers contradict each other.
    fn guarded<T>(&self, read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, Error> {
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(done) => done.map_err(|error| self.damaged(&error)),
            Err(_) => Err(self.damaged(&"its numbers contradict each other")),
        }
    }

    /// The open file and its bytes.
    fn parquet(&self) -> Result<(File, u64), Error> {
        let (mut file, mut start) = (open(self.path)?, vec![]);
        let begun = file.by_ref().take(64).read_to_end(&mut start).and_then(|_| file.seek(SeekFrom::Start(0)));
        let bytes = begun.and_then(|_| file.metadata()).map_err(|error| unreadable(self.path, &error))?.len();
        check_start(self.path, "Parquet", &start)?;
        Ok((file, bytes))
    }

    /// The schema with nothing but the field.
    fn column(&self, schema: &Type) -> Result<Type, Error> {
        let (name, fields) = (self.format.field(), schema.get_fields());
        let Some(field) = fields.iter().find(|field| field.name() == name) else {
            let reason = missing(name, fields.iter().map(|field| field.name()), "the file");
            return Err(Error::File { path: self.path.to_owned(), reason });
        };
        let alone = Type::group_type_builder(schema.name()).with_fields(vec![Arc::clone(field)]).build();
        alone.map_err(|error| self.damaged(&error))
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        let reason = format!("is no Parquet file that can be read ({error}); fetch it again");
        Error::File { path: self.path.to_owned(), reason }
    }
}

/// As JSON would say it; old writers do not mark text as such.
fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, Value::from),
        other => other.to_json_value(),
    }
}
