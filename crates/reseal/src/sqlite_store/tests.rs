use super::*;
use reseal_dtyp::DomainSid;
use rusqlite::functions::FunctionFlags;
use std::path::Path;

const OLD: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);
const NEW: DomainSid = DomainSid([7, 1_177_238_915, 4_000_000_000]);
const FOREIGN: DomainSid = DomainSid([397_955_417, 626_881_126, 188_441_444]);

fn map() -> SidMap {
    SidMap::new([(OLD, NEW)]).unwrap()
}

/// Tables in the manner of StateRepository: SIDs as bytes and as text, unique ones, indexes, triggers that call functions of
/// Windows' own.
const SCHEMA: &str = "
    CREATE TABLE User(_UserID INTEGER PRIMARY KEY NOT NULL, UserSid BLOB NOT NULL, WorkId INTEGER, UNIQUE(UserSid));
    CREATE TABLE PackageUser(Package INTEGER, User INTEGER REFERENCES User(_UserID) ON DELETE CASCADE, Note TEXT);
    CREATE TABLE \"Odd \"\"name\"(rowid TEXT, \"a b\" TEXT COLLATE NOCASE, x REAL DEFAULT 0.5);
    CREATE INDEX ByNote ON PackageUser(Note);
    CREATE VIEW Everything AS SELECT * FROM User;
    CREATE TABLE Journal(id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
    CREATE TRIGGER TRG_AFTER_UPDATE_User AFTER UPDATE ON User WHEN is_srjournal_enabled() != 0
      BEGIN UPDATE User SET WorkId = workid() WHERE _UserID = NEW._UserID; INSERT INTO Journal(what) VALUES (now()); END;
    CREATE TRIGGER TRG_AFTER_INSERT_User AFTER INSERT ON User
      BEGIN UPDATE User SET WorkId = workid() WHERE _UserID = NEW._UserID; END;
    PRAGMA user_version = 42; PRAGMA application_id = 4711;";

/// Fills a store as Windows does: with its functions, in WAL mode. Returns database and log as they lie on the medium while a
/// checkpoint has not come, or the database alone after one.
fn store(dir: &Path, encoding: &str, checkpoint: bool) -> (Vec<u8>, Vec<u8>) {
    let path = dir.join("store.srd");
    for file in ["store.srd", "store.srd-wal", "store.srd-shm"] {
        let _ = std::fs::remove_file(dir.join(file));
    }
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!("PRAGMA encoding='{encoding}'; PRAGMA page_size=1024; PRAGMA journal_mode=WAL;"))
        .unwrap();
    db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
    for name in ["is_srjournal_enabled", "workid", "now"] {
        db.create_scalar_function(name, 0, FunctionFlags::SQLITE_UTF8, |_| Ok(1)).unwrap();
    }
    db.execute_batch(SCHEMA).unwrap();
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut user = db.prepare("INSERT INTO User(UserSid) VALUES (?)").unwrap();
    let mut note = db.prepare("INSERT INTO PackageUser VALUES (?, ?, ?)").unwrap();
    for i in 0..40u32 {
        user.execute([if i % 4 == 0 { FOREIGN } else { OLD }.account(1000 + i).to_bytes()]).unwrap();
        // Some notes fill overflow pages, with the SID across their seams.
        let note_text = format!("{}{};{OLD}0;{}", "x".repeat(i as usize * 97), OLD.account(i), FOREIGN.account(i));
        note.execute(rusqlite::params![i, i + 1, note_text]).unwrap();
    }
    drop((user, note));
    db.execute("INSERT INTO \"Odd \"\"name\" VALUES (?, ?, 1.25)", [OLD.to_string(), format!("{{{OLD}-513}}")])
        .unwrap();
    // What is deleted stays in free cells.
    db.execute_batch("PRAGMA secure_delete=OFF; DELETE FROM PackageUser WHERE Package > 30").unwrap();
    if checkpoint {
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    (read("store.srd"), read("store.srd-wal"))
}

/// Everything in a store, as plain SQLite without functions reads it.
fn dump(database: &[u8]) -> Vec<String> {
    let db = open(database).unwrap();
    let mut out = Vec::new();
    for text in [
        "SELECT _UserID, hex(UserSid), WorkId FROM User",
        "SELECT Package, User, Note FROM PackageUser",
        "SELECT _rowid_, rowid || x, \"a b\" FROM \"Odd \"\"name\"",
        "SELECT id, what, 0 FROM Journal",
        "SELECT name, sql, rowid FROM sqlite_schema",
    ] {
        let mut statement = db.prepare(text).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            out.push((0..3).map(|i| format!("{:?}|", row.get_ref(i).unwrap())).collect());
        }
    }
    out
}

/// The dump with its SIDs replaced as text, by nothing that the code under test uses.
fn expected(dump: &[String]) -> Vec<String> {
    let ascii = |text: &str| format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned();
    let hex = |sid: DomainSid| ascii(&sid.pattern().iter().map(|b| format!("{b:02X}")).collect::<String>());
    let (old, new) = (ascii(&OLD.to_string()), ascii(&NEW.to_string()));
    // A digit goes on the number: another SID.
    let kept = format!("{old}, {}", b'0');
    dump.iter()
        .map(|line| {
            line.replace(&hex(OLD), &hex(NEW)).replace(&kept, "KEPT").replace(&old, &new).replace("KEPT", &kept)
        })
        .collect()
}

#[test]
fn sids_in_bytes_and_text_with_and_without_a_log() {
    let dir = tempfile::tempdir().unwrap();
    for encoding in ["UTF-8", "UTF-16le"] {
        let (whole, empty) = store(dir.path(), encoding, true);
        assert!(empty.is_empty());
        let (part, log) = store(dir.path(), encoding, false);
        assert!(log.len() > 20_000 && part.len() < whole.len());
        let before = dump(&whole);
        assert_eq!(
            dump(&wal::merged(&part, &log, MAX_LEN).unwrap()),
            before,
            "the log is applied as SQLite applies it"
        );
        for (database, log) in [(&whole, &empty), (&part, &log)] {
            let done = rewrite(database, log, &map()).unwrap().unwrap();
            assert_eq!(dump(&done.database), expected(&before));
            assert_eq!(done.rows, 30 + 31 + 1);
            assert_eq!(done.sids, 30 + 31 + 2);
            assert!(done.erased > 0, "deleted rows leave some");
            assert!(!map().is_in(&done.database));
            assert_eq!(done.database[18..20], [2, 2], "it stays in WAL mode");
            // The same again, and nothing the second time.
            assert_eq!(rewrite(database, log, &map()).unwrap().unwrap(), done);
            assert_eq!(rewrite(&done.database, &[], &map()).unwrap(), None);
            let back = rewrite(&done.database, &[], &map().reversed()).unwrap().unwrap();
            assert_eq!(dump(&back.database), before);
        }
    }
}

#[test]
fn the_sqlite_program_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let (part, log) = store(dir.path(), "UTF-8", false);
    let done = rewrite(&part, &log, &map()).unwrap().unwrap();
    let path = dir.path().join("after.srd");
    std::fs::write(&path, &done.database).unwrap();
    let script = "PRAGMA integrity_check; PRAGMA journal_mode; PRAGMA user_version; PRAGMA application_id;
        SELECT count(*) FROM User; SELECT hex(UserSid) FROM User WHERE _UserID = 2; SELECT count(*) FROM Journal;
        SELECT count(*) FROM PackageUser INDEXED BY ByNote WHERE Note LIKE '%S-1-5-21-7-%';";
    let Some(text) = reseal_testdata::oracle::agree("sqlite3", [path.as_os_str(), script.as_ref()]) else { return };
    let sid: String = NEW.account(1001).to_bytes().iter().map(|b| format!("{b:02X}")).collect();
    let lines: Vec<&str> = text.lines().collect();
    // The journal has the 40 entries of the filling: no trigger fired.
    assert_eq!(lines, ["ok", "wal", "42", "4711", "40", sid.as_str(), "40", "31"]);
}

/// A plain store with one table made by `schema`, into which the SID is put by `fill`.
fn plain(schema: &str, fill: &str) -> Vec<u8> {
    let mut db = Connection::open_in_memory().unwrap();
    db.execute_batch(schema).unwrap();
    db.execute_batch(&fill.replace("SID", &OLD.to_string())).unwrap();
    db.serialize(MAIN_DB).unwrap().to_vec()
}

#[test]
fn what_is_not_understood_is_left() {
    let fill = "INSERT INTO t(a) VALUES ('SID')";
    let cases = [
        ("CREATE TABLE t(a TEXT PRIMARY KEY) WITHOUT ROWID", fill, "no row numbers"),
        ("CREATE TABLE t(a TEXT, b AS (a || 'x'))", fill, "generated"),
        ("CREATE TABLE t(rowid, _rowid_, oid, a)", fill, "no row numbers"),
        ("CREATE TABLE t(a); CREATE VIRTUAL TABLE v USING fts5(x)", fill, "virtual"),
        ("CREATE TABLE t(a)", "INSERT INTO t VALUES (CAST('SID' AS BLOB))", "does not fit"),
        ("CREATE TABLE t(a, CHECK (a NOT LIKE '%-7-%'))", fill, "CHECK"),
        (
            "CREATE TABLE t(a UNIQUE ON CONFLICT REPLACE)",
            "INSERT INTO t VALUES ('SID'), ('S-1-5-21-7-1177238915-4000000000')",
            "differently",
        ),
    ];
    for (schema, fill, why) in cases {
        let error = rewrite(&plain(schema, fill), &[], &map()).unwrap_err().to_string();
        assert!(error.contains(why), "{schema}: {error}");
    }
    let mut db = Connection::open_in_memory().unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE t(a); CREATE INDEX i ON t(a) WHERE a = '{OLD}'; INSERT INTO t VALUES ('{OLD}')"
    ))
    .unwrap();
    let error = rewrite(&db.serialize(MAIN_DB).unwrap(), &[], &map()).unwrap_err().to_string();
    assert!(error.contains("schema"), "{error}");
    // Without the SID nothing has to be understood.
    let foreign =
        plain("CREATE TABLE t(a TEXT PRIMARY KEY) WITHOUT ROWID", "INSERT INTO t(a) VALUES ('S-1-5-21-1-2-3')");
    assert_eq!(rewrite(&foreign, &[], &map()).unwrap(), None);
    for bytes in [&b""[..], b"SQLite format 3\0", &[0; 4096]] {
        assert!(rewrite(bytes, &[], &map()).is_err());
    }
}

/// A flipped bit leaves the store, or the result has the same rows but for the SIDs.
#[test]
fn damage_is_left_or_right() {
    let dir = tempfile::tempdir().unwrap();
    let (part, log) = store(dir.path(), "UTF-8", false);
    let (whole, _) = store(dir.path(), "UTF-8", true);
    let (mut left, mut right) = (0, 0);
    for (database, log, bits) in [(&whole, &Vec::new(), 500), (&part, &log, 300)] {
        let all = (database.len() + log.len()) * 8;
        for i in 0..bits {
            // Spread over everything, and densely over the header and the first page.
            let bit = if i % 3 == 0 { i * 27 % (1024 * 8) } else { i * (all / bits) + i % 8 } % all;
            let (mut database, mut log) = (database.clone(), log.clone());
            let byte = bit / 8;
            match byte.checked_sub(database.len()) {
                None => database[byte] ^= 1 << (bit % 8),
                Some(byte) => log[byte] ^= 1 << (bit % 8),
            }
            match rewrite(&database, &log, &map()) {
                Err(_) | Ok(None) => left += 1,
                Ok(Some(done)) => {
                    assert!(!map().is_in(&done.database), "bit {bit}");
                    let merged = wal::merged(&database, &log, MAX_LEN).unwrap();
                    let store = open(&merged).unwrap();
                    let before = rows::read(&store, &map()).unwrap();
                    let after = rows::read(&open(&done.database).unwrap(), &map()).unwrap();
                    assert_eq!(after.digest_now, before.digest_mapped, "bit {bit}");
                    right += 1;
                }
            }
        }
    }
    println!("{left} left, {right} right");
    assert!(left > 100 && right > 100, "{left} left, {right} right");
}

#[test]
fn a_log_that_ends_early_is_applied_up_to_its_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (part, log) = store(dir.path(), "UTF-8", false);
    for cut in (0..log.len()).step_by(509) {
        // SQLite is the witness: it opens the two files.
        let path = dir.path().join("cut.srd");
        std::fs::write(&path, &part).unwrap();
        std::fs::write(dir.path().join("cut.srd-wal"), &log[..cut]).unwrap();
        let db = Connection::open(&path).unwrap();
        let count = |db: &Connection| -> [i64; 2] {
            ["User", "PackageUser"]
                .map(|t| db.query_row(&format!("SELECT count(*) FROM {t}"), [], |r| r.get(0)).unwrap())
        };
        let theirs = count(&db);
        drop(db);
        for file in ["cut.srd", "cut.srd-wal", "cut.srd-shm"] {
            let _ = std::fs::remove_file(dir.path().join(file));
        }
        let ours = count(&open(&wal::merged(&part, &log[..cut], MAX_LEN).unwrap()).unwrap());
        assert_eq!(ours, theirs, "cut at {cut}");
    }
}
