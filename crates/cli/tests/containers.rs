//! One machine in every container, sector and cluster size.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{Container, ImageBuilder, oracle};
use rig::{Bench, census, hash, new_sid, old_sid, reseal, seal};

/// The name of a format, the ending of its files, and whether `qemu-img check` and `compare` know it.
fn told(builder: &ImageBuilder) -> (&'static str, &'static str, Option<&'static str>) {
    // QEMU opens no VHDX with other logical sectors than 512 bytes, and no differencing disks.
    let vhdx = (builder.sector_size == 512).then_some("vhdx");
    match builder.container {
        Container::Raw => ("raw", "raw", Some("raw")),
        Container::Vhdx { fixed: true } => ("vhdx-fixed", "vhdx", vhdx),
        Container::Vhdx { fixed: false } => ("vhdx-dynamic", "vhdx", vhdx),
        Container::Vhd { fixed: true } => ("vhd-fixed", "vhd", Some("vpc")),
        Container::Vhd { fixed: false } => ("vhd-dynamic", "vhd", Some("vpc")),
        Container::Child { vhd: true } => ("vhd-differencing", "vhd", None),
        Container::Child { vhd: false } => ("vhdx-differencing", "vhdx", None),
    }
}

/// Builds, seals and verifies; others read the sealed disk as we do.
fn round(name: &str, builder: ImageBuilder) {
    let bench = Bench::new();
    let (format, end, qemu) = told(&builder);
    let gold = bench.build(&format!("gold.{end}"), builder, &rig::made_up());
    let (before, counted) = (hash(&gold), census::of_image(&gold));
    let inspected = reseal(["inspect", &gold, "--json"]).exits(0).json();
    assert_eq!(inspected["format"], format, "{name}");
    assert_eq!(inspected["scheme"], if builder.bare { "bare" } else { "gpt" }, "{name}");
    assert_eq!(inspected["partitions"][0]["ntfs"]["cluster_bytes"], builder.cluster_size, "{name}");
    if end != "raw" {
        assert_eq!(inspected["sector_bytes"], builder.sector_size, "{name}");
    }
    let out = bench.arg(&format!("sealed.{end}"));
    let report = seal(&gold, &out, &["--computer-name", "WEB-01"]);
    assert_eq!(hash(&gold), before, "{name}");
    census::assert_only_own(&counted, &census::of_image(&out), (&old_sid(), &new_sid(&report)), (0, 0));
    reseal(["fs", "check", &out]).exits(0);
    reseal(["verify", &out, "--no-trace-of", &old_sid()]).exits(0);
    reseal(["generalize", &out, "-n"]).exits(5);
    assert_eq!(reseal(["inspect", &out, "--json"]).json()["format"], format, "{name}: the container stays what it was");
    if !builder.bare {
        // One partition by name is the same image.
        reseal(["verify", &format!("{out}#p1"), "--no-trace-of", &old_sid()]).exits(0);
    }
    if let Some(qemu) = qemu {
        if qemu == "vhdx" {
            oracle::agree("qemu-img", ["check", "-f", "vhdx", &out]);
        }
        let raw = bench.write("content.raw", &content(&out));
        oracle::agree("qemu-img", ["compare", "-f", qemu, "-F", "raw", &out, &raw]);
    }
    let grows = matches!(
        builder.container,
        Container::Vhdx { fixed: false } | Container::Vhd { fixed: false } | Container::Child { .. }
    );
    if !grows {
        assert_eq!(std::fs::metadata(&gold).unwrap().len(), std::fs::metadata(&out).unwrap().len(), "{name}");
    }
    in_place(name, &bench, &gold, &out);
}

/// The content of the disk in a file.
fn content(path: &str) -> Vec<u8> {
    let bytes = reseal_disk::Disk::open(path.as_ref()).unwrap().bytes();
    let mut out = vec![0; bytes.len() as usize];
    bytes.read_at(0, &mut out).unwrap();
    out
}

/// In place the same image comes of it as in a new file; an undo gives the old one back, and what lies below stays.
fn in_place(name: &str, bench: &Bench, gold: &str, sealed: &str) {
    let old = std::fs::read(gold).unwrap();
    let below = format!("parent-of-{}", gold.rsplit('/').next().unwrap());
    let parent = bench.path(&below).exists().then(|| hash(bench.path(&below)));
    let line =
        ["generalize", gold, "--in-place", "--keep-undo", "--computer-name", "WEB-01"].into_iter().chain(rig::FIXED);
    reseal(line).exits(0);
    assert!(std::fs::read(gold).unwrap() == std::fs::read(sealed).unwrap(), "{name}: in place another image");
    reseal(["verify", gold, "--no-trace-of", &old_sid()]).exits(0);
    reseal(["recover", gold]).exits(5);
    reseal(["recover", gold, "--undo"]).exits(0);
    assert!(std::fs::read(gold).unwrap() == old, "{name}: an undo gives something else");
    assert_eq!(parent, bench.path(&below).exists().then(|| hash(bench.path(&below))), "{name}: the parent changed");
}

const DYNAMIC: Container = Container::Vhdx { fixed: false };

#[test]
fn dynamic_vhdx() {
    round("dynamic", ImageBuilder::default());
}

#[test]
fn fixed_vhdx() {
    round("fixed", ImageBuilder { container: Container::Vhdx { fixed: true }, ..ImageBuilder::default() });
}

#[test]
fn fixed_vhd() {
    round("fixed VHD", ImageBuilder { container: Container::Vhd { fixed: true }, ..ImageBuilder::default() });
}

#[test]
fn dynamic_vhd() {
    round("dynamic VHD", ImageBuilder { container: Container::Vhd { fixed: false }, ..ImageBuilder::default() });
}

#[test]
fn differencing_vhd() {
    round("differencing VHD", ImageBuilder { container: Container::Child { vhd: true }, ..ImageBuilder::default() });
}

#[test]
fn differencing_vhdx() {
    let builder = ImageBuilder { container: Container::Child { vhd: false }, ..ImageBuilder::default() };
    round("differencing VHDX", builder);
    round("differencing VHDX, 4Kn", ImageBuilder { sector_size: 4096, ..builder });
}

/// `--in-place` of a parent is refused, whatever is allowed; `inspect` names the chain. A child that is sealed into another
/// folder finds its parent.
#[test]
fn parents_and_children() {
    for vhd in [true, false] {
        let end = if vhd { "vhd" } else { "vhdx" };
        let bench = Bench::new();
        let builder = ImageBuilder { container: Container::Child { vhd }, ..ImageBuilder::default() };
        let child = bench.build(&format!("child.{end}"), builder, &rig::made_up());
        let parent = bench.arg(&format!("parent-of-child.{end}"));
        let before = hash(&parent);
        for more in [&["--dry-run"][..], &[], &["--allow", "snapshots"]] {
            let line = ["generalize", &parent, "--in-place"].into_iter().chain(more.iter().copied());
            let run = reseal(line).exits(3).says("parent-disk").says(&format!("child.{end}"));
            assert!(!run.err.contains("--allow parent-disk"), "it cannot be allowed: {}", run.err);
        }
        assert_eq!(hash(&parent), before);
        let told = reseal(["inspect", &parent, "--json"]).exits(0).json();
        assert!(told["children"][0].as_str().unwrap().ends_with(&format!("/child.{end}")), "{told}");
        reseal(["generalize", &parent, "--dry-run"]).exits(0);
        let told = reseal(["inspect", &child, "--json"]).exits(0).json();
        assert_eq!(
            (&told["parents"][0]["image"], told["parents"].as_array().unwrap().len()),
            (&parent.as_str().into(), 1)
        );
        assert!(reseal(["inspect", &child]).exits(0).text().contains(&format!("parent {parent}")));
        std::fs::create_dir(bench.path("out")).unwrap();
        let sealed = bench.arg(&format!("out/sealed.{end}"));
        seal(&child, &sealed, &[]);
        reseal(["verify", &sealed, "--no-trace-of", &old_sid()]).exits(0);
        if let Some(theirs) = oracle::vhdi(&[sealed.as_ref(), parent.as_ref()]) {
            let ours = content(&sealed);
            let at = theirs.iter().zip(&ours).position(|(a, b)| a != b);
            assert!(theirs == ours, "{end}: libvhdi reads something else at {at:x?}");
        }
        std::fs::remove_file(&child).unwrap();
        // The only child lies elsewhere, where nobody looks: the parent changes its id, and the child notices.
        reseal(["generalize", &parent, "--in-place"].into_iter().chain(rig::FIXED)).exits(0);
        reseal(["inspect", &sealed]).exits(7).says("has the id");
        std::fs::remove_file(&parent).unwrap();
        reseal(["inspect", &sealed]).exits(1).says("differencing disk").says("is not there");
    }
}

#[test]
fn raw_disk_and_bare_volume() {
    round("raw", ImageBuilder { container: Container::Raw, ..ImageBuilder::default() });
    round("bare", ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() });
}

#[test]
fn sectors_of_4096_bytes() {
    round("raw 4Kn", ImageBuilder { container: Container::Raw, sector_size: 4096, ..ImageBuilder::default() });
    round("4Kn", ImageBuilder { container: DYNAMIC, sector_size: 4096, ..ImageBuilder::default() });
    round(
        "4Kn fixed",
        ImageBuilder {
            container: Container::Vhdx { fixed: true },
            sector_size: 4096,
            cluster_size: 65_536,
            ..ImageBuilder::default()
        },
    );
}

#[test]
fn clusters_from_512_bytes_to_64_kib() {
    for cluster_size in [512, 1024, 2048, 8192, 16_384, 65_536] {
        round(
            &format!("clusters of {cluster_size}"),
            ImageBuilder { container: DYNAMIC, cluster_size, ..ImageBuilder::default() },
        );
    }
}

#[test]
fn a_volume_that_is_nearly_full() {
    // 512-byte clusters and hardly more room than the machine needs.
    let bench = Bench::new();
    let builder = ImageBuilder { volume_len: 5 << 20, cluster_size: 512, ..ImageBuilder::default() };
    let gold = bench.build("gold.vhdx", builder, &reseal_testdata::WindowsImage::default());
    let before = hash(&gold);
    let out = bench.arg("sealed.vhdx");
    let run = reseal(["generalize", &gold, "-o", &out, "--sid", "S-1-5-21-1-2-3"]);
    match run.code {
        0 => assert_eq!(reseal(["fs", "check", &out]).code, 0),
        1 => assert!(!bench.path("sealed.vhdx").exists(), "no room is a failure and leaves nothing: {}", run.err),
        _ => panic!("{run:?}"),
    }
    assert_eq!(hash(&gold), before);
}
