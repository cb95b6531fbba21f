//! WIM files that we write: wimlib and 7-Zip read them, and what they read is what was to be written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::FileTime;
use reseal_testdata::oracle;
use reseal_wim::{FileId, Image, NewFile, Storage, Stream, StreamKind, Times, Wim, Writer, hash_of};
use rig::{KINDS, Sources, by_us, by_wimlib, open, open_bytes};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What wimlib and 7-Zip think of a file; the latter, where it reads what wimlib wrote in that format. `None` where a tool is
/// missing.
fn approved(path: &Path, like: Option<&Path>) -> Option<()> {
    oracle::agree("wimlib-imagex", ["verify", path.to_str().unwrap()])?;
    oracle::agree("wimlib-imagex", ["info", path.to_str().unwrap()])?;
    let by_7z = |path: &Path| oracle::run("7z", ["t", path.to_str().unwrap()]);
    if like.is_none_or(|like| by_7z(like).is_some_and(|said| said.status.success())) {
        oracle::agree("7z", ["t", path.to_str().unwrap()])?;
    }
    Some(())
}

fn write(path: PathBuf, mut bytes: Vec<u8>, done: reseal_wim::Finished) -> PathBuf {
    bytes.truncate(done.len as usize);
    bytes[..208].copy_from_slice(&done.header);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn write_all(writer: &mut Writer<'_>, contents: &[Vec<u8>]) {
    writer
        .blobs(contents.len(), |number, out| {
            out.extend(&contents[number]);
            Ok::<_, reseal_dtyp::Error>(())
        })
        .unwrap();
}

/// A new WIM with all images of another one, written anew where `edited` has them.
fn rebuilt(wim: &Wim, edited: &[Image], contents: &[Vec<u8>], storage: Storage) -> (Vec<u8>, reseal_wim::Finished) {
    let mut out = vec![0; 208];
    let mut writer = Writer::new(&mut out, wim.header().clone(), storage, wim.has_integrity());
    let changed: HashMap<u32, &Image> = (1..).zip(edited).collect();
    write_all(&mut writer, contents);
    let references = wim.references(&[1, 2], &changed).unwrap();
    for blob in wim.blobs().iter().filter(|blob| !blob.is_solid() && references.contains_key(&blob.hash)) {
        writer.copy(wim, blob).unwrap();
    }
    writer.copy_solids(wim, &|hash| references.contains_key(hash)).unwrap();
    for number in 1..=wim.header().images {
        match changed.get(&number) {
            Some(image) => writer.image(image).unwrap(),
            None => writer.copy_image(wim, number, false).unwrap(),
        }
    }
    let done = writer.finish(&references, 0, &wim.xml().unwrap()).unwrap();
    (out, done)
}

#[test]
fn what_is_rebuilt_is_the_same() {
    let Some(sources) = Sources::new() else { return };
    for kind in KINDS {
        let Some(path) = sources.capture(kind) else { return };
        let wim = open(&path).unwrap();
        let images: Vec<Image> = [1, 2].map(|number| wim.image(number).unwrap()).to_vec();
        for storage in [Storage::Compressed, Storage::Plain, Storage::PlainChunks] {
            let (bytes, done) = rebuilt(&wim, &images, &[], storage);
            let new = write(sources.path("rebuilt.wim"), bytes, done);
            if approved(&new, Some(&path)).is_none() {
                return;
            }
            let ours = open(&new).unwrap();
            assert!(ours.holes().is_empty(), "{kind:?}: {:?}", ours.holes());
            assert_eq!(ours.check_integrity().unwrap(), kind.contains(&"--check").then(Vec::new), "{kind:?}");
            for number in [1, 2] {
                assert_eq!(by_wimlib(&new, number), by_wimlib(&path, number), "{kind:?}, {storage:?}, image {number}");
                assert_eq!(by_us(&ours, &ours.image(number).unwrap()), by_wimlib(&new, number).unwrap());
            }
        }
    }
}

/// Everything that an edit can be, in one image. The contents that are new.
fn edit(image: &mut Image) -> Vec<Vec<u8>> {
    let find = |image: &Image, path: &str| {
        path.split('/').fold(image.root(), |folder, name| {
            let is_it = |entry: &&reseal_wim::Entry| reseal_dtyp::utf16_lossy(&entry.name).eq_ignore_ascii_case(name);
            image.entries(folder).find(is_it).unwrap_or_else(|| panic!("no {path}")).file
        })
    };
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let contents: Vec<Vec<u8>> = vec![b"new content ".repeat(20_000), b"a stream".to_vec(), vec![]];
    let hash = |data: &Vec<u8>| hash_of(data);
    let sam = find(image, "Windows/System32/config/SAM");
    image.set_stream(sam, &[], hash(&contents[0]));
    image.set_stream(sam, &units("second"), hash(&contents[1]));
    let times = Times { created: FileTime(1), written: FileTime(133_000_000_000_000_000), accessed: FileTime(3) };
    image.set_times(sam, times);
    let known = image.descriptor(sam).unwrap().to_vec();
    let security = image.add_descriptor(&known);
    assert_eq!(Some(security), image.security(sam));
    let folder = find(image, "Windows/System32");
    let content = |data| Stream { kind: StreamKind::Data, name: Vec::new(), hash: hash(data) };
    let file = |data| NewFile {
        attributes: 0x20,
        security: Some(security),
        times,
        streams: vec![content(data)],
        ..NewFile::default()
    };
    let first = image.create(folder, &units("first new"), &units("FIRSTN~1"), file(&contents[0]));
    image.link(image.root(), &units("second name"), &[], first);
    image.create(folder, &units("empty new"), &[], file(&contents[2]));
    let dir =
        image.create(folder, &units("folder new"), &[], NewFile { attributes: 0x10, times, ..NewFile::default() });
    image.create(dir, &units("ünter"), &[], file(&contents[1]));
    let target = Stream { kind: StreamKind::Reparse, name: Vec::new(), hash: hash(&contents[1]) };
    let link =
        NewFile { attributes: 0x410, reparse_tag: 0xa000_0003, times, streams: vec![target], ..NewFile::default() };
    image.create(dir, &units("link"), &[], link);
    image.rename(dir, folder, &units("folder new"), &units("renamed")).unwrap();
    let config = find(image, "Windows/System32/config");
    image.remove(find(image, "Windows/System32/config/SECURITY")).unwrap();
    assert!(image.remove(config).is_err());
    let users = find(image, "Users");
    image.link(users, &units("third name"), &[], first);
    assert!(image.remove_tree(users).unwrap() > 1);
    assert_eq!(image.names(first).count(), 2);
    contents
}

fn paths(image: &Image) -> usize {
    let below = |folder: FileId| image.entries(folder).count();
    image.files().map(below).sum()
}

#[test]
fn what_is_edited_is_read_back_appended_and_rebuilt() {
    let Some(sources) = Sources::new() else { return };
    for kind in KINDS {
        let Some(path) = sources.capture(kind) else { return };
        let wim = open(&path).unwrap();
        let mut image = wim.image(1).unwrap();
        let contents = edit(&mut image);
        let untouched = by_wimlib(&path, 2);
        let changed = HashMap::from([(1, &image)]);
        let references = wim.references(&[1, 2], &changed).unwrap();

        let mut appended = std::fs::read(&path).unwrap();
        let old_len = appended.len();
        let mut writer = Writer::behind(&mut appended, &wim, Storage::Compressed).unwrap();
        assert_eq!(writer.position(), old_len.next_multiple_of(8) as u64, "wimlib leaves nothing behind the tables");
        write_all(&mut writer, &contents);
        writer.image(&image).unwrap();
        writer.copy_image(&wim, 2, true).unwrap();
        let done = writer.finish(&references, 0, &wim.xml().unwrap()).unwrap();
        assert_eq!(
            appended[..old_len],
            std::fs::read(&path).unwrap(),
            "what was there stays until the header is written"
        );
        let appended = write(sources.path("appended.wim"), appended, done);
        let (rebuilt, done) = rebuilt(&wim, std::slice::from_ref(&image), &contents, Storage::Plain);
        let rebuilt = write(sources.path("rebuilt.wim"), rebuilt, done);

        for (new, has_holes) in [(&appended, true), (&rebuilt, false)] {
            if approved(new, Some(&path)).is_none() {
                return;
            }
            let ours = open(new).unwrap();
            assert_eq!(ours.holes().is_empty(), !has_holes, "{kind:?}");
            let read = ours.image(1).unwrap();
            assert_eq!(paths(&read), paths(&image));
            assert_eq!(by_us(&ours, &read), by_wimlib(new, 1).unwrap(), "{kind:?}");
            assert_eq!(by_wimlib(new, 2), untouched, "{kind:?}");
            for content in &contents {
                if !content.is_empty() {
                    let blob = ours.blob(&hash_of(content)).unwrap().unwrap();
                    assert_eq!(ours.read(blob, u64::MAX).unwrap(), *content);
                }
            }
        }
    }
}

/// Removed contents are nowhere in a rebuilt WIM, in solid resources neither.
#[test]
fn what_nobody_names_is_gone() {
    let Some(sources) = Sources::new() else { return };
    let secret = b"a secret that no two files share, at some length";
    std::fs::write(sources.folder().join("secret"), secret).unwrap();
    for kind in KINDS {
        let Some(path) = sources.capture(kind) else { return };
        let wim = open(&path).unwrap();
        let mut image = wim.image(2).unwrap();
        let units: Vec<u16> = "secret".encode_utf16().collect();
        let file = image.entries(image.root()).find(|entry| entry.name == units).unwrap().file;
        image.remove(file).unwrap();
        let images = [wim.image(1).unwrap(), image];
        let (bytes, done) = rebuilt(&wim, &images, &[], Storage::Compressed);
        let new = write(sources.path("rebuilt.wim"), bytes, done);
        if approved(&new, Some(&path)).is_none() {
            return;
        }
        let ours = open(&new).unwrap();
        assert_eq!(ours.blobs().len() + 1, wim.blobs().len(), "{kind:?}");
        let finder = memchr::memmem::Finder::new(&secret[..]);
        for solid in ours.solid_contents(1 << 30).unwrap() {
            assert!(finder.find(&solid).is_none(), "{kind:?}");
        }
        assert!(finder.find(&std::fs::read(&new).unwrap()).is_none(), "{kind:?}");
    }
}

/// Our own WIM, with no other before it.
#[test]
fn a_new_wim_is_read_by_others() {
    use reseal_wim::{Compression, Header};
    let Some(sources) = Sources::new() else { return };
    for (compression, chunk) in
        [(Compression::None, 0), (Compression::Xpress, 32768), (Compression::Lzx, 32768), (Compression::Lzms, 131_072)]
    {
        let mut bytes = vec![0; 208];
        let header = Header::new(compression, chunk, reseal_dtyp::Guid([7; 16]));
        let mut writer = Writer::new(&mut bytes, header, Storage::Compressed, true);
        let folder = NewFile { attributes: 0x10, ..NewFile::default() };
        let mut image = Image::new(folder);
        let large: Vec<u8> = (0..40_000_000u32).map(|n| (n / 1000) as u8).collect();
        let hash = writer
            .large_blob(large.len() as u64, &mut |at, buf| {
                buf.copy_from_slice(&large[at as usize..at as usize + buf.len()]);
                Ok(())
            })
            .unwrap();
        let stream = Stream { kind: StreamKind::Data, name: Vec::new(), hash };
        let file = NewFile { attributes: 0x20, streams: vec![stream], ..NewFile::default() };
        image.create(image.root(), &"large".encode_utf16().collect::<Vec<u16>>(), &[], file);
        writer.image(&image).unwrap();
        let xml = "\u{feff}<WIM><IMAGE INDEX=\"1\"><NAME>x</NAME></IMAGE></WIM>";
        let xml: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let done = writer.finish(&image.references(), 1, &xml).unwrap();
        let path = write(sources.path("new.wim"), bytes, done);
        if approved(&path, None).is_none() {
            return;
        }
        let ours = open_bytes(std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((ours.header().boot_image, ours.check_integrity().unwrap()), (1, Some(vec![])));
        assert_eq!(ours.read(ours.blob(&hash).unwrap().unwrap(), u64::MAX).unwrap(), large);
        assert_eq!(by_us(&ours, &ours.image(1).unwrap()), by_wimlib(&path, 1).unwrap());
    }
}
