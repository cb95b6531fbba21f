//! Files of a made-up machine that hold its SID: tasks with their cache, group policy, a database of the Store.

use anyhow::{Context, Result};
use reseal_dtyp::{DomainSid, utf16le};
use reseal_hive::{Hive, types};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, MAIN_DB};
use sha2::{Digest, Sha256};

/// A task: its path below `System32\Tasks`, its key in the cache, and its file.
pub(crate) struct Task {
    pub(crate) path: String,
    key: &'static str,
    pub(crate) file: Vec<u8>,
    sid: DomainSid,
}

fn sz(text: &str) -> Vec<u8> {
    [utf16le(text), vec![0, 0]].concat()
}

/// One task that is named after a user, one that is not, and one that no user has.
pub(crate) fn tasks(sid: DomainSid, computer: &str) -> Vec<Task> {
    let user = sid.account(1001);
    let task = |path: String, key, user: &str| {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<Task version=\"1.2\" \
             xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\r\n  <RegistrationInfo>\r\n    \
             <Author>{computer}\\ann</Author>\r\n    <URI>{path}</URI>\r\n  </RegistrationInfo>\r\n  <Principals>\r\n    \
             <Principal id=\"Author\">\r\n      <UserId>{user}</UserId>\r\n    </Principal>\r\n  </Principals>\r\n</Task>"
        );
        Task { path, key, file: [vec![0xff, 0xfe], utf16le(&text)].concat(), sid }
    };
    vec![
        task(
            format!(r"\Optimize Start Menu Cache Files-{user}"),
            "{0A0A0A0A-1111-2222-3333-444455556666}",
            &user.to_string(),
        ),
        task(r"\Backup\Nightly".into(), "{0B0B0B0B-1111-2222-3333-444455556666}", &user.to_string()),
        task(r"\Backup\Weekly".into(), "{0C0C0C0C-1111-2222-3333-444455556666}", "S-1-5-18"),
    ]
}

/// `Triggers` of version 0x17: times, flags, checksum, principal, display name, user, no settings, no trigger.
fn triggers(task: &Task) -> Vec<u8> {
    let filled = |bytes: &[u8]| {
        let mut out = bytes.to_vec();
        out.resize(out.len().next_multiple_of(8), 0x48);
        out
    };
    let number = |n: u32| filled(&n.to_le_bytes());
    let counted = |bytes: &[u8]| [number(bytes.len() as u32), filled(bytes)].concat();
    [
        filled(&[0x17]),
        [0; 32].to_vec(),
        number(0x0242_2148),
        number(crc32fast::hash(&task.file)),
        counted(&sz("Author")),
        counted(&[]),
        filled(&[0]),
        filled(&[0]),
        number(1),
        counted(&task.sid.account(1001).to_bytes()),
        counted(&sz(r"GOLD-07\ann")),
        number(0),
    ]
    .concat()
}

/// `TaskCache`, as Windows 8 and later keep it.
pub(crate) fn task_cache(hive: &mut Hive, sid: DomainSid, computer: &str) -> Result<()> {
    let cache = r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache";
    for task in tasks(sid, computer) {
        let tree = hive.create_path(&format!(r"{cache}\Tree{}", task.path))?;
        hive.set_value(tree, "Id", types::SZ, &sz(task.key))?;
        let key = hive.create_path(&format!(r"{cache}\Tasks\{}", task.key))?;
        hive.set_value(key, "Path", types::SZ, &sz(&task.path))?;
        hive.set_value(key, "URI", types::SZ, &sz(&task.path))?;
        hive.set_value(key, "Hash", types::BINARY, &Sha256::digest(&task.file))?;
        hive.set_value(key, "Triggers", types::BINARY, &triggers(&task))?;
    }
    Ok(())
}

/// `Registry.pol` with the SID in a key, as text and as bytes.
pub(crate) fn registry_pol(sid: DomainSid) -> Vec<u8> {
    let mut out = b"PReg\x01\0\0\0".to_vec();
    let user = sid.account(1001);
    let records = [
        (format!(r"Software\Policies\{user}"), "Owner", types::SZ, sz(&user.to_string())),
        (r"Software\Policies\Plain".to_owned(), "Sid", types::BINARY, user.to_bytes()),
        (r"Software\Policies\Plain".to_owned(), "On", types::DWORD, vec![1, 0, 0, 0]),
    ];
    for (key, value, ty, data) in records {
        let fields = [sz(&key), sz(value), ty.to_le_bytes().to_vec(), (data.len() as u32).to_le_bytes().to_vec(), data];
        out.extend(utf16le("["));
        out.extend(fields.join(&utf16le(";")[..]));
        out.extend(utf16le("]"));
    }
    out
}

/// Rights of a security template.
pub(crate) fn security_template(sid: DomainSid) -> Vec<u8> {
    let text =
        format!("[Unicode]\r\nUnicode=yes\r\n[Privilege Rights]\r\nSeBackupPrivilege = *{}\r\n", sid.account(1002));
    [vec![0xff, 0xfe], utf16le(&text)].concat()
}

/// A database in the manner of `StateRepository-Machine.srd` and the log that lies beside it. Half of the users stand in the log
/// only. Its triggers call functions that plain SQLite lacks.
pub(crate) fn state_repository(sid: DomainSid, foreign: DomainSid) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut db = Connection::open_in_memory()?;
    for name in ["is_srjournal_enabled", "workid", "now"] {
        db.create_scalar_function(name, 0, FunctionFlags::SQLITE_UTF8, |_| Ok(1))?;
    }
    db.execute_batch(
        "PRAGMA page_size=4096;
         CREATE TABLE User(_UserID INTEGER PRIMARY KEY NOT NULL, UserSid BLOB NOT NULL, WorkId INTEGER, UNIQUE(UserSid));
         CREATE TABLE Cache(Key TEXT, Value TEXT);
         CREATE TRIGGER TRG_AFTER_UPDATE_User AFTER UPDATE ON User WHEN is_srjournal_enabled() != 0
           BEGIN UPDATE Cache SET Value = now() WHERE Key = 'last'; END;
         CREATE TRIGGER TRG_AFTER_INSERT_User AFTER INSERT ON User
           BEGIN UPDATE User SET WorkId = workid() WHERE _UserID = NEW._UserID; END;",
    )?;
    let add = |db: &Connection, sid: DomainSid, rid: u32| -> Result<()> {
        db.execute("INSERT INTO User(UserSid) VALUES (?)", [sid.account(rid).to_bytes()])?;
        db.execute("INSERT INTO Cache VALUES (?, 'x')", [sid.account(rid).to_string()])?;
        Ok(())
    };
    add(&db, sid, 1001)?;
    add(&db, foreign, 1001)?;
    let checkpointed = in_wal_mode(db.serialize(MAIN_DB)?.to_vec());
    add(&db, sid, 1002)?;
    let whole = in_wal_mode(db.serialize(MAIN_DB)?.to_vec());
    let log = log(&checkpointed, &whole)?;
    Ok((checkpointed, log))
}

/// Header bytes 18 and 19 say it.
fn in_wal_mode(mut database: Vec<u8>) -> Vec<u8> {
    database[18..20].fill(2);
    database
}

/// The write-ahead log that makes `whole` of `checkpointed`, by section 4 of SQLite's file format: one transaction, salts that are
/// always the same.
fn log(checkpointed: &[u8], whole: &[u8]) -> Result<Vec<u8>> {
    const PAGE: usize = 4096;
    let be = |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
    let sum = |mut sum: (u32, u32), bytes: &[u8]| {
        for pair in bytes.chunks_exact(8) {
            let word = |at: usize| u32::from_be_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
            sum.0 = sum.0.wrapping_add(word(0)).wrapping_add(sum.1);
            sum.1 = sum.1.wrapping_add(word(4)).wrapping_add(sum.0);
        }
        sum
    };
    let salts = [0x1234_5678, 0x9abc_def0];
    let mut out = be(&[0x377f_0683, 3_007_000, PAGE as u32, 0, salts[0], salts[1]]);
    let mut at = sum((0, 0), &out);
    out.extend(be(&[at.0, at.1]));
    let differs = |i: usize| whole.get(i * PAGE..(i + 1) * PAGE) != checkpointed.get(i * PAGE..(i + 1) * PAGE);
    let pages: Vec<usize> = (0..whole.len() / PAGE).filter(|i| differs(*i)).collect();
    let last = *pages.last().context("nothing is in the log")?;
    for page in pages {
        let data = &whole[page * PAGE..(page + 1) * PAGE];
        let commit = if page == last { whole.len() / PAGE } else { 0 };
        let head = be(&[page as u32 + 1, commit as u32]);
        at = sum(sum(at, &head), data);
        out.extend([head, be(&[salts[0], salts[1], at.0, at.1]), data.to_vec()].concat());
    }
    Ok(out)
}
