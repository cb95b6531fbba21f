//! SDDL to descriptor.

use super::expression;
use super::names::{ACE_FLAGS, ACE_TYPES, LABEL_RIGHTS, MASKS, RIGHTS, SIDS};
use crate::ace::is_callback;
use crate::{Ace, AceBody, Acl, Descriptor, Error, Guid, Kind, Result, Sid, ace_type, claim, control};

/// An SDDL text and how far it was read.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let hit = self.rest().starts_with(token);
        self.at += if hit { token.len() } else { 0 };
        hit
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.bad(&format!("`{token}` expected"))) }
    }

    /// Everything up to one of `stops`, which must come.
    pub(super) fn until(&mut self, stops: &[char]) -> Result<&'a str> {
        let rest = self.rest();
        let len = rest.find(stops).ok_or_else(|| self.bad(&format!("one of {stops:?} expected")))?;
        self.at += len;
        Ok(&rest[..len])
    }

    /// The longest run of characters that `keep` accepts.
    pub(super) fn run(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    pub(super) fn skip_spaces(&mut self) {
        self.run(char::is_whitespace);
    }

    pub(super) fn bad(&self, what: &str) -> Error {
        let near: String = self.rest().chars().take(24).collect();
        Error::new(Kind::Damaged, format!("SDDL: {what} at character {} (`{near}`)", self.at))
    }
}

pub(super) fn descriptor(text: &str) -> Result<Descriptor> {
    let mut cursor = Cursor { text: text.trim(), at: 0 };
    let (mut owner, mut group, mut sacl, mut dacl, mut bits) = (None, None, None, None, 0);
    while !cursor.rest().is_empty() {
        if cursor.eat("O:") {
            owner = Some(sid(&mut cursor)?);
        } else if cursor.eat("G:") {
            group = Some(sid(&mut cursor)?);
        } else if cursor.eat("D:") {
            let (list, flags) = acl(&mut cursor)?;
            let names = [control::DACL_PROTECTED, control::DACL_AUTO_INHERIT_REQ, control::DACL_AUTO_INHERITED];
            bits |= control::DACL_PRESENT | pick(flags, names);
            dacl = list;
        } else if cursor.eat("S:") {
            let (list, flags) = acl(&mut cursor)?;
            let names = [control::SACL_PROTECTED, control::SACL_AUTO_INHERIT_REQ, control::SACL_AUTO_INHERITED];
            bits |= control::SACL_PRESENT | pick(flags, names);
            sacl = list;
        } else {
            return Err(cursor.bad("`O:`, `G:`, `D:` or `S:` expected"));
        }
    }
    Ok(Descriptor::new(owner, group, sacl, dacl, bits))
}

fn pick(flags: [bool; 3], bits: [u16; 3]) -> u16 {
    flags.iter().zip(bits).filter(|(set, _)| **set).fold(0, |acc, (_, bit)| acc | bit)
}

/// A SID in text or as a well-known abbreviation.
pub(super) fn sid(cursor: &mut Cursor<'_>) -> Result<Sid> {
    if cursor.rest().starts_with("S-1-") || cursor.rest().starts_with("s-1-") {
        // A text SID ends where no digit, dash or hexadecimal authority goes on; `D:` and `S:` may follow at once.
        let start = cursor.at;
        cursor.at += 1;
        cursor.run(|c| c.is_ascii_digit() || c == '-' || c == 'x' || c.is_ascii_hexdigit() && c.is_ascii_lowercase());
        return cursor.text[start..cursor.at].parse();
    }
    let short = cursor.rest().get(..2).unwrap_or_default();
    let Some((full, _)) = SIDS.iter().find(|(_, name)| *name == short) else {
        return Err(cursor.bad("a SID expected (abbreviations that depend on a domain are not known here)"));
    };
    cursor.at += 2;
    full.parse()
}

fn acl(cursor: &mut Cursor<'_>) -> Result<(Option<Acl>, [bool; 3])> {
    let mut flags = [false; 3];
    loop {
        if cursor.eat("NO_ACCESS_CONTROL") {
            return Ok((None, flags));
        }
        match ["P", "AR", "AI"].iter().position(|name| cursor.eat(name)) {
            Some(i) => flags[i] = true,
            None => break,
        }
    }
    let mut aces = Vec::new();
    while cursor.rest().starts_with('(') {
        aces.push(ace(cursor)?);
    }
    Ok((Some(Acl::new(aces)), flags))
}

fn ace(cursor: &mut Cursor<'_>) -> Result<Ace> {
    cursor.expect("(")?;
    let name = cursor.until(&[';'])?;
    let ty = ACE_TYPES.iter().find(|(_, n)| *n == name).map(|(code, _)| *code);
    let ty = ty.ok_or_else(|| cursor.bad(&format!("`{name}` is no ACE type")))?;
    cursor.expect(";")?;
    let flags = named_bits(cursor.until(&[';'])?, &[ACE_FLAGS], cursor)? as u8;
    cursor.expect(";")?;
    let rights = cursor.until(&[';'])?;
    let tables: &[&[(u32, &str)]] =
        if ty == ace_type::SYSTEM_MANDATORY_LABEL { &[LABEL_RIGHTS] } else { &[MASKS, RIGHTS] };
    let mask = named_bits(rights, tables, cursor)?;
    cursor.expect(";")?;
    let object = guid(cursor)?;
    let inherited = guid(cursor)?;
    let sid = sid(cursor)?;
    let data = if cursor.eat(";") {
        if ty == ace_type::SYSTEM_RESOURCE_ATTRIBUTE {
            claim::write(&expression::resource_attribute(cursor)?)
        } else if is_callback(ty) {
            expression::condition(cursor)?
        } else {
            return Err(cursor.bad("this ACE type has no condition"));
        }
    } else {
        Vec::new()
    };
    cursor.expect(")")?;
    let objectful = (ace_type::ACCESS_ALLOWED_OBJECT..=ace_type::SYSTEM_ALARM_OBJECT).contains(&ty)
        || ty == ace_type::ACCESS_ALLOWED_CALLBACK_OBJECT;
    let body = if objectful {
        let flags = u32::from(object.is_some()) | u32::from(inherited.is_some()) << 1;
        AceBody::Object { flags, object, inherited, sid }
    } else if object.is_some() || inherited.is_some() {
        return Err(cursor.bad("this ACE type has no object GUID"));
    } else {
        AceBody::Plain { sid }
    };
    Ok(Ace { ty, flags, mask, body, data })
}

fn guid(cursor: &mut Cursor<'_>) -> Result<Option<Guid>> {
    let text = cursor.until(&[';'])?;
    let guid = if text.is_empty() {
        None
    } else {
        Some(Guid::parse(text).ok_or_else(|| cursor.bad(&format!("`{text}` is no GUID")))?)
    };
    cursor.expect(";")?;
    Ok(guid)
}

/// Two-letter names run together, or a number.
fn named_bits(text: &str, tables: &[&[(u32, &str)]], cursor: &Cursor<'_>) -> Result<u32> {
    let bad = || cursor.bad(&format!("`{text}` is no list of flags or rights"));
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).map_err(|_| bad());
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().map_err(|_| bad());
    }
    let (mut value, mut rest) = (0, text);
    while !rest.is_empty() {
        let name = rest.get(..2).ok_or_else(bad)?;
        let bit = tables.iter().flat_map(|table| table.iter()).find(|(_, n)| *n == name).ok_or_else(bad)?.0;
        value |= bit;
        rest = &rest[2..];
    }
    Ok(value)
}
