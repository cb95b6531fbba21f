//! Two hundred unique texts in all places that steps own, by default or when they are asked for: none of them is in the sealed image, in any form.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{ImageBuilder, WindowsImage, real};
use rig::{Bench, canaries, remains, reseal, seal};
use serde_json::Value;

const COUNT: usize = 200;

/// Plants, seals with and without `--scrub`, and looks.
fn sealed(image: &WindowsImage, volume_len: u64, more: &[&str], name: &str) {
    let asked = more == canaries::OPTIONS;
    let bench = Bench::new();
    let sid = image.sid.to_string();
    let mut planted = None;
    let clean = bench.path("clean.vhdx");
    let about = [sid.as_str(), "GOLD-07", "b1d4a0de-1111-2222-3333-444455556666", "a secret: pa55word"];
    ImageBuilder { volume_len, ..ImageBuilder::default() }
        .build(&clean, |volume| {
            image.fill(volume)?;
            planted = Some(canaries::plant(volume, &about, COUNT, asked));
            let root = volume.root();
            let now = reseal::FileTime::from_unix(1_700_000_000);
            let spare = volume.create_file(root, "SPARE", b"", reseal_ntfs::Security::Inherit, now)?;
            Ok(volume.remove(spare, now)?)
        })
        .unwrap();
    let planted = planted.unwrap();
    let gold = bench.arg("gold.vhdx");
    remains::plant(&clean, gold.as_ref(), 20);
    let mut needles: Vec<String> = planted.canaries.iter().map(|(id, _)| id.clone()).collect();
    needles.extend(remains::KINDS.map(remains::text));
    needles.extend((0..planted.free_cells).map(canaries::free_cell));
    needles.push(sid);
    needles.extend(names_of_machine(&gold, more.contains(&"--leave-domain")));
    let list = bench.write("needles.txt", needles.join("\r\n").as_bytes());
    let look = |image: &str| -> Vec<Value> {
        let run = reseal(["verify", image, "--json", "--no-trace-of", &format!("@{list}")]);
        assert!(run.code == 0 || run.code == 4, "{run:?}");
        run.json()["traces"].as_array().unwrap().clone()
    };
    // All are there, or what is not found afterwards would prove nothing.
    let before = look(&gold);
    assert!(planted.free_cells > 0, "{name}");
    for n in 0..planted.free_cells {
        let of = canaries::free_cell(n);
        let cells: Vec<_> = before.iter().filter(|t| t["of"] == of.as_str()).map(|t| t["within"].clone()).collect();
        assert!(cells == ["free cell"], "{name}: {of}: {cells:?}");
    }
    let missed: Vec<_> =
        planted.canaries.iter().filter(|(id, _)| !before.iter().any(|t| t["of"] == id.as_str())).collect();
    assert!(missed.is_empty(), "{name}: not found before: {missed:#?}");
    let forms: std::collections::BTreeSet<&str> = before.iter().map(|t| t["form"].as_str().unwrap()).collect();
    for form in ["ascii", "base64", "binary", "hex", "utf16"] {
        assert!(forms.contains(form), "{name}: {form} is not among {forms:?}");
    }

    let more = &[more, &["--computer-name", "WEB-01"]].concat()[..];
    let out = bench.arg("scrubbed.vhdx");
    seal(&gold, &out, &[more, &["--scrub"]].concat());
    let after = look(&out);
    let whose = |trace: &Value| {
        let step = planted.canaries.iter().find(|(id, _)| trace["of"] == id.as_str()).map(|(_, step)| step.as_str());
        format!("{} at {} {}: {}", trace["of"], trace["region"], trace["within"], step.unwrap_or_default())
    };
    assert!(after.is_empty(), "{name}: {:#?}", after.iter().map(whose).collect::<Vec<_>>());
    reseal(["fs", "check", &out]).exits(0);

    let out = bench.arg("plain.vhdx");
    seal(&gold, &out, more);
    let after = look(&out);
    // Only what belonged to nothing before is still there, and where it was: in space that nobody has looked at, and in free
    // cells, of which a hive that is written keeps the bytes.
    let live = |t: &&Value| {
        let of = t["of"].as_str().unwrap();
        let is_remain = remains::KINDS.iter().any(|kind| remains::text(kind) == of);
        let was_free = is_remain && matches!(t["kind"].as_str().unwrap(), "free" | "rest" | "log");
        let same = |b: &Value| ["of", "form", "region", "within"].iter().all(|field| b[field] == t[field]);
        let was_cell = t["within"] == "free cell" && before.iter().any(same);
        !was_free && !was_cell
    };
    let live: Vec<String> = after.iter().filter(live).map(whose).collect();
    assert!(live.is_empty(), "{name}: without --scrub: {live:#?}");
    println!("{name}: {} traces before, {} in free space without --scrub, none with it", before.len(), after.len());
}

/// What names this machine beside its SID: the computer's name, `MachineGuid`, and the SID of a domain that it leaves.
fn names_of_machine(gold: &str, leaves: bool) -> Vec<String> {
    let inspected = reseal(["inspect", gold, "--json"]).json();
    let facts = &inspected["installations"][0]["facts"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let guid = rig::value(gold, "SOFTWARE", r"Microsoft\Cryptography", "MachineGuid");
    let mut names = vec![text(&facts["computer_name"]).unwrap()];
    names.extend(guid.as_ref().and_then(text));
    names.extend(text(&facts["domain_sid"]).filter(|_| leaves));
    names
}

#[test]
fn made_up_machine() {
    sealed(&rig::made_up(), 64 << 20, &[], "made-up machine");
}

/// Places that a step owns only when it is asked for, each with its option.
#[test]
fn places_of_options() {
    sealed(&rig::made_up(), 64 << 20, canaries::OPTIONS, "made-up machine with options");
}

#[test]
fn real_set_c() {
    let Some(root) = real::root() else { return };
    let image = real::machine_c(&root).unwrap();
    sealed(&image, 256 << 20, &[], "set C");
}

#[test]
fn real_set_a() {
    let Some(root) = real::root() else { return };
    let image = real::machine_a(&root).unwrap();
    sealed(&image, 256 << 20, &["--allow", "dirty-hive,domain-member"], "set A");
}

#[test]
fn real_set_a_leaves_its_domain() {
    let Some(root) = real::root() else { return };
    let image = real::machine_a(&root).unwrap();
    sealed(&image, 256 << 20, &["--allow", "dirty-hive", "--leave-domain"], "set A out of its domain");
}

#[test]
fn real_set_f() {
    let Some(root) = real::root() else { return };
    let image = real::machine_f(&root).unwrap();
    sealed(&image, 256 << 20, &[], "set F");
}
