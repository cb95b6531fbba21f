//! VHD and differencing disks: against qemu-img and libvhdi, files that Windows wrote, chains, and damage.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

use reseal_disk::journal::{self, Recovered};
use reseal_disk::{
    CreateChild, CreateVhd, CreateVhdx, Disk, Format, HostMedia, InPlace, NewDisk, create_vhd, create_vhdx,
};
use reseal_dtyp::{Guid, Kind};
use reseal_testdata::{oracle, real};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

fn guids(n: u8) -> [Guid; 2] {
    [Guid([n; 16]), Guid([n + 1; 16])]
}

fn content(disk: &Disk) -> Vec<u8> {
    let bytes = disk.bytes();
    let mut out = vec![0; bytes.len() as usize];
    bytes.read_at(0, &mut out).unwrap();
    out
}

fn read(path: &Path) -> Vec<u8> {
    content(&Disk::open(path).unwrap())
}

/// What can be made: the ending says the format.
const KINDS: [&str; 4] = ["fixed.vhd", "dynamic.vhd", "fixed.vhdx", "dynamic.vhdx"];

fn new_disk(path: &Path, kind: &str, disk_len: u64, block_len: u32) {
    let fixed = kind.starts_with("fixed");
    if kind.ends_with(".vhd") {
        let options = CreateVhd { disk_len, block_len, fixed, disk_id: Guid([7; 16]), time: 1 };
        create_vhd(&options).unwrap().write_to(path).unwrap();
        return;
    }
    let (disk_id, write_guid) = (Guid([7; 16]), Guid([8; 16]));
    let block_len = block_len.max(1 << 20);
    let (head, len) =
        create_vhdx(&CreateVhdx { disk_len, block_len, sector_size: 512, fixed, disk_id, write_guid }).unwrap();
    NewDisk { parts: vec![(0, head)], len }.write_to(path).unwrap();
}

fn new_child(parent: &Path, child: &Path, block_len: u32, id: u8) {
    let options = CreateChild { block_len, id: Guid([id; 16]), time: 1 };
    Disk::open(parent).unwrap().new_child(child, &options).unwrap().write_to(child).unwrap();
}

fn qemu_format(path: &Path) -> &'static str {
    if path.extension().unwrap() == "vhd" { "vpc" } else { "vhdx" }
}

/// QEMU sees the disk as we do. It knows no differencing disks.
fn qemu_agrees(path: &Path, content: &[u8]) {
    let raw = path.with_extension("raw");
    std::fs::write(&raw, content).unwrap();
    let (path_text, raw_text) = (path.to_str().unwrap(), raw.to_str().unwrap());
    oracle::agree("qemu-img", ["compare", "-q", "-f", qemu_format(path), "-F", "raw", path_text, raw_text]);
    if qemu_format(path) == "vhdx" {
        oracle::agree("qemu-img", ["check", "-q", path_text]);
    }
    std::fs::remove_file(raw).unwrap();
}

/// Writes here and there, over the borders of blocks, zeros too; the same into a model.
fn scribble(disk: &Disk, model: &mut [u8], seed: u64) {
    let bytes = disk.bytes();
    let mut at = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for i in 0..24u64 {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let start = (at >> 20) as usize % (model.len() - 70_000);
        let len = [1, 511, 512, 4096, 66_000][i as usize % 5];
        let data = vec![if i % 4 == 3 { 0 } else { (i * 7 + seed) as u8 }; len];
        bytes.write_at(start as u64, &data).unwrap();
        model[start..start + len].copy_from_slice(&data);
    }
    bytes.write_at(model.len() as u64 - 3, b"end").unwrap();
    let n = model.len();
    model[n - 3..].copy_from_slice(b"end");
}

#[test]
fn what_we_make_and_write_is_read_by_others() {
    let dir = tempfile::tempdir().unwrap();
    for (n, kind) in KINDS.into_iter().enumerate() {
        for (disk_len, block_len) in [(9 * MIB + 512 * 3, 512 << 10), (20 * MIB, 2 << 20)] {
            if kind.starts_with("fixed") && block_len != 2 << 20 {
                continue;
            }
            let (empty, out) = (
                dir.path().join(format!("e{n}{block_len}-{kind}")),
                dir.path().join(format!("o{n}{block_len}-{kind}")),
            );
            new_disk(&empty, kind, disk_len, block_len);
            qemu_agrees(&empty, &vec![0; disk_len as usize]);
            let before = std::fs::read(&empty).unwrap();
            let disk = Disk::open(&empty).unwrap();
            assert_eq!(
                disk.format().name(),
                format!("{}-{}", &kind[kind.len() - 3..].replace("hdx", "vhdx"), kind.split('.').next().unwrap())
            );
            let mut model = vec![0; disk_len as usize];
            scribble(&disk, &mut model, n as u64);
            assert!(content(&disk) == model, "{kind}");
            let changed = disk.changed_ranges().unwrap();
            assert!(changed.iter().all(|r| r.end <= disk_len), "{changed:?}");
            let told: u64 = changed.iter().map(|r| r.end - r.start).sum();
            let really = model.chunks(512).filter(|sector| sector.iter().any(|b| *b != 0)).count() as u64 * 512;
            assert_eq!(told, really, "{kind}: changed sectors");
            let old_id = disk.link_id();
            disk.commit_to(&out, guids(20), &|_, _| {}).unwrap();
            assert!(std::fs::read(&empty).unwrap() == before);
            assert!(read(&out) == model);
            let again = Disk::open(&out).unwrap();
            assert!(again.link_id() != old_id && again.container_damage().is_none(), "{kind}: changed, so another id");
            qemu_agrees(&out, &model);
            if let Some(theirs) = oracle::vhdi(&[&out]) {
                assert!(theirs == model, "{kind}: libvhdi reads something else");
            }
        }
    }
}

/// A leaf with two disks below it, of both formats: what is read, what is written, what is said to have changed.
#[test]
fn chains_are_read_and_only_the_leaf_is_written() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let ending = kind.rsplit('.').next().unwrap();
        let path = |name: &str| dir.path().join(format!("{name}.{ending}"));
        let (empty, base, middle, leaf) = (path("empty"), path("base"), path("middle"), path("leaf"));
        let len = 9 * MIB;
        new_disk(&empty, kind, len, 512 << 10);
        let mut model = vec![0; len as usize];
        let disk = Disk::open(&empty).unwrap();
        scribble(&disk, &mut model, 1);
        disk.commit_to(&base, guids(30), &|_, _| {}).unwrap();
        let block_len = if ending == "vhd" { 512 << 10 } else { 1 << 20 };
        let empty_middle = path("empty-middle");
        new_child(&base, &empty_middle, block_len, 40);
        let disk = Disk::open(&empty_middle).unwrap();
        assert_eq!(disk.format(), if ending == "vhd" { Format::VHD_DIFFERENCING } else { Format::VHDX_DIFFERENCING });
        assert!(content(&disk) == model, "{kind}: an empty child reads as its parent");
        // The same bytes once more are no change.
        disk.bytes().write_at(0, &model).unwrap();
        assert_eq!(disk.changed_bytes().unwrap(), 0);
        let mut now = model.clone();
        scribble(&disk, &mut now, 2);
        assert!(content(&disk) == now, "{kind}");
        let told = disk.changed_ranges().unwrap();
        let is_told = |at: u64| told.iter().any(|r| r.contains(&at));
        for (i, (a, b)) in model.chunks(512).zip(now.chunks(512)).enumerate() {
            assert_eq!(a != b, is_told(i as u64 * 512), "{kind}: sector {i}");
        }
        disk.commit_to(&middle, guids(50), &|_, _| {}).unwrap();
        std::fs::remove_file(&empty_middle).unwrap();
        new_child(&middle, &leaf, block_len, 60);
        let files = [&base, &middle].map(|p| std::fs::read(p).unwrap());
        let mut last = now.clone();
        let disk = Disk::open_for_writing(&leaf).unwrap();
        assert!(content(&disk) == now);
        scribble(&disk, &mut last, 3);
        let how = InPlace { marks: &[3], ..InPlace::default() };
        disk.commit_in_place(how, guids(70), &|_, _| {}).unwrap();
        assert!(read(&leaf) == last, "{kind}");
        assert!([&base, &middle].map(|p| std::fs::read(p).unwrap()) == files, "{kind}: a parent changed");
        if let Some(theirs) = oracle::vhdi(&[&leaf, &middle, &base]) {
            assert!(theirs == last, "{kind}: libvhdi reads something else");
        }
        // Blocks of another size than the parent's; what libvhdi 20210425 reads then is not the disk of a VHDX.
        let wide = path("wide");
        new_child(&middle, &wide, 4 << 20, 75);
        assert!(read(&wide) == now, "{kind}");
        std::fs::remove_file(&wide).unwrap();
        // Each disk knows who stands on it.
        assert_eq!(Disk::open(&base).unwrap().children().unwrap(), std::slice::from_ref(&middle));
        assert_eq!(Disk::open(&middle).unwrap().children().unwrap(), std::slice::from_ref(&leaf));
        assert_eq!(Disk::open(&leaf).unwrap().children().unwrap(), Vec::<PathBuf>::new());
        refuses_broken_chains(dir.path(), &base, &middle, &leaf);
    }
}

fn refuses_broken_chains(dir: &Path, base: &Path, middle: &Path, leaf: &Path) {
    // In another folder: the path is said anew, in both directions, and the parent's bytes stay.
    let far = dir.join("far/away");
    std::fs::create_dir_all(&far).unwrap();
    let (wanted, moved) = (read(leaf), far.join(leaf.file_name().unwrap()));
    Disk::open(leaf).unwrap().commit_to(&moved, guids(80), &|_, _| {}).unwrap();
    assert!(read(&moved) == wanted);
    let back = dir.join("back").with_extension(leaf.extension().unwrap());
    Disk::open(&moved).unwrap().commit_to(&back, guids(82), &|_, _| {}).unwrap();
    assert!(read(&back) == wanted);
    std::fs::remove_file(&back).unwrap();
    // The parent is not there.
    let hidden = dir.join("hidden");
    std::fs::rename(middle, &hidden).unwrap();
    let error = Disk::open(leaf).unwrap_err();
    assert!(error.kind() == Kind::NotFound && error.to_string().contains("middle"), "{error}");
    // A copy of the leaf at its parent's place: the chain leads back to itself or to the wrong disk.
    std::os::unix::fs::symlink(leaf, middle).unwrap();
    let error = Disk::open(leaf).unwrap_err();
    assert!(error.kind() == Kind::Damaged && error.to_string().contains("its own parent"), "{error}");
    std::fs::remove_file(middle).unwrap();
    std::fs::copy(base, middle).unwrap();
    let error = Disk::open(leaf).unwrap_err();
    assert!(error.kind() == Kind::Damaged && error.to_string().contains("has the id"), "{error}");
    std::fs::remove_file(middle).unwrap();
    std::fs::rename(&hidden, middle).unwrap();
    // The parent was written to.
    let disk = Disk::open_for_writing(middle).unwrap();
    disk.bytes().write_at(5, b"another").unwrap();
    disk.commit_in_place(InPlace::default(), guids(90), &|_, _| {}).unwrap();
    let error = Disk::open(leaf).unwrap_err();
    assert!(error.kind() == Kind::Damaged && error.to_string().contains("written to"), "{error}");
}

/// While it is half written, a leaf whose boot sector lies in its parent opens for nobody.
#[test]
fn a_leaf_is_marked_by_its_own_signature() {
    for kind in ["fixed.vhd", "fixed.vhdx"] {
        let dir = tempfile::tempdir().unwrap();
        let ending = kind.rsplit('.').next().unwrap();
        let (base, leaf) = (dir.path().join(format!("base.{ending}")), dir.path().join(format!("leaf.{ending}")));
        new_disk(&base, kind, 8 * MIB, 2 << 20);
        new_child(&base, &leaf, 2 << 20, 9);
        let old = std::fs::read(&leaf).unwrap();
        let disk = Disk::open_for_writing(&leaf).unwrap();
        disk.bytes().write_at(3, b"NTFS    ").unwrap();
        let how = InPlace { marks: &[3], keep_undo: true, ..InPlace::default() };
        disk.commit_in_place(how, guids(10), &|_, _| {}).unwrap();
        let new = std::fs::read(&leaf).unwrap();
        let undo = PathBuf::from(format!("{}.reseal-undo", leaf.display()));
        let journal = PathBuf::from(format!("{}.reseal-journal", leaf.display()));
        // As the journal leaves it after its first write: the old file, marked.
        let at = if ending == "vhdx" { 0 } else { 512 };
        let mut half = old.clone();
        assert!(&half[at..at + 8] == if ending == "vhdx" { b"vhdxfile" } else { b"cxsparse" });
        half[at..at + 8].copy_from_slice(b"RESEAL!!");
        std::fs::write(&leaf, &half).unwrap();
        let error = Disk::open(&leaf).unwrap_err();
        assert!(error.kind() == Kind::Interrupted && error.to_string().contains("half written"), "{error}");
        std::fs::rename(&undo, &journal).unwrap();
        let mut media = HostMedia::open(&leaf, None).unwrap();
        assert_eq!(journal::recover(&mut media).unwrap(), Recovered::Finished);
        drop(media);
        assert!(std::fs::read(&leaf).unwrap() == new, "{kind}");
        assert_eq!(&read(&leaf)[3..11], b"NTFS    ");
        let mut media = HostMedia::open(&leaf, None).unwrap();
        assert_eq!(journal::undo(&mut media).unwrap(), Recovered::Undone);
        assert!(std::fs::read(&leaf).unwrap() == old, "{kind}");
    }
}

/// Every VHD and VHDX of the published sets, as Windows and other tools wrote them.
#[test]
fn files_of_windows_read_as_others_read_them() {
    let Some(root) = real::root() else { return };
    let dir = tempfile::tempdir().unwrap();
    let set = root.join("deb_dfvfs_20240505");
    for ending in ["vhd", "vhdx"] {
        for name in ["fat-parent", "ntfs-parent", "ntfs-fixed", "ntfs-dynamic", "ext2"] {
            let path = set.join(format!("{name}.{ending}"));
            let disk = Disk::open(&path).unwrap();
            let now = content(&disk);
            assert!(disk.container_damage().is_none() && disk.container_note().is_none(), "{}", path.display());
            let copy = dir.path().join(path.file_name().unwrap());
            std::fs::copy(&path, &copy).unwrap();
            qemu_agrees(&copy, &now);
            if let Some(theirs) = oracle::vhdi(&[&path]) {
                assert!(theirs == now, "{}", path.display());
            }
            // Written, and still read by both.
            let out = dir.path().join(format!("out-{name}.{ending}"));
            let mut model = now;
            scribble(&disk, &mut model, 5);
            disk.commit_to(&out, guids(20), &|_, _| {}).unwrap();
            qemu_agrees(&out, &model);
            if let Some(theirs) = oracle::vhdi(&[&out]) {
                assert!(theirs == model, "{}", out.display());
            }
        }
        let (leaf, parent) =
            (set.join(format!("ntfs-differential.{ending}")), set.join(format!("ntfs-parent.{ending}")));
        let disk = Disk::open(&leaf).unwrap();
        let now = content(&disk);
        assert_eq!(disk.parent().unwrap().path().file_name(), parent.file_name());
        assert_eq!(disk.partitions().unwrap().partitions.len(), 1);
        if let Some(theirs) = oracle::vhdi(&[&leaf, &parent]) {
            assert!(theirs == now, "{}", leaf.display());
        }
        let children = Disk::open(&parent).unwrap().children().unwrap();
        assert_eq!(children.len(), 1);
        assert_eq!(children[0].canonicalize().unwrap(), leaf.canonicalize().unwrap());
        // The leaf in place, beside a copy of its parent: sectors of partly present blocks come from both.
        let (copy, below) = (dir.path().join(leaf.file_name().unwrap()), dir.path().join(parent.file_name().unwrap()));
        std::fs::copy(&leaf, &copy).unwrap();
        std::fs::copy(&parent, &below).unwrap();
        let disk = Disk::open_for_writing(&copy).unwrap();
        let mut model = now.clone();
        scribble(&disk, &mut model, 6);
        let told = disk.changed_ranges().unwrap();
        for (i, (a, b)) in now.chunks(512).zip(model.chunks(512)).enumerate() {
            assert_eq!(a != b, told.iter().any(|r| r.contains(&(i as u64 * 512))), "{ending}: sector {i}");
        }
        disk.commit_in_place(InPlace { marks: &[3], ..InPlace::default() }, guids(20), &|_, _| {}).unwrap();
        assert!(read(&copy) == model);
        assert!(std::fs::read(&below).unwrap() == std::fs::read(&parent).unwrap());
        if let Some(theirs) = oracle::vhdi(&[&copy, &below]) {
            assert!(theirs == model, "{ending}");
        }
    }
    // Its footers have another checksum than their bytes: QEMU refuses it, libvhdi reads it.
    let image = set.join("image.vhd");
    let disk = Disk::open(&image).unwrap();
    assert!(disk.container_damage().is_some_and(|text| text.contains("checksum")));
    if let Some(theirs) = oracle::vhdi(&[&image]) {
        assert!(theirs == content(&disk));
    }
    virtual_pc(&root, dir.path());
}

/// 127 GiB, of which nothing is there: by its size, not by its geometry, which says less.
fn virtual_pc(root: &Path, dir: &Path) {
    let packed = root.join("deb_qemu_10.0.13/virtualpc-dynamic.vhd.bz2");
    let Some(unpacked) = oracle::run("bzip2", ["-dc".as_ref(), packed.as_os_str()]) else { return };
    let (path, out) = (dir.join("vpc.vhd"), dir.join("vpc-out.vhd"));
    std::fs::write(&path, unpacked.stdout).unwrap();
    let disk = Disk::open(&path).unwrap();
    assert_eq!((disk.format(), disk.bytes().len()), (Format::VHD_DYNAMIC, 127 << 30));
    let at = (100 << 30) + 12_345;
    assert!(disk.bytes().is_hole(at, 1 << 20));
    disk.bytes().write_at(at, b"far").unwrap();
    disk.commit_to(&out, guids(20), &|_, _| {}).unwrap();
    let mut back = [0; 4];
    Disk::open(&out).unwrap().bytes().read_at(at, &mut back).unwrap();
    assert_eq!(&back, b"far\0");
    let read = format!("read -P 102 {at} 1");
    oracle::agree("qemu-io", ["-r", "-f", "vpc", "-c", &read, out.to_str().unwrap()]);
}

fn sum(bytes: &mut [u8], field: usize) {
    bytes[field..field + 4].fill(0);
    let sum = !bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    bytes[field..field + 4].copy_from_slice(&sum.to_be_bytes());
}

fn sample() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (empty, out) = (dir.path().join("e.vhd"), dir.path().join("o.vhd"));
    new_disk(&empty, "dynamic.vhd", 3 * MIB, 512 << 10);
    let disk = Disk::open(&empty).unwrap();
    disk.bytes().write_at((1 << 20) - 100, &[5; 200]).unwrap();
    disk.commit_to(&out, guids(1), &|_, _| {}).unwrap();
    std::fs::read(out).unwrap()
}

type Fault = Box<dyn Fn(&mut Vec<u8>)>;

#[test]
fn damaged_vhds_are_refused() {
    const BAT: usize = 1536;
    let good = sample();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.vhd");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let disk = Disk::open(&path)?;
        disk.bytes().read_at(0, &mut vec![0; 3 << 20])?;
        Ok::<Disk, reseal_dtyp::Error>(disk)
    };
    assert_eq!(open(&good).unwrap().format(), Format::VHD_DYNAMIC);
    let end = good.len() - 512;
    let both = move |d: &mut Vec<u8>, act: &dyn Fn(&mut [u8])| {
        for at in [0, end] {
            act(&mut d[at..at + 512]);
            sum(&mut d[at..at + 512], 64);
        }
    };
    let header = |d: &mut Vec<u8>, act: &dyn Fn(&mut [u8])| {
        act(&mut d[512..1536]);
        sum(&mut d[512..1536], 36);
    };
    let faults: Vec<(&str, Kind, Fault)> = vec![
        ("both footers", Kind::Damaged, Box::new(move |d| (d[100] ^= 1, d[end + 100] ^= 2).0)),
        ("header", Kind::Damaged, Box::new(|d| d[600] ^= 1)),
        ("blocks overlap", Kind::Damaged, Box::new(|d| d.copy_within(BAT + 4..BAT + 8, BAT + 8))),
        ("beyond the end", Kind::Damaged, Box::new(|d| d[BAT..BAT + 4].copy_from_slice(&0x00ff_ffffu32.to_be_bytes()))),
        ("over the header", Kind::Damaged, Box::new(|d| d[BAT..BAT + 4].copy_from_slice(&1u32.to_be_bytes()))),
        (
            "over the footer",
            Kind::Damaged,
            Box::new(move |d| d[BAT..BAT + 4].copy_from_slice(&((end / 512) as u32).to_be_bytes())),
        ),
        ("no size", Kind::Damaged, Box::new(move |d| both(d, &|f| f[48..56].fill(0)))),
        ("a huge size", Kind::Damaged, Box::new(move |d| both(d, &|f| f[48..54].fill(0xff)))),
        ("saved state", Kind::Unsupported, Box::new(move |d| both(d, &|f| f[84] = 1))),
        ("another type", Kind::Unsupported, Box::new(move |d| both(d, &|f| f[63] = 5))),
        ("another version", Kind::Unsupported, Box::new(move |d| both(d, &|f| f[13] = 2))),
        ("a header nowhere", Kind::Damaged, Box::new(move |d| both(d, &|f| f[16..24].fill(0xfe)))),
        ("a child without a parent's id", Kind::Damaged, Box::new(move |d| both(d, &|f| f[63] = 4))),
        (
            "blocks of 3 bytes",
            Kind::Damaged,
            Box::new(move |d| header(d, &|h| h[32..36].copy_from_slice(&3u32.to_be_bytes()))),
        ),
        (
            "a table that is too short",
            Kind::Damaged,
            Box::new(move |d| header(d, &|h| h[28..32].copy_from_slice(&2u32.to_be_bytes()))),
        ),
        ("a table that is too long", Kind::Damaged, Box::new(move |d| header(d, &|h| h[28..32].fill(0xff)))),
        ("a table nowhere", Kind::Damaged, Box::new(move |d| header(d, &|h| h[16..24].fill(0xff)))),
    ];
    for (name, kind, fault) in faults {
        let mut bytes = good.clone();
        fault(&mut bytes);
        let error = open(&bytes).expect_err(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}

/// One footer is enough to read, and not to write: what was broken before is not repaired unasked.
#[test]
fn one_of_two_footers_is_enough_to_read() {
    let good = sample();
    let end = good.len() - 512;
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("x.vhd"), dir.path().join("o.vhd"));
    std::fs::write(&path, &good).unwrap();
    let wanted = read(&path);
    let mut cut = good.clone();
    cut.truncate(end);
    let mut cases = vec![cut];
    for at in [100, end + 100] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        cases.push(bytes);
    }
    for bytes in cases {
        std::fs::write(&path, &bytes).unwrap();
        assert!(read(&path) == wanted);
        let disk = Disk::open_for_writing(&path).unwrap();
        assert!(disk.container_damage().is_some_and(|text| text.contains("footer")));
        disk.bytes().write_at(0, b"x").unwrap();
        assert_eq!(disk.commit_in_place(InPlace::default(), guids(1), &|_, _| {}).unwrap_err().kind(), Kind::Damaged);
        let disk = Disk::open(&path).unwrap();
        disk.bytes().write_at(0, b"x").unwrap();
        assert_eq!(disk.commit_to(&out, guids(1), &|_, _| {}).unwrap_err().kind(), Kind::Damaged);
        assert!(std::fs::read(&path).unwrap() == bytes && !out.exists());
    }
}

#[test]
fn footers_of_511_bytes_and_disks_that_only_look_like_a_vhd() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("x.vhd"), dir.path().join("o.vhd"));
    for kind in ["fixed.vhd", "dynamic.vhd"] {
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(&out);
        new_disk(&path, kind, 3 * MIB, 512 << 10);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.pop();
        std::fs::write(&path, &bytes).unwrap();
        let disk = Disk::open(&path).unwrap();
        assert_eq!((disk.bytes().len(), disk.container_damage()), (3 * MIB, None), "{kind}");
        let mut model = vec![0; 3 << 20];
        scribble(&disk, &mut model, 1);
        disk.commit_to(&out, guids(1), &|_, _| {}).unwrap();
        assert!(read(&out) == model);
        qemu_agrees(&out, &model);
    }
    // A raw disk whose last sector says so is one still: its checksum is wrong.
    let mut raw = vec![3; 1 << 20];
    let at = raw.len() - 512;
    raw[at..at + 8].copy_from_slice(b"conectix");
    std::fs::write(&path, &raw).unwrap();
    let disk = Disk::open(&path).unwrap();
    assert_eq!((disk.format(), disk.bytes().len()), (Format::RAW, 1 << 20));
    // One that begins so is none: a footer stands there in a VHD only.
    raw[20] = 9;
    raw[..8].copy_from_slice(b"conectix");
    std::fs::write(&path, &raw).unwrap();
    assert_eq!(Disk::open(&path).unwrap_err().kind(), Kind::Damaged);
}

/// A bit of a bitmap that is off hides the sector's bytes in the file, on a disk without a parent too.
#[test]
fn sectors_that_are_not_there_read_as_zero() {
    let mut bytes = sample();
    let block = u32::from_be_bytes(bytes[1540..1544].try_into().unwrap()) as usize * 512;
    assert_eq!(bytes[block..block + 128], [0xff; 128]);
    // The highest bit of a byte is its first sector: sector 9.
    bytes[block + 1] = 0b1011_1111;
    bytes[block + 512 + 9 * 512..][..512].fill(0xee);
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("x.vhd"), dir.path().join("o.vhd"));
    std::fs::write(&path, &bytes).unwrap();
    let old = read(&path);
    assert!(!old.contains(&0xee));
    let disk = Disk::open(&path).unwrap();
    let at = (512 << 10) + 9 * 512;
    // The byte that stands in the file already: it was not on the disk.
    disk.bytes().write_at(at + 7, &[0xee]).unwrap();
    assert_eq!(disk.changed_ranges().unwrap(), vec![at..at + 512; 1]);
    disk.commit_to(&out, guids(1), &|_, _| {}).unwrap();
    let new = read(&out);
    assert_eq!(new.iter().filter(|b| **b == 0xee).count(), 1);
    qemu_agrees(&out, &new);
}

/// Every truncation at 512-byte steps, and single damaged bytes in the structures: an error or the right bytes, never a panic.
#[test]
fn truncated_and_damaged_vhds_never_panic() {
    let good = sample();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.vhd");
    let try_all = || {
        if let Ok(disk) = Disk::open(&path) {
            let bytes = disk.bytes();
            let mut content = vec![0; bytes.len().min(3 << 20) as usize];
            let _ = bytes.read_at(0, &mut content);
            let _ = bytes.write_at(10, b"x");
            let _ = disk.partitions();
            let _ = disk.changed_ranges();
        }
    };
    std::fs::write(&path, &good).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for len in (0..good.len() as u64).step_by(512).collect::<Vec<_>>().into_iter().rev() {
        file.set_len(len).unwrap();
        try_all();
    }
    for (n, at) in (0..2048).chain(good.len() - 512..good.len()).step_by(3).enumerate() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (n % 8);
        // Checksums that fit, so that what they guard is looked at.
        sum(&mut bytes[..512], 64);
        let end = bytes.len() - 512;
        sum(&mut bytes[end..], 64);
        sum(&mut bytes[512..1536], 36);
        std::fs::write(&path, &bytes).unwrap();
        try_all();
    }
}

/// States of blocks in a child, [MS-VHDX] 2.5.1.1.1: absent ones are the parent's, zero and unmapped ones hide it.
#[test]
fn states_of_blocks_in_a_differencing_vhdx() {
    let dir = tempfile::tempdir().unwrap();
    let (base, leaf) = (dir.path().join("base.vhdx"), dir.path().join("leaf.vhdx"));
    new_disk(&base, "fixed.vhdx", 6 * MIB, 1 << 20);
    let disk = Disk::open_for_writing(&base).unwrap();
    disk.bytes().write_at(0, &vec![7; 6 << 20]).unwrap();
    disk.commit_in_place(InPlace::default(), guids(3), &|_, _| {}).unwrap();
    new_child(&base, &leaf, 1 << 20, 9);
    let bat = 3 << 20;
    let good = std::fs::read(&leaf).unwrap();
    let with = |entries: &[(usize, u64)], more: usize| {
        let mut bytes = good.clone();
        bytes.resize(good.len() + more, 0);
        for (index, entry) in entries {
            bytes[bat + 8 * index..][..8].copy_from_slice(&entry.to_le_bytes());
        }
        std::fs::write(&leaf, &bytes).unwrap();
    };
    for (state, wanted) in [(0, 7), (1, 0), (2, 0), (3, 0)] {
        with(&[(2, state)], 0);
        assert_eq!(read(&leaf)[2 << 20], wanted, "state {state}");
        let disk = Disk::open(&leaf).unwrap();
        disk.bytes().write_at((2 << 20) + 5, &[1]).unwrap();
        assert_eq!(content(&disk)[2 << 20..(2 << 20) + 7], [wanted, wanted, wanted, wanted, wanted, 1, wanted]);
    }
    let end = good.len() as u64;
    let bitmap = (1usize << 23) * 512 / (1 << 20);
    // Partly present, without its bitmap; a bitmap of an unknown state, outside, over a block.
    for entries in [
        vec![(2, end | 7)],
        vec![(2, end | 7), (bitmap, end + MIB + 3)],
        vec![(2, end | 7), (bitmap, (end + (9 << 20)) | 6)],
        vec![(2, end | 7), (bitmap, end | 6)],
    ] {
        with(&entries, 2 << 20);
        assert_eq!(Disk::open(&leaf).unwrap_err().kind(), Kind::Damaged, "{entries:x?}");
    }
    with(&[(2, end | 7), (bitmap, (end + MIB) | 6)], 2 << 20);
    assert!(read(&leaf)[2 << 20..3 << 20] == vec![7; 1 << 20], "no bit is set");
}
