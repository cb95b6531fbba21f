//! Conditional expressions and resource attributes of SDDL, [MS-DTYP] 2.5.1.1.

use super::names::{ATTRIBUTES, OPERATORS};
use super::parse::{self, Cursor};
use crate::claim::{Claim, ClaimValues};
use crate::condition::{self, Token};
use crate::{Error, Kind, Result};

/// Parentheses, prefix operators and lists nested deeper than this are refused.
pub(super) const MAX_DEPTH: u32 = 32;

/// `(…)` behind a callback ACE, as application data.
pub(super) fn condition(cursor: &mut Cursor<'_>) -> Result<Vec<u8>> {
    let mut tokens = Vec::new();
    cursor.skip_spaces();
    cursor.expect("(")?;
    binary(cursor, 1, MAX_DEPTH, &mut tokens)?;
    cursor.expect(")")?;
    Ok(condition::write(&tokens))
}

/// Precedence climbing: `||` is 1, `&&` 2, comparisons 3.
fn binary(cursor: &mut Cursor<'_>, lowest: u8, depth: u32, out: &mut Vec<Token>) -> Result<()> {
    unary(cursor, depth, out)?;
    loop {
        cursor.skip_spaces();
        let Some((code, name, precedence)) = operator(cursor, |p| p >= lowest.max(1)) else { return Ok(()) };
        cursor.at += name.len();
        binary(cursor, precedence + 1, depth, out)?;
        out.push(Token::Operator(code));
    }
}

/// The longest operator at the cursor whose precedence is accepted.
fn operator(cursor: &Cursor<'_>, accept: impl Fn(u8) -> bool) -> Option<(u8, &'static str, u8)> {
    let fits = |name: &str| {
        let rest = cursor.rest();
        let word = name.ends_with(|c: char| c.is_ascii_alphabetic());
        let followed = rest.get(name.len()..).and_then(|r| r.chars().next());
        rest.starts_with(name) && !(word && followed.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_'))
    };
    OPERATORS.iter().copied().filter(|(_, name, p)| accept(*p) && fits(name)).max_by_key(|(_, name, _)| name.len())
}

fn unary(cursor: &mut Cursor<'_>, depth: u32, out: &mut Vec<Token>) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or_else(|| cursor.bad("the expression is nested too deep"))?;
    cursor.skip_spaces();
    if cursor.eat("(") {
        binary(cursor, 1, depth, out)?;
        cursor.skip_spaces();
        return cursor.expect(")");
    }
    if let Some((code, name, _)) = operator(cursor, |p| p == 0) {
        cursor.at += name.len();
        unary(cursor, depth, out)?;
        out.push(Token::Operator(code));
        return Ok(());
    }
    out.push(operand(cursor, depth)?);
    Ok(())
}

fn operand(cursor: &mut Cursor<'_>, depth: u32) -> Result<Token> {
    cursor.skip_spaces();
    if cursor.rest().starts_with('"') {
        return quoted(cursor).map(Token::Text);
    }
    if cursor.eat("#") {
        return hex(cursor).map(Token::Octets);
    }
    if cursor.rest().starts_with("SID(") {
        return sid(cursor).map(Token::Sid);
    }
    if cursor.eat("{") {
        let depth = depth.checked_sub(1).ok_or_else(|| cursor.bad("the list is nested too deep"))?;
        let mut inner = Vec::new();
        cursor.skip_spaces();
        while !cursor.eat("}") {
            if !inner.is_empty() {
                cursor.expect(",")?;
            }
            inner.push(operand(cursor, depth)?);
            cursor.skip_spaces();
        }
        return Ok(Token::Composite(inner));
    }
    if cursor.rest().starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-') {
        return integer(cursor);
    }
    let (code, prefix) =
        ATTRIBUTES.iter().find(|(_, prefix)| cursor.rest().starts_with(prefix)).expect("the last prefix is empty");
    cursor.at += prefix.len();
    let name = cursor.run(|c| c.is_ascii_alphanumeric() || ":./_%".contains(c));
    if name.is_empty() {
        return Err(cursor.bad("an operand expected"));
    }
    Ok(Token::Attribute(*code, unescape(name, cursor)?))
}

fn integer(cursor: &mut Cursor<'_>) -> Result<Token> {
    let start = cursor.at;
    let plus = cursor.eat("+");
    let minus = cursor.eat("-");
    let (base, radix) = if cursor.eat("0x") {
        (3, 16)
    } else if cursor.rest().starts_with('0') && cursor.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) {
        (1, 8)
    } else {
        (2, 10)
    };
    let digits = cursor.run(|c| c.is_ascii_hexdigit());
    let magnitude = i128::from_str_radix(digits, radix).map_err(|_| cursor.bad("a number expected"))?;
    let value = i64::try_from(if minus { -magnitude } else { magnitude });
    let value = value
        .map_err(|_| Error::new(Kind::Limit, format!("{} has more than 64 bits", &cursor.text[start..cursor.at])))?;
    Ok(Token::Int {
        width: 4,
        value,
        sign: if plus {
            1
        } else if minus {
            2
        } else {
            3
        },
        base,
    })
}

fn sid(cursor: &mut Cursor<'_>) -> Result<crate::Sid> {
    cursor.expect("SID(")?;
    let sid = parse::sid(cursor)?;
    cursor.expect(")")?;
    Ok(sid)
}

fn quoted(cursor: &mut Cursor<'_>) -> Result<Vec<u16>> {
    cursor.expect("\"")?;
    let text = cursor.until(&['"'])?;
    cursor.expect("\"")?;
    let units = unescape(text, cursor)?;
    // A claim's texts end with a NUL: one in the middle would cut them.
    if units.contains(&0) { Err(cursor.bad("a NUL character in a text")) } else { Ok(units) }
}

/// `%` and four hexadecimal digits are a code unit.
fn unescape(text: &str, cursor: &Cursor<'_>) -> Result<Vec<u16>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.extend(rest[..at].encode_utf16());
        let unit = rest.get(at + 1..at + 5).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        out.push(unit.ok_or_else(|| cursor.bad("four hexadecimal digits expected after %"))?);
        rest = &rest[at + 5..];
    }
    out.extend(rest.encode_utf16());
    Ok(out)
}

fn hex(cursor: &mut Cursor<'_>) -> Result<Vec<u8>> {
    let digits = cursor.run(|c| c.is_ascii_hexdigit());
    if !digits.len().is_multiple_of(2) {
        return Err(cursor.bad("an even number of hexadecimal digits expected"));
    }
    (0..digits.len() / 2)
        .map(|i| {
            u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| cursor.bad("hexadecimal digits expected"))
        })
        .collect()
}

/// `("name",TYPE,flags,value,…)` of a resource attribute ACE.
pub(super) fn resource_attribute(cursor: &mut Cursor<'_>) -> Result<Claim> {
    cursor.expect("(")?;
    let name = quoted(cursor)?;
    cursor.expect(",")?;
    let ty = cursor.until(&[','])?;
    cursor.expect(",")?;
    let flags = cursor.run(|c| c.is_ascii_alphanumeric());
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).map_err(|_| cursor.bad("flags expected"))?;
    let values = match ty {
        "TI" => ClaimValues::Int64(list(cursor, number)?),
        "TU" => ClaimValues::Uint64(list(cursor, number)?, false),
        "TB" => ClaimValues::Uint64(list(cursor, number)?, true),
        "TS" => ClaimValues::Text(list(cursor, quoted)?),
        "TD" => ClaimValues::Sid(list(cursor, sid)?),
        "TX" => ClaimValues::Octets(list(cursor, hex)?),
        _ => return Err(cursor.bad(&format!("`{ty}` is no claim type"))),
    };
    cursor.expect(")")?;
    Ok(Claim { name, flags, values })
}

fn number<T: std::str::FromStr>(cursor: &mut Cursor<'_>) -> Result<T> {
    cursor.run(|c| c.is_ascii_digit() || c == '-').parse().map_err(|_| cursor.bad("a number expected"))
}

fn list<T>(cursor: &mut Cursor<'_>, mut item: impl FnMut(&mut Cursor<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut out = Vec::new();
    while cursor.eat(",") {
        cursor.skip_spaces();
        out.push(item(cursor)?);
    }
    Ok(out)
}
