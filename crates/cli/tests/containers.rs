//! One machine in every container, sector and cluster size.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{Container, ImageBuilder, oracle};
use rig::{Bench, census, hash, new_sid, old_sid, reseal, seal};

/// Builds, seals and verifies; `qemu-img check` reads the sealed VHDX.
fn round(name: &str, builder: ImageBuilder) {
    let bench = Bench::new();
    let vhdx = matches!(builder.container, Container::Vhdx { .. });
    let end = if vhdx { "vhdx" } else { "raw" };
    let gold = bench.build(&format!("gold.{end}"), builder, &rig::made_up());
    let (before, counted) = (hash(&gold), census::of_image(&gold));
    let inspected = reseal(["inspect", &gold, "--json"]).exits(0).json();
    let format = match builder.container {
        Container::Raw => "raw",
        Container::Vhdx { fixed: true } => "vhdx-fixed",
        Container::Vhdx { fixed: false } => "vhdx-dynamic",
    };
    assert_eq!(inspected["format"], format, "{name}");
    assert_eq!(inspected["scheme"], if builder.bare { "bare" } else { "gpt" }, "{name}");
    assert_eq!(inspected["partitions"][0]["ntfs"]["cluster_bytes"], builder.cluster_size, "{name}");
    if vhdx {
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
    // QEMU opens no VHDX with other logical sectors than 512 bytes.
    if vhdx && builder.sector_size == 512 {
        oracle::agree("qemu-img", ["check", "-f", "vhdx", &out]);
    }
    if !matches!(builder.container, Container::Vhdx { fixed: false }) {
        assert_eq!(std::fs::metadata(&gold).unwrap().len(), std::fs::metadata(&out).unwrap().len(), "{name}");
    }
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
fn raw_disk_and_bare_volume() {
    round("raw", ImageBuilder { container: Container::Raw, ..ImageBuilder::default() });
    round("bare", ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() });
}

#[test]
fn sectors_of_4096_bytes() {
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
