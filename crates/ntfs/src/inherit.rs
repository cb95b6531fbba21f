//! What a folder's security descriptor hands down to a new child ([MS-DTYP] 2.5.3.4).

use reseal_dtyp::{Ace, AceBody, Acl, Descriptor, Sid, control};

const OBJECT_INHERIT: u8 = 0x01;
const CONTAINER_INHERIT: u8 = 0x02;
const NO_PROPAGATE: u8 = 0x04;
const INHERIT_ONLY: u8 = 0x08;
const INHERITED: u8 = 0x10;
const INHERITANCE: u8 = 0x1f;

/// Generic rights and what they mean for files.
const GENERIC: [(u32, u32); 4] =
    [(0x8000_0000, 0x0012_0089), (0x4000_0000, 0x0012_0116), (0x2000_0000, 0x0012_00a0), (0x1000_0000, 0x001f_01ff)];

/// Whether these bytes are a descriptor that can be put into `$Secure`.
pub(crate) fn is_descriptor(bytes: &[u8]) -> bool {
    Descriptor::read(bytes).is_ok()
}

/// The descriptor of a child; owner and group are the folder's. `None` when the folder hands down no DACL entry.
pub(crate) fn handed_down(folder: &[u8], is_directory: bool) -> Option<Vec<u8>> {
    let folder = Descriptor::read(folder).ok()?;
    let creators = (folder.owner.clone()?, folder.group.clone()?);
    let dacl = list(folder.dacl.as_ref()?, &creators, is_directory)?;
    let sacl = folder.sacl.as_ref().and_then(|acl| list(acl, &creators, is_directory));
    let mut flags = control::DACL_AUTO_INHERITED;
    if sacl.is_some() {
        flags |= control::SACL_AUTO_INHERITED;
    }
    Descriptor::new(Some(creators.0), Some(creators.1), sacl, Some(dacl), flags).to_bytes().ok()
}

fn list(acl: &Acl, creators: &(Sid, Sid), is_directory: bool) -> Option<Acl> {
    let aces: Vec<Ace> = acl.aces.iter().flat_map(|ace| entry(ace, creators, is_directory)).collect();
    if aces.is_empty() { None } else { Some(Acl::new(aces)) }
}

/// What becomes of one entry: nothing, one, or an effective one and one that only waits for children.
fn entry(ace: &Ace, creators: &(Sid, Sid), is_directory: bool) -> Vec<Ace> {
    let has = |flag: u8| ace.flags & flag != 0;
    // The upper bits are audit flags.
    let kept = ace.flags & !INHERITANCE;
    let with = |flags: u8| Ace { flags: kept | INHERITED | flags, ..ace.clone() };
    let down = ace.flags & (OBJECT_INHERIT | CONTAINER_INHERIT);
    if !is_directory {
        return if has(OBJECT_INHERIT) { vec![effective(&with(0), creators)] } else { Vec::new() };
    }
    if !has(CONTAINER_INHERIT) {
        // It passes through the folder on its way to files.
        let passes = has(OBJECT_INHERIT) && !has(NO_PROPAGATE);
        return if passes { vec![with(OBJECT_INHERIT | INHERIT_ONLY)] } else { Vec::new() };
    }
    if has(NO_PROPAGATE) {
        return vec![effective(&with(0), creators)];
    }
    let plain = with(down);
    let mapped = effective(&plain, creators);
    if mapped == plain { vec![plain] } else { vec![effective(&with(0), creators), with(down | INHERIT_ONLY)] }
}

/// Generic rights spelled out, CREATOR OWNER and CREATOR GROUP replaced by who they are.
fn effective(ace: &Ace, creators: &(Sid, Sid)) -> Ace {
    let mut out = ace.clone();
    for (generic, rights) in GENERIC {
        if out.mask & generic != 0 && !matches!(out.body, AceBody::Opaque) {
            out.mask = out.mask & !generic | rights;
        }
    }
    if let AceBody::Plain { sid } | AceBody::Object { sid, .. } = &mut out.body {
        match (sid.authority(), sid.subs()) {
            (3, [0]) => *sid = creators.0.clone(),
            (3, [1]) => *sid = creators.1.clone(),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(text: &str) -> Sid {
        text.parse().unwrap()
    }

    fn ace(flags: u8, mask: u32, who: &str) -> Ace {
        Ace { ty: 0, flags, mask, body: AceBody::Plain { sid: sid(who) }, data: Vec::new() }
    }

    fn child(aces: Vec<Ace>, is_directory: bool) -> Option<Vec<Ace>> {
        let folder = Descriptor::new(Some(sid("S-1-5-18")), Some(sid("S-1-5-32-544")), None, Some(Acl::new(aces)), 0)
            .to_bytes()
            .unwrap();
        let down = handed_down(&folder, is_directory)?;
        let down = Descriptor::read(&down).unwrap();
        assert_eq!(down.owner, Some(sid("S-1-5-18")));
        Some(down.dacl.unwrap().aces)
    }

    #[test]
    fn files_get_object_inherit_entries() {
        let aces = vec![ace(3, 0x1f01ff, "S-1-5-18"), ace(2, 1, "S-1-1-0"), ace(0x0b, 0x1000_0000, "S-1-3-0")];
        let expected = vec![ace(0x10, 0x1f01ff, "S-1-5-18"), ace(0x10, 0x1f01ff, "S-1-5-18")];
        assert_eq!(child(aces, false), Some(expected));
    }

    #[test]
    fn folders_get_both_and_pass_on() {
        let aces =
            vec![ace(3, 5, "S-1-1-0"), ace(1, 6, "S-1-1-0"), ace(6, 7, "S-1-1-0"), ace(0x0b, 0x1000_0000, "S-1-3-0")];
        let expected = vec![
            ace(0x13, 5, "S-1-1-0"),
            ace(0x19, 6, "S-1-1-0"),
            ace(0x10, 7, "S-1-1-0"),
            ace(0x10, 0x1f01ff, "S-1-5-18"),
            ace(0x1b, 0x1000_0000, "S-1-3-0"),
        ];
        assert_eq!(child(aces, true), Some(expected));
    }

    #[test]
    fn nothing_to_inherit() {
        assert_eq!(child(vec![ace(0, 5, "S-1-1-0")], true), None);
    }
}
