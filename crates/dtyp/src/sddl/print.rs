//! Descriptor to SDDL.

use super::expression::MAX_DEPTH;
use super::names::{ACE_FLAGS, ACE_TYPES, ATTRIBUTES, LABEL_RIGHTS, MASKS, OPERATORS, RIGHTS, SIDS};
use crate::ace::is_callback;
use crate::claim::{self, Claim, ClaimValues};
use crate::condition::{self, Token};
use crate::{Ace, AceBody, Acl, Descriptor, Error, Result, Sid, ace_type, control};
use std::fmt::Write;

pub(super) fn descriptor(sd: &Descriptor) -> Result<String> {
    let mut out = String::new();
    for (tag, part) in [("O:", &sd.owner), ("G:", &sd.group)] {
        if let Some(part) = part {
            out.push_str(tag);
            out.push_str(&sid(part));
        }
    }
    let dacl_bits =
        [(control::DACL_PROTECTED, "P"), (control::DACL_AUTO_INHERIT_REQ, "AR"), (control::DACL_AUTO_INHERITED, "AI")];
    let sacl_bits =
        [(control::SACL_PROTECTED, "P"), (control::SACL_AUTO_INHERIT_REQ, "AR"), (control::SACL_AUTO_INHERITED, "AI")];
    let parts =
        [("D:", &sd.dacl, control::DACL_PRESENT, dacl_bits), ("S:", &sd.sacl, control::SACL_PRESENT, sacl_bits)];
    for (tag, list, present, bits) in parts {
        if sd.control & present == 0 {
            continue;
        }
        out.push_str(tag);
        bits.iter().filter(|(bit, _)| sd.control & bit != 0).for_each(|(_, name)| out.push_str(name));
        match list {
            Some(list) => acl(list, &mut out)?,
            None => out.push_str("NO_ACCESS_CONTROL"),
        }
    }
    Ok(out)
}

fn acl(list: &Acl, out: &mut String) -> Result<()> {
    list.aces.iter().try_for_each(|entry| {
        out.push_str(&ace(entry)?);
        Ok(())
    })
}

fn ace(ace: &Ace) -> Result<String> {
    let ty = ACE_TYPES.iter().find(|(code, _)| *code == ace.ty).map(|(_, name)| *name);
    let (Some(ty), Some(trustee)) = (ty, ace.sid()) else {
        return Err(Error::unsupported(format!("SDDL has no form for ACE type {:#04x}", ace.ty)));
    };
    let (object, inherited) = match &ace.body {
        AceBody::Object { object, inherited, .. } => (*object, *inherited),
        _ => (None, None),
    };
    let guid = |guid: Option<crate::Guid>| guid.map(|g| g.to_string()).unwrap_or_default();
    let mut out = format!(
        "({ty};{};{};{};{};{}",
        flags(u32::from(ace.flags), ACE_FLAGS),
        mask(ace.mask, ace.ty),
        guid(object),
        guid(inherited),
        sid(trustee)
    );
    if ace.ty == ace_type::SYSTEM_RESOURCE_ATTRIBUTE {
        let _ = write!(out, ";{}", resource_attribute(&claim::read(&ace.data)?));
    } else if is_callback(ace.ty) {
        match condition::read(&ace.data)? {
            Some(tokens) => {
                let _ = write!(out, ";({})", expression(&tokens)?);
            }
            None if ace.data.is_empty() => {}
            None => return Err(Error::unsupported("SDDL has no form for application data that is no condition")),
        }
    }
    out.push(')');
    Ok(out)
}

fn flags(value: u32, names: &[(u32, &str)]) -> String {
    names.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| *name).collect()
}

fn mask(value: u32, ty: u8) -> String {
    let names = if ty == ace_type::SYSTEM_MANDATORY_LABEL { LABEL_RIGHTS } else { RIGHTS };
    if let (Some((_, name)), true) = (MASKS.iter().find(|(mask, _)| *mask == value), names == RIGHTS) {
        return (*name).to_owned();
    }
    let covered = names.iter().fold(0, |acc, (bit, _)| acc | (value & bit));
    if covered == value { flags(value, names) } else { format!("{value:#x}") }
}

/// The abbreviation of a well-known SID, or its text.
pub(super) fn sid(sid: &Sid) -> String {
    let text = sid.to_string();
    SIDS.iter().find(|(full, _)| *full == text).map_or(text, |(_, short)| (*short).to_owned())
}

fn resource_attribute(claim: &Claim) -> String {
    let (ty, values): (&str, Vec<String>) = match &claim.values {
        ClaimValues::Int64(v) => ("TI", v.iter().map(i64::to_string).collect()),
        ClaimValues::Uint64(v, boolean) => (if *boolean { "TB" } else { "TU" }, v.iter().map(u64::to_string).collect()),
        ClaimValues::Text(v) => ("TS", v.iter().map(|x| quoted(x)).collect()),
        ClaimValues::Sid(v) => ("TD", v.iter().map(|x| format!("SID({})", sid(x))).collect()),
        ClaimValues::Octets(v) => ("TX", v.iter().map(|x| hex(x)).collect()),
    };
    let values: String = values.iter().map(|value| format!(",{value}")).collect();
    format!("({},{ty},{:#x}{values})", quoted(&claim.name), claim.flags)
}

/// Quotes, percent signs, control characters and lone surrogates stand as `%` and four hexadecimal digits.
fn quoted(units: &[u16]) -> String {
    let mut out = String::from("\"");
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) if !c.is_control() && c != '%' && c != '"' => out.push(c),
            Ok(c) => {
                let _ = write!(out, "%{:04x}", u32::from(c));
            }
            Err(lone) => {
                let _ = write!(out, "%{:04x}", lone.unpaired_surrogate());
            }
        }
    }
    out + "\""
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Postfix tokens to infix text, parentheses only where precedence needs them.
fn expression(tokens: &[Token]) -> Result<String> {
    let bad = || Error::unsupported("the conditional expression is not well formed");
    let mut stack: Vec<Part> = Vec::new();
    for token in tokens {
        let Token::Operator(code) = token else {
            stack.push(Part { text: operand(token)?, precedence: 9, depth: 1 + lists(token) });
            continue;
        };
        let (_, name, precedence) = *OPERATORS.iter().find(|(c, _, _)| c == code).ok_or_else(bad)?;
        let right = stack.pop().ok_or_else(bad)?;
        let part = if precedence == 0 {
            // `!` always has parentheses, as Windows prints it; the others where their operand has an operator of its own.
            let inner = if *code == 0xa2 || right.precedence < 8 { right.in_parentheses() } else { right };
            let space = if *code == 0xa2 { "" } else { " " };
            Part { text: format!("{name}{space}{}", inner.text), precedence: 8, depth: inner.depth + 1 }
        } else {
            let left = stack.pop().ok_or_else(bad)?;
            let left = if left.precedence < precedence { left.in_parentheses() } else { left };
            let right = if right.precedence <= precedence { right.in_parentheses() } else { right };
            let text = format!("{} {name} {}", left.text, right.text);
            Part { text, precedence, depth: left.depth.max(right.depth) }
        };
        if part.depth > MAX_DEPTH {
            return Err(Error::unsupported("the conditional expression is nested too deep for SDDL"));
        }
        stack.push(part);
    }
    match (stack.pop(), stack.is_empty()) {
        (Some(part), true) if part.depth <= MAX_DEPTH => Ok(part.text),
        _ => Err(bad()),
    }
}

/// Infix text on its way.
struct Part {
    text: String,
    /// Of its outermost operator; operands bind strongest.
    precedence: u8,
    /// How deep reading it goes: what cannot be read back is not printed.
    depth: u32,
}

impl Part {
    fn in_parentheses(self) -> Part {
        Part { text: format!("({})", self.text), precedence: 8, depth: self.depth + 1 }
    }
}

/// How deep lists in an operand are nested.
fn lists(token: &Token) -> u32 {
    match token {
        Token::Composite(inner) => 1 + inner.iter().map(lists).max().unwrap_or(0),
        _ => 0,
    }
}

fn operand(token: &Token) -> Result<String> {
    Ok(match token {
        Token::Int { value, base, sign, .. } => {
            let plus = if *sign == 1 { "+" } else { "" };
            let minus = if *value < 0 || (*value == 0 && *sign == 2) { "-" } else { "" };
            let magnitude = value.unsigned_abs();
            match base {
                1 => format!("{plus}{minus}0{magnitude:o}"),
                3 => format!("{plus}{minus}{magnitude:#x}"),
                _ => format!("{plus}{minus}{magnitude}"),
            }
        }
        Token::Text(units) => quoted(units),
        Token::Octets(bytes) => format!("#{}", hex(bytes)),
        Token::Sid(value) => format!("SID({})", sid(value)),
        Token::Composite(inner) => {
            let parts: Result<Vec<String>> = inner.iter().map(operand).collect();
            format!("{{{}}}", parts?.join(", "))
        }
        Token::Attribute(code, name) => {
            let prefix = ATTRIBUTES.iter().find(|(c, _)| c == code).map_or("", |(_, prefix)| *prefix);
            format!("{prefix}{}", attribute_name(name))
        }
        Token::Operator(code) => return Err(Error::unsupported(format!("operator {code:#x} in a list"))),
    })
}

/// [MS-DTYP] 2.5.1.1: letters, digits and `:./_` stand for themselves, all else is `%` and four hexadecimal digits.
fn attribute_name(units: &[u16]) -> String {
    units.iter().fold(String::new(), |mut out, unit| {
        match u8::try_from(*unit).ok().filter(|b| b.is_ascii_alphanumeric() || b":./_".contains(b)) {
            Some(byte) => out.push(char::from(byte)),
            None => {
                let _ = write!(out, "%{unit:04x}");
            }
        }
        out
    })
}
