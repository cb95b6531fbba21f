//! [MS-DTYP] 2.4.4.17 conditional ACE expressions: `artx` and a postfix token list.

use crate::{Result, Sid, View};

/// One token of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A signed integer with the width it is stored in (token 1 to 4), its sign byte and its base byte.
    Int {
        /// 1, 2, 3 or 4: int8, int16, int32, int64.
        width: u8,
        /// The value.
        value: i64,
        /// 1 `+`, 2 `-`, 3 none.
        sign: u8,
        /// 1 octal, 2 decimal, 3 hexadecimal.
        base: u8,
    },
    /// UTF-16 text.
    Text(Vec<u16>),
    /// Bytes.
    Octets(Vec<u8>),
    /// A list of literals.
    Composite(Vec<Token>),
    /// A SID literal.
    Sid(Sid),
    /// An attribute: 0xf8 local, 0xf9 user, 0xfa resource, 0xfb device.
    Attribute(u8, Vec<u16>),
    /// An operator, 0x80 to 0xa2.
    Operator(u8),
}

/// The signature before the tokens.
pub(crate) const MAGIC: &[u8; 4] = b"artx";

/// Nested composites deeper than this are refused; Windows writes one level.
const MAX_DEPTH: u32 = 8;

/// Reads application data: `None` when it is not an expression. The padding (zero bytes to a multiple of four) is dropped.
pub fn read(data: &[u8]) -> Result<Option<Vec<Token>>> {
    if !data.starts_with(MAGIC) {
        return Ok(None);
    }
    let mut sids = Vec::new();
    tokens(&View::new("conditional expression", 0, data), 4, data.len(), MAX_DEPTH, &mut sids).map(Some)
}

/// Offsets of the SIDs in the application data; none when it is not an expression that parses to its end.
pub(crate) fn sid_offsets(data: &[u8]) -> Vec<usize> {
    let mut sids = Vec::new();
    match data
        .starts_with(MAGIC)
        .then(|| tokens(&View::new("conditional expression", 0, data), 4, data.len(), MAX_DEPTH, &mut sids))
    {
        Some(Ok(_)) => sids,
        _ => Vec::new(),
    }
}

fn tokens(view: &View<'_>, mut at: usize, end: usize, depth: u32, sids: &mut Vec<usize>) -> Result<Vec<Token>> {
    let mut out = Vec::new();
    while at < end {
        let code = view.u8(at, "token")?;
        at += 1;
        match code {
            0 => {
                if view.all()[at..end].iter().any(|b| *b != 0) {
                    return Err(view.damaged(at, "padding", "bytes behind the padding token"));
                }
                return Ok(out);
            }
            0x01..=0x04 => {
                let value = view.i64(at, "integer")?;
                let (sign, base) = (view.u8(at + 8, "sign")?, view.u8(at + 9, "base")?);
                out.push(Token::Int { width: code, value, sign, base });
                at += 10;
            }
            0x10 | 0x18 | 0x50 | 0x51 | 0xf8..=0xfb => {
                let len = view.u32(at, "length")? as usize;
                let start = at + 4;
                if len > end.saturating_sub(start) {
                    return Err(view.damaged(
                        at,
                        "length",
                        format!("token {code:#x} of {len} bytes, {} left", end.saturating_sub(start)),
                    ));
                }
                let bytes = view.bytes(start, len, "value")?;
                out.push(match code {
                    0x10 => Token::Text(crate::from_utf16le(bytes)),
                    0x18 => Token::Octets(bytes.to_vec()),
                    0x51 => {
                        sids.push(start);
                        Token::Sid(Sid::read_exact(bytes)?)
                    }
                    0x50 if depth == 0 => return Err(view.damaged(at, "depth", "composites are nested too deep")),
                    0x50 => Token::Composite(tokens(view, start, start + len, depth - 1, sids)?),
                    _ => Token::Attribute(code, crate::from_utf16le(bytes)),
                });
                at = start + len;
            }
            0x80..=0x93 | 0xa0..=0xa2 => out.push(Token::Operator(code)),
            _ => return Err(view.damaged(at - 1, "token", format!("unknown token {code:#04x}"))),
        }
    }
    Ok(out)
}

/// Application data of an expression, padded to a multiple of four bytes.
pub fn write(tokens: &[Token]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    tokens.iter().for_each(|token| write_token(token, &mut out));
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn write_token(token: &Token, out: &mut Vec<u8>) {
    let mut sized = |code: u8, bytes: &[u8]| {
        out.push(code);
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    let utf16 = |units: &[u16]| units.iter().flat_map(|u| u.to_le_bytes()).collect::<Vec<u8>>();
    match token {
        Token::Int { width, value, sign, base } => {
            out.push(*width);
            out.extend_from_slice(&value.to_le_bytes());
            out.extend_from_slice(&[*sign, *base]);
        }
        Token::Text(units) => sized(0x10, &utf16(units)),
        Token::Octets(bytes) => sized(0x18, bytes),
        Token::Composite(inner) => {
            let mut bytes = Vec::new();
            inner.iter().for_each(|token| write_token(token, &mut bytes));
            sized(0x50, &bytes);
        }
        Token::Sid(sid) => sized(0x51, &sid.to_bytes()),
        Token::Attribute(code, name) => sized(*code, &utf16(name)),
        Token::Operator(code) => out.push(*code),
    }
}
