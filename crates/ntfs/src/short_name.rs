//! 8.3 names: which names are, and how the twin of a longer one is made.

/// Characters that a long name must not have in the Win32 namespace.
const ILLEGAL: &[u8] = br#""*/:<>?\|"#;
/// Further ones that an 8.3 name must not have.
const ILLEGAL_SHORT: &[u8] = b"+,;=[] ";

/// Why a name cannot be given to a file; `None` for a good one.
pub(crate) fn fault(name: &[u16]) -> Option<&'static str> {
    if name.is_empty() || name.len() > 255 {
        return Some("it has not 1 to 255 characters");
    }
    if name.iter().any(|&u| u < 0x20 || u8::try_from(u).is_ok_and(|b| ILLEGAL.contains(&b))) {
        return Some("it has a character that Windows does not allow");
    }
    match name.last() {
        Some(&0x20 | &0x2e) => Some("it ends with a blank or a dot"),
        _ => None,
    }
}

fn is_short_unit(unit: u16) -> bool {
    (0x21..0x7f).contains(&unit)
        && u8::try_from(unit).is_ok_and(|b| !ILLEGAL.contains(&b) && !ILLEGAL_SHORT.contains(&b))
}

/// Whether a name is a legal 8.3 name; lower case counts as well.
pub(crate) fn is_short(name: &[u16]) -> bool {
    let mut parts = name.split(|&u| u == 0x2e);
    let (base, extension) = (parts.next().unwrap_or_default(), parts.next());
    let good = |part: &[u16], max| (1..=max).contains(&part.len()) && part.iter().all(|&u| is_short_unit(u));
    parts.next().is_none() && good(base, 8) && extension.is_none_or(|e| good(e, 3))
}

/// Whether Windows may have given this 8.3 name: besides those of [`is_short`], ones with letters of another code page.
pub(crate) fn may_be_short(name: &[u16]) -> bool {
    let ascii: Vec<u16> = name.iter().map(|&u| if (0xa1..0xd800).contains(&u) { 0x5f } else { u }).collect();
    is_short(&ascii)
}

fn upper(unit: u16) -> u16 {
    if (0x61..=0x7a).contains(&unit) { unit - 0x20 } else { unit }
}

/// The characters of a long name that its 8.3 twin keeps: blanks and dots go, foreign ones become `_`.
fn kept(part: &[u16], max: usize) -> Vec<u16> {
    let usable = part.iter().filter(|&&u| u != 0x20 && u != 0x2e);
    usable.map(|&u| if is_short_unit(u) { upper(u) } else { 0x5f }).take(max).collect()
}

/// Base (up to six characters) and extension of the twins of a long name.
fn stem(name: &[u16]) -> (Vec<u16>, Vec<u16>) {
    // Leading dots do not start an extension.
    let body = &name[name.iter().take_while(|&&u| u == 0x2e).count()..];
    match body.iter().rposition(|&u| u == 0x2e) {
        Some(dot) => (kept(&body[..dot], 6), kept(&body[dot + 1..], 3)),
        None => (kept(body, 6), Vec::new()),
    }
}

/// Whether `twin` is what Windows could have made of `name`: the same base before `~`, the same extension.
pub(crate) fn is_twin_of(twin: &[u16], name: &[u16]) -> bool {
    let (base, extension) = stem(name);
    let dot = twin.iter().position(|&u| u == 0x2e).unwrap_or(twin.len());
    let tilde = twin[..dot].iter().rposition(|&u| u == 0x7e);
    let twin_extension = twin.get(dot + 1..).unwrap_or_default();
    tilde.is_some_and(|t| twin[..t] == base[..t.min(base.len())] && t + 2 >= base.len().min(6))
        && twin_extension == extension
}

/// Makes the 8.3 twin of a long name: `BASE12~1.EXT` up to `~4`, then two characters and a hash as Windows does, so that many
/// similar names do not end in long searches. `taken` says whether a name exists. `None` when none is free.
pub(crate) fn twin(name: &[u16], mut taken: impl FnMut(&[u16]) -> bool) -> Option<Vec<u16>> {
    let (mut base, extension) = stem(name);
    let with = |base: &[u16], number: u32| {
        let mut out = base.to_vec();
        out.extend(format!("~{number}").encode_utf16());
        if !extension.is_empty() {
            out.push(0x2e);
            out.extend_from_slice(&extension);
        }
        out
    };
    if base.is_empty() {
        base.push(0x5f);
    }
    if let Some(free) = (1..=4).map(|n| with(&base, n)).find(|t| !taken(t)) {
        return Some(free);
    }
    let hash = name.iter().fold(0x811c_9dc5u32, |h, &u| (h ^ u32::from(u)).wrapping_mul(0x0100_0193));
    base.truncate(2);
    for step in 0..0x1000u32 {
        let text = format!("{:04X}", (hash ^ hash >> 16).wrapping_add(step) & 0xffff);
        let hashed: Vec<u16> = base.iter().copied().chain(text.encode_utf16()).collect();
        if let Some(free) = (1..=9).map(|n| with(&hashed, n)).find(|t| !taken(t)) {
            return Some(free);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn short_names() {
        for good in ["a", "NTUSER.DAT", "readme.txt", "A_B~1.x", "8charact.ext"] {
            assert!(is_short(&wide(good)), "{good}");
        }
        for bad in ["", ".a", "a.", "a b", "ninechars", "a.html", "a.b.c", "a+b", "é", "a,b"] {
            assert!(!is_short(&wide(bad)), "{bad}");
        }
    }

    #[test]
    fn twins() {
        let make = |name: &str, taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|t| wide(t)).collect();
            String::from_utf16(&twin(&wide(name), |t| taken.contains(&t.to_vec())).unwrap()).unwrap()
        };
        assert_eq!(make("Program Files", &[]), "PROGRA~1");
        assert_eq!(make("Program Files", &["PROGRA~1"]), "PROGRA~2");
        assert_eq!(make("setup act.long.html", &[]), "SETUPA~1.HTM");
        assert_eq!(make(".gitignore", &[]), "GITIGN~1");
        assert_eq!(make("a+b.c", &[]), "A_B~1.C");
        assert_eq!(make("...", &[]), "_~1");
        let hashed = make("Program Files", &["PROGRA~1", "PROGRA~2", "PROGRA~3", "PROGRA~4"]);
        assert!(hashed.starts_with("PR") && hashed.ends_with("~1") && hashed.len() == 8, "{hashed}");
        assert!(is_twin_of(&wide("S-1-5-~1"), &wide("S-1-5-21-1-2-3-1001")));
        assert!(!is_twin_of(&wide("OLDNAM~1"), &wide("New name of it")));
    }

    #[test]
    fn faults() {
        assert!(fault(&wide("fine name.txt")).is_none());
        for bad in ["", "a/b", "a\u{1}", "end.", "end ", "a:b"] {
            assert!(fault(&wide(bad)).is_some(), "{bad}");
        }
    }
}
