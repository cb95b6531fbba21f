//! Every row of every table, with its SIDs as they shall be.

use super::failed;
use reseal_dtyp::{Error, Kind, Result};
use reseal_sid::SidMap;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ToSql};
use sha2::{Digest, Sha256};

/// What the tables hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Type, name, table and text of everything in the schema.
    pub(super) schema: Vec<[String; 4]>,
    /// Tables that need an edit.
    pub(super) edits: Vec<TableEdit>,
    /// Digest of all rows as they are.
    pub(super) digest_now: [u8; 32],
    /// Digest of all rows as they shall be.
    pub(super) digest_mapped: [u8; 32],
}

/// Rows of one table to change.
#[derive(Debug, PartialEq)]
pub(super) struct TableEdit {
    table: String,
    /// The name by which the row number can be asked for; `None` in a table without.
    rowid: Option<&'static str>,
    /// Columns with a value that is computed from others.
    generated: bool,
    /// Row number; column name and new value.
    pub(super) rows: Vec<(i64, Vec<(String, Value)>)>,
    /// SIDs in them.
    pub(super) sids: usize,
    /// SIDs in binary data that the new text does not fit.
    left: usize,
}

// A REAL is never edited, so that equality is one.
impl Eq for TableEdit {}

/// One table as the schema tells it.
struct Table {
    name: String,
    columns: Vec<String>,
    rowid: Option<&'static str>,
    generated: bool,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Reads everything.
pub(super) fn read(store: &Connection, map: &SidMap) -> Result<Content> {
    let all = || -> rusqlite::Result<Content> {
        let schema = schema(store)?;
        let (mut now, mut mapped) = (Sha256::new(), Sha256::new());
        let mut edits = Vec::new();
        for name in stored_tables(store)? {
            let edit = scan(store, table(store, name)?, map, [&mut now, &mut mapped])?;
            edits.extend((edit.sids + edit.left > 0).then_some(edit));
        }
        Ok(Content { schema, edits, digest_now: now.finalize().into(), digest_mapped: mapped.finalize().into() })
    };
    all().map_err(failed)
}

fn schema(store: &Connection) -> rusqlite::Result<Vec<[String; 4]>> {
    let text = "SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema ORDER BY rowid";
    let mut statement = store.prepare(text)?;
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    rows.collect()
}

/// Tables that have pages of their own; virtual ones have none.
fn stored_tables(store: &Connection) -> rusqlite::Result<Vec<String>> {
    let text = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY rowid";
    store.prepare(text)?.query_map([], |row| row.get(0))?.collect()
}

fn table(store: &Connection, name: String) -> rusqlite::Result<Table> {
    let mut statement = store.prepare("SELECT name, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let all: Vec<(String, i64)> =
        statement.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let without = "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND name = ?1 AND wr = 0";
    let has_rowid: i64 = store.query_row(without, [&name], |row| row.get(0))?;
    let is_free = |word: &&&'static str| !all.iter().any(|(column, _)| column.eq_ignore_ascii_case(word));
    let rowid = ["rowid", "_rowid_", "oid"].iter().find(is_free).copied().filter(|_| has_rowid > 0);
    let generated = all.iter().any(|(_, hidden)| *hidden != 0);
    let columns = all.into_iter().filter(|(_, hidden)| *hidden == 0).map(|(column, _)| column).collect();
    Ok(Table { name, columns, rowid, generated })
}

fn scan(
    store: &Connection,
    table: Table,
    map: &SidMap,
    [now, mapped]: [&mut Sha256; 2],
) -> rusqlite::Result<TableEdit> {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let key = table.rowid.unwrap_or("0");
    let text = match table.rowid {
        Some(rowid) => format!("SELECT {key}, {} FROM {} ORDER BY {rowid}", names.join(", "), quoted(&table.name)),
        None => format!("SELECT {key}, {} FROM {}", names.join(", "), quoted(&table.name)),
    };
    let mut statement = store.prepare(&text)?;
    let mut edit = TableEdit {
        table: table.name,
        rowid: table.rowid,
        generated: table.generated,
        rows: Vec::new(),
        sids: 0,
        left: 0,
    };
    for digest in [&mut *now, &mut *mapped] {
        digest.update(edit.table.as_bytes());
    }
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let mut changed = Vec::new();
        for digest in [&mut *now, &mut *mapped] {
            digest.update(number.to_le_bytes());
        }
        for (i, column) in table.columns.iter().enumerate() {
            let value = row.get_ref(i + 1)?;
            add(now, value);
            match replaced(value, map, &mut edit) {
                Some(new) => {
                    add(mapped, ValueRef::from(&new));
                    changed.push((column.clone(), new));
                }
                None => add(mapped, value),
            }
        }
        if !changed.is_empty() {
            edit.rows.push((number, changed));
        }
    }
    Ok(edit)
}

/// The value with its new SIDs; `None` when it holds none.
fn replaced(value: ValueRef<'_>, map: &SidMap, edit: &mut TableEdit) -> Option<Value> {
    match value {
        ValueRef::Text(text) => {
            let done = map.rewrite_text(text)?;
            edit.sids += done.hits.total();
            match String::from_utf8(done.bytes) {
                Ok(text) => Some(Value::Text(text)),
                // Text that is none cannot be given back as it was.
                Err(_) => {
                    edit.left += 1;
                    None
                }
            }
        }
        ValueRef::Blob(bytes) if map.is_in(bytes) => {
            let mut new = bytes.to_vec();
            let done = map.rewrite_in_place(&mut new);
            edit.sids += done.done.total();
            edit.left += done.left.total();
            (done.done.total() > 0).then_some(Value::Blob(new))
        }
        _ => None,
    }
}

/// Adds a value to a digest so that no two rows give the same bytes.
fn add(digest: &mut Sha256, value: ValueRef<'_>) {
    let bytes: &[u8] = match value {
        ValueRef::Null => return digest.update([0]),
        ValueRef::Integer(number) => {
            digest.update([1]);
            return digest.update(number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            digest.update([2]);
            return digest.update(number.to_bits().to_le_bytes());
        }
        ValueRef::Text(bytes) => {
            digest.update([3]);
            bytes
        }
        ValueRef::Blob(bytes) => {
            digest.update([4]);
            bytes
        }
    };
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

impl Content {
    /// A store is left as a whole where one part of what has to change is not understood.
    pub(super) fn refuse_what_is_not_understood(&self, map: &SidMap) -> Result<()> {
        let no = |detail: String| Err(Error::new(Kind::Unsupported, detail));
        let is_virtual =
            |text: &str| text.trim_start().get(..14).is_some_and(|t| t.eq_ignore_ascii_case("CREATE VIRTUAL"));
        if let Some([_, name, ..]) = self.schema.iter().find(|[.., sql]| is_virtual(sql)) {
            return no(format!("{name} is a virtual table, which other tables stand behind"));
        }
        if let Some([_, name, ..]) = self.schema.iter().find(|line| line.iter().any(|part| map.is_in(part.as_bytes())))
        {
            return no(format!("the schema itself names a SID, in {name}"));
        }
        for edit in &self.edits {
            let TableEdit { table, .. } = edit;
            if edit.rowid.is_none() {
                return no(format!("the table {table} has no row numbers"));
            }
            if edit.generated {
                return no(format!("the table {table} has generated columns"));
            }
            if edit.left > 0 {
                return no(format!(
                    "{} SIDs in {table} stand in binary data that the new text does not fit",
                    edit.left
                ));
            }
        }
        Ok(())
    }
}

impl TableEdit {
    /// Writes the rows.
    pub(super) fn apply(&self, store: &Connection) -> rusqlite::Result<()> {
        let Some(rowid) = self.rowid else { return Ok(()) };
        for (number, columns) in &self.rows {
            let sets: Vec<String> = columns.iter().map(|(name, _)| format!("{} = ?", quoted(name))).collect();
            let text = format!("UPDATE {} SET {} WHERE {rowid} = ?", quoted(&self.table), sets.join(", "));
            let number = Value::Integer(*number);
            let values = columns.iter().map(|(_, value)| value).chain([&number]);
            let values: Vec<&dyn ToSql> = values.map(|value| value as &dyn ToSql).collect();
            let changed = store.prepare(&text)?.execute(values.as_slice())?;
            if changed != 1 {
                return Err(rusqlite::Error::StatementChangedRows(changed));
            }
        }
        Ok(())
    }
}
