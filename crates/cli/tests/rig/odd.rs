//! A volume full of what files may be, and empty ones that an image of it comes onto.

use super::{Bench, reseal};
use reseal_dtyp::{Descriptor, FileTime};
use reseal_ntfs::{FileReference, NewFile, NewName, Security, Volume};
use reseal_testdata::{Container, ImageBuilder};

pub(crate) const THEN: FileTime = FileTime(133_500_000_000_000_000);
/// The same as [`THEN`], in seconds since 1970: when the record of a file changed is no part of a WIM, so that is when it was applied.
pub(crate) const TIME: [&str; 2] = ["--time", "1705526400"];

pub(crate) fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// A disk with an empty volume.
pub(crate) fn blank(bench: &Bench, name: &str, builder: ImageBuilder) -> String {
    builder.build(&bench.path(name), |_| Ok(())).expect("written");
    bench.arg(name)
}

pub(crate) const BARE: ImageBuilder =
    ImageBuilder { container: Container::Raw, volume_len: 64 << 20, sector_size: 512, cluster_size: 4096, bare: true };

/// Captures with [`TIME`].
pub(crate) fn capture(disk: &str, wim: &str, format: &str) {
    reseal([&["wim", "capture", disk, wim, "--compress", format][..], &TIME].concat()).exits(0);
}

pub(crate) fn reparse(tag: u32, rest: &[u8]) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &(rest.len() as u16).to_le_bytes(), &[0; 2], rest].concat()
}

/// The data of a junction or, with flags behind the lengths, of a symbolic link.
fn link_to(tag: u32, target: &str, flags: Option<u32>) -> Vec<u8> {
    let bytes = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (there, shown) = (bytes(&format!(r"\??\{target}")), bytes(target));
    let words = [0, there.len(), there.len() + 2, shown.len()];
    let mut rest: Vec<u8> = words.iter().flat_map(|w| (*w as u16).to_le_bytes()).collect();
    rest.extend(flags.into_iter().flat_map(u32::to_le_bytes));
    for name in [there, shown] {
        rest.extend(name);
        rest.extend([0, 0]);
    }
    reparse(tag, &rest)
}

/// A volume full of what files may be.
pub(crate) fn oddities(volume: &mut Volume) -> anyhow::Result<()> {
    let root = volume.root();
    let same = Security::SameAs(root);
    let set = |volume: &mut Volume, file: FileReference, number: u64, attributes| {
        volume.set_attributes(file, attributes, THEN).expect("written");
        volume
            .set_times(
                file,
                [FileTime(THEN.0 - 9_999 - number), FileTime(THEN.0 + number), THEN, FileTime(THEN.0 + 7 * number)],
            )
            .expect("written");
    };
    let dir = volume.create_dir(root, "A folder with a long name", same, THEN)?;
    let long = volume.create_file(dir, "a file with a long name.text", &b"content ".repeat(999), same, THEN)?;
    for (folder, name) in [(root, "second name.text"), (dir, "THIRD.TXT"), (root, "fourth")] {
        volume.link(long, folder, &units(name), THEN)?;
    }
    let equal = volume.create_file(dir, "equal content.text", &b"content ".repeat(999), same, THEN)?;
    volume.replace(equal, &units("named"), &b"a stream ".repeat(500), THEN)?;
    volume.replace(equal, &units("empty"), b"", THEN)?;
    volume.replace(dir, &units("of a folder"), b"short", THEN)?;
    let empty = volume.create_file(root, "EMPTY", b"", same, THEN)?;
    let large: Vec<u8> = (0..5_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let large = volume.create_file(root, "large", &large, same, THEN)?;
    let lone = [0xd800, u16::from(b'x')];
    let lone = volume.create_as(dir, NewName::Exact(&lone), Some(b"no text"), same, THEN)?;
    let cases = volume.create_dir(root, "cases", same, THEN)?;
    for (name, content) in [("Readme", b"one"), ("README", b"two")] {
        volume.create_as(cases, NewName::Exact(&units(name)), Some(content), same, THEN)?;
    }
    let short = NewName::Given(&units("An unusual short name"), Some(&units("OTHER~77.X")));
    let new = NewFile { data: Some(b"x"), security: same, times: [THEN; 4], attributes: 0x21 };
    volume.create_with(root, short, &new)?;
    volume.create_with(root, NewName::Given(&units("no short name at all"), None), &new)?;
    let junction = volume.create_dir(root, "Documents and Settings", same, THEN)?;
    volume.set_reparse(junction, &link_to(0xa000_0003, r"C:\Users", None), THEN)?;
    let symlink = volume.create_file(root, "a link", b"", same, THEN)?;
    volume.set_reparse(symlink, &link_to(0xa000_000c, r"C:\large", Some(0)), THEN)?;
    let mut own = reparse(0x4711, &[7; 16]);
    own[4] = 0;
    let own_tag = volume.create_file(root, "somebody's tag", b"with content", same, THEN)?;
    volume.set_reparse(own_tag, &own, THEN)?;
    for (number, sddl) in
        ["O:BAG:SYD:P(A;;FA;;;SY)", "O:SYG:BAD:AI(A;OICI;FA;;;BA)(D;;FR;;;WD)", "O:BAG:BAD:NO_ACCESS_CONTROL"]
            .iter()
            .enumerate()
    {
        let descriptor = Descriptor::from_sddl(sddl).expect("written").to_bytes().expect("written");
        for copy in 0..2 {
            let name = format!("DESC{number}{copy}");
            volume.create_file(root, &name, b"", Security::Descriptor(&descriptor), THEN)?;
        }
    }
    for (number, (file, attributes)) in [
        (long, 0x1),
        (equal, 0x7),
        (empty, 0x2),
        (lone, 0x2020),
        (large, 0x1100),
        (own_tag, 0),
        (dir, 0x2002),
        (symlink, 0x20),
    ]
    .into_iter()
    .enumerate()
    {
        set(volume, file, number as u64, attributes);
    }
    set(volume, root, 99, 0x6);
    Ok(())
}
