//! SAM and SECURITY of a made-up machine, in the layout that Windows 10 writes.

use anyhow::Result;
use reseal_dtyp::{Descriptor, DomainSid, FileTime, Sid, utf16le};
use reseal_hive::{Hive, types};

/// A local account.
pub(crate) struct Account {
    pub(crate) rid: u32,
    pub(crate) name: &'static str,
    pub(crate) enabled: bool,
    pub(crate) administrator: bool,
}

/// The accounts of every made-up machine.
pub(crate) const ACCOUNTS: &[Account] = &[
    Account { rid: 500, name: "Administrator", enabled: false, administrator: true },
    Account { rid: 501, name: "Guest", enabled: false, administrator: false },
    Account { rid: 503, name: "DefaultAccount", enabled: false, administrator: false },
    Account { rid: 1001, name: "ann", enabled: true, administrator: true },
    Account { rid: 1002, name: "bob", enabled: true, administrator: false },
];

pub(crate) const KEY_SDDL: &str = "O:BAG:SYD:PAI(A;CI;KA;;;SY)(A;CI;KA;;;BA)";

pub(crate) fn key_descriptor() -> Result<Vec<u8>> {
    Ok(Descriptor::from_sddl(KEY_SDDL)?.to_bytes()?)
}

/// Fields as {offset, length, count} entries, data behind them.
fn packed(fields: &[Vec<u8>], table: usize) -> Vec<u8> {
    let (mut out, mut data) = (Vec::new(), Vec::new());
    for field in fields {
        for number in [data.len() as u32, field.len() as u32, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        data.extend_from_slice(field);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    out.resize(table, 0);
    out.extend_from_slice(&data);
    out
}

fn user_v(sid: DomainSid, account: &Account) -> Result<Vec<u8>> {
    let own = sid.account(account.rid);
    let sddl = format!("O:BAG:BAD:(A;;0xf07ff;;;BA)(A;;0x20044;;;{own})(A;;0x2035b;;;WD)");
    let mut fields = vec![Vec::new(); 17];
    fields[0] = Descriptor::from_sddl(&sddl)?.to_bytes()?;
    fields[1] = utf16le(account.name);
    fields[12] = [513u32.to_le_bytes(), 7u32.to_le_bytes()].concat();
    // A head of 24 bytes with revision 2 and a length, which is 0 where there is no password; then an AES-encrypted hash.
    let random = |len: u8| (0..len).map(|i| i ^ account.rid as u8).collect::<Vec<u8>>();
    let hash = |len: u8, data: u8| [&[2, 0, 2, 0, len, 0, 0, 0], &random(16 + data)[..]].concat();
    let none = || hash(0, 0);
    fields[13] = none();
    fields[14] = if account.enabled { hash(16, 32) } else { none() };
    fields[15] = none();
    fields[16] = none();
    Ok(packed(&fields, 204))
}

fn user_f(account: &Account) -> Vec<u8> {
    let mut out = vec![0; 80];
    out[48..52].copy_from_slice(&account.rid.to_le_bytes());
    let control: u16 = 0x10 | 0x200 | u16::from(!account.enabled);
    out[56..58].copy_from_slice(&control.to_le_bytes());
    out
}

/// `C` of a local group: RID, then descriptor, name, description, members.
fn alias_c(rid: u32, name: &str, members: &[Sid]) -> Result<Vec<u8>> {
    let descriptor = Descriptor::from_sddl("O:BAG:BAD:(A;;0xf001f;;;BA)(A;;0x2000c;;;WD)")?.to_bytes()?;
    let sids: Vec<u8> = members.iter().flat_map(Sid::to_bytes).collect();
    let mut c = rid.to_le_bytes().to_vec();
    c.extend(packed(&[descriptor, utf16le(name), Vec::new(), sids], 48));
    c[48..52].copy_from_slice(&(members.len() as u32).to_le_bytes());
    Ok(c)
}

pub(crate) fn sam(sid: DomainSid, time: FileTime) -> Result<Vec<u8>> {
    let mut hive = Hive::new("SAM", 3, &key_descriptor()?, time)?;
    let account = hive.create_path(r"SAM\Domains\Account")?;
    let domain_descriptor = Descriptor::from_sddl("O:BAG:BAD:(A;;0xf07ff;;;BA)")?.to_bytes()?;
    hive.set_value(
        account,
        "V",
        types::BINARY,
        &packed(&[domain_descriptor, sid.sid().to_bytes(), vec![], vec![]], 48),
    )?;
    let mut f = vec![0; 240];
    f[8..16].copy_from_slice(&time.0.to_le_bytes());
    f[72..76].copy_from_slice(&1003u32.to_le_bytes());
    hive.set_value(account, "F", types::BINARY, &f)?;
    let users = hive.create_path(r"SAM\Domains\Account\Users")?;
    hive.set_value(users, "", ACCOUNTS.len() as u32, &[])?;
    for user in ACCOUNTS {
        let key = hive.create_path(&format!(r"SAM\Domains\Account\Users\{:08X}", user.rid))?;
        hive.set_value(key, "V", types::BINARY, &user_v(sid, user)?)?;
        hive.set_value(key, "F", types::BINARY, &user_f(user))?;
        let name = hive.create_path(&format!(r"SAM\Domains\Account\Users\Names\{}", user.name))?;
        hive.set_value(name, "", user.rid, &[])?;
    }
    let administrators: Vec<Sid> = ACCOUNTS.iter().filter(|u| u.administrator).map(|u| sid.account(u.rid)).collect();
    let alias = hive.create_path(r"SAM\Domains\Builtin\Aliases\00000220")?;
    hive.set_value(alias, "C", types::BINARY, &alias_c(544, "Administrators", &administrators)?)?;
    let members = hive.create_path(&format!(r"SAM\Domains\Builtin\Aliases\Members\{sid}"))?;
    hive.set_value(members, "", administrators.len() as u32, &[])?;
    for user in ACCOUNTS.iter().filter(|u| u.administrator) {
        let key = hive.create_path(&format!(r"SAM\Domains\Builtin\Aliases\Members\{sid}\{:08X}", user.rid))?;
        hive.set_value(key, "", 1, &544u32.to_le_bytes())?;
    }
    let transaction = hive.create_path(r"SAM\RXACT")?;
    hive.set_value(transaction, "", types::NONE, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    Ok(hive.to_bytes())
}

pub(crate) fn security(sid: DomainSid, computer: &str, time: FileTime) -> Result<Vec<u8>> {
    let mut hive = Hive::new("SECURITY", 3, &key_descriptor()?, time)?;
    let name = |text: &str| {
        let text = utf16le(text);
        let mut out = [(text.len() as u16).to_le_bytes(), (text.len() as u16 + 2).to_le_bytes()].concat();
        out.extend_from_slice(&8u32.to_le_bytes());
        out.extend_from_slice(&text);
        out.extend_from_slice(&[0, 0]);
        out
    };
    let values = [
        ("PolAcDmS", sid.sid().to_bytes()),
        ("PolAcDmN", name(computer)),
        ("PolPrDmN", name("WORKGROUP")),
        ("PolPrDmS", Vec::new()),
        ("PolDnDDN", Vec::new()),
    ];
    for (key, data) in values {
        let key = hive.create_path(&format!(r"Policy\{key}"))?;
        hive.set_value(key, "", types::NONE, &data)?;
    }
    let account = sid.account(1001);
    let key = hive.create_path(&format!(r"Policy\Accounts\{account}\Sid"))?;
    hive.set_value(key, "", types::NONE, &account.to_bytes())?;
    let transaction = hive.create_path("RXACT")?;
    hive.set_value(transaction, "", types::NONE, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    Ok(hive.to_bytes())
}
