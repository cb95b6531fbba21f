//! SIDs in SQLite databases (`StateRepository-*.srd`), through SQLite itself: bytes and log in, bytes out.
//!
//! The database never touches the host's file system: its log is applied here, SQLite works on a byte string in memory.
//! Triggers are switched off for the connection, so that none fires and the schema's bytes stay: those of Windows call functions
//! that plain SQLite lacks. Whatever is not understood leaves the store as it is.

mod rows;
#[cfg(test)]
mod tests;
mod wal;

use reseal_dtyp::{Error, Kind, Result};
use reseal_sid::{Form, SidMap};
use rows::TableEdit;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, MAIN_DB};

/// A larger database is left.
pub(crate) const MAX_LEN: usize = 512 << 20;
/// Instructions of SQLite's machine between two looks at how many there were, and how many looks there may be.
const LOOK_EVERY: i32 = 10_000;
const MAX_LOOKS: u32 = 50_000;

/// File format of a database in WAL mode and outside it: header bytes 18 and 19.
const WRITE_VERSION: usize = 18;
const READ_VERSION: usize = 19;
const LEGACY: u8 = 1;
const WAL: u8 = 2;

/// A store with new SIDs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The whole database; its log is to be emptied, for it is in here.
    pub(crate) database: Vec<u8>,
    /// Rows that changed.
    pub(crate) rows: usize,
    /// SIDs replaced in them.
    pub(crate) sids: usize,
    /// SIDs erased in free space.
    pub(crate) erased: usize,
}

/// Replaces SIDs in every table. `None` when neither the database nor its log holds one; an error says why it must be left.
pub(crate) fn rewrite(database: &[u8], log: &[u8], map: &SidMap) -> Result<Option<Rewritten>> {
    let merged = wal::merged(database, log, MAX_LEN)?;
    let modes = understood(&merged)?;
    let mut store = open(&merged)?;
    sound(&store)?;
    let before = rows::read(&store, map)?;
    let anywhere = map.is_in(database) || map.is_in(log) || map.is_in(&merged);
    if !anywhere && before.edits.is_empty() {
        return Ok(None);
    }
    before.refuse_what_is_not_understood(map)?;
    let foreign_keys = broken_foreign_keys(&store)?;
    apply(&mut store, &before.edits)?;
    let after = rows::read(&store, map)?;
    // What is there now is what was there, with other SIDs, and nothing else.
    if !after.edits.is_empty() || after.digest_now != before.digest_mapped || after.schema != before.schema {
        return Err(damaged("it reads back differently"));
    }
    if broken_foreign_keys(&store)? != foreign_keys {
        return Err(damaged("other foreign keys are broken afterwards"));
    }
    sound(&store)?;
    let mut bytes = store.serialize(MAIN_DB).map_err(failed)?.to_vec();
    drop(store);
    let erased = erase(&mut bytes, map)?;
    if erased > 0 {
        let store = open(&bytes)?;
        sound(&store)?;
        if rows::read(&store, map)? != after {
            return Err(damaged("a SID outside its rows is no free space"));
        }
    }
    [bytes[WRITE_VERSION], bytes[READ_VERSION]] = modes;
    if !kept(&merged, &bytes) {
        return Err(damaged("its header would change"));
    }
    let sum = |count: fn(&TableEdit) -> usize| before.edits.iter().map(count).sum();
    Ok(Some(Rewritten { database: bytes, rows: sum(|e| e.rows.len()), sids: sum(|e| e.sids), erased }))
}

fn damaged(detail: &str) -> Error {
    Error::new(Kind::Damaged, detail.to_owned())
}

/// What SQLite says, without the text of the store.
fn failed(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(code) => Error::new(Kind::Damaged, format!("SQLite: {code:?}: {error}")),
        None => Error::new(Kind::Damaged, format!("SQLite: {error}")),
    }
}

/// The file format versions, when the header is one that is handled.
fn understood(database: &[u8]) -> Result<[u8; 2]> {
    if database.len() > MAX_LEN {
        let detail = format!("{} bytes, at most {MAX_LEN} are handled", database.len());
        return Err(Error::new(Kind::Limit, detail));
    }
    if database.len() < 512 || !database.starts_with(b"SQLite format 3\0") {
        return Err(damaged("no header of SQLite 3"));
    }
    let page_len = match u16::from_be_bytes([database[16], database[17]]) {
        1 => 65_536,
        len => usize::from(len),
    };
    let count = u32::from_be_bytes([database[28], database[29], database[30], database[31]]) as usize;
    if page_len < 512 || count.checked_mul(page_len) != Some(database.len()) {
        let detail = format!("its header says {count} pages of {page_len} bytes, it has {} bytes", database.len());
        return Err(Error::new(Kind::Damaged, detail));
    }
    match [database[WRITE_VERSION], database[READ_VERSION]] {
        modes @ ([LEGACY, LEGACY] | [WAL, WAL]) => Ok(modes),
        [write, read] => Err(damaged(&format!("file format {write}, {read} is not known"))),
    }
}

/// A connection to a copy in memory that can neither reach a file nor run code of the store.
fn open(database: &[u8]) -> Result<Connection> {
    let prepare = || -> rusqlite::Result<Connection> {
        let mut bytes = database.to_vec();
        // A database in memory has no log beside it.
        [bytes[WRITE_VERSION], bytes[READ_VERSION]] = [LEGACY, LEGACY];
        let mut store = Connection::open_in_memory()?;
        for (config, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
        ] {
            store.set_db_config(config, on)?;
        }
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_LENGTH, 64 << 20),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
            (Limit::SQLITE_LIMIT_COLUMN, 1000),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            store.set_limit(limit, most)?;
        }
        let mut looks = 0;
        let enough = move || {
            looks += 1;
            looks > MAX_LOOKS
        };
        store.progress_handler(LOOK_EVERY, Some(enough))?;
        store.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), false)?;
        // What a row gives up is overwritten; the journal and sorting stay in memory.
        store.execute_batch("PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON;")?;
        Ok(store)
    };
    prepare().map_err(failed)
}

/// SQLite's own check: pages, order, indexes against rows.
fn sound(store: &Connection) -> Result<()> {
    let line: String = store.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if line == "ok" { Ok(()) } else { Err(damaged(&format!("its integrity check says: {line}"))) }
}

/// How many rows break a foreign key.
fn broken_foreign_keys(store: &Connection) -> Result<usize> {
    let count = || -> rusqlite::Result<usize> {
        let mut statement = store.prepare("PRAGMA foreign_key_check")?;
        let (mut rows, mut n) = (statement.query([])?, 0);
        while rows.next()?.is_some() {
            n += 1;
        }
        Ok(n)
    };
    count().map_err(failed)
}

/// All rows in one transaction.
fn apply(store: &mut Connection, edits: &[TableEdit]) -> Result<()> {
    let mut run = || -> rusqlite::Result<()> {
        let transaction = store.transaction()?;
        for edit in edits {
            edit.apply(&transaction)?;
        }
        transaction.commit()
    };
    run().map_err(failed)
}

/// Erases what still stands outside of every row: pages and cells that are free. Text and bytes become zero.
fn erase(bytes: &mut [u8], map: &SidMap) -> Result<usize> {
    let found: Vec<_> = map.find(bytes).collect();
    for occurrence in &found {
        let old = map.pairs()[occurrence.pair].0;
        let len = match occurrence.form {
            Form::Binary => 24,
            Form::Ascii => old.to_string().len(),
            Form::Utf16 => 2 * old.to_string().len(),
        };
        let end = bytes.len().min(occurrence.offset + len);
        bytes[occurrence.offset..end].fill(0);
    }
    Ok(found.len())
}

/// Whether the header says the same: page size, formats, fractions, auto-vacuum, encoding, user version, application id.
fn kept(before: &[u8], after: &[u8]) -> bool {
    [16..24, 44..48, 52..72].into_iter().all(|range| before[range.clone()] == after[range])
}
