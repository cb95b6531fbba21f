//! A disk that is full, for real: a small file system in memory, in a namespace of its own so that no root is needed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]
#![cfg(target_os = "linux")]

mod rig;

use reseal_testdata::{Container, ImageBuilder, oracle};
use rig::{Bench, FIXED, made_up, reseal};
use std::collections::BTreeSet;

/// Seals `$gold` in place where only `$free` bytes are left, looks at it, makes room and recovers. Prints a line for each.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=128m tmpfs "$dir" && cp --sparse=always "$gold" "$dir/image" || exit 99
room=$(( $(stat -f -c %f "$dir") * $(stat -f -c %S "$dir") ))
head -c $(( room - free )) /dev/zero > "$dir/filler"
"$reseal" generalize "$dir/image" --in-place --unattend "$dir/../answer.xml" $fixed > "$dir/../out" 2>&1; echo "$?"
"$reseal" inspect "$dir/image" > "$dir/../out2" 2>&1; echo "$?"
sha256sum < "$dir/image"
rm "$dir/filler"
"$reseal" recover "$dir/image" > "$dir/../out3" 2>&1; echo "$?"
sha256sum < "$dir/image"
ls "$dir"
"#;

/// Exit codes of sealing, inspecting and recovering, the image before and after the recovery, and the names then.
fn run(bench: &Bench, gold: &str, free: u64) -> Option<(Vec<String>, String)> {
    let dir = bench.path("small");
    std::fs::create_dir_all(&dir).unwrap();
    let lines = [
        format!("dir='{}' gold='{gold}' free={free} fixed='{}'", dir.display(), FIXED.join(" ")),
        format!("reseal='{}'", env!("CARGO_BIN_EXE_reseal")),
        SCRIPT.to_owned(),
    ];
    let output = oracle::run("unshare", ["--map-root-user", "--mount", "sh", "-c", &lines.join("\n")])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        oracle::missing(&format!("no file system can be mounted here: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    let words = text.split_whitespace().filter(|word| *word != "-").map(str::to_owned).collect();
    Some((words, std::fs::read_to_string(bench.path("out")).unwrap()))
}

#[test]
fn a_full_disk_is_noticed_while_all_can_be_taken_back() {
    let bench = Bench::new();
    let builder = ImageBuilder { container: Container::Raw, volume_len: 32 << 20, ..ImageBuilder::default() };
    let gold = bench.build("gold.raw", builder, &made_up());
    let copy = bench.arg("copy.raw");
    std::fs::copy(&gold, &copy).unwrap();
    // A large answer file comes to lie in clusters that were free: holes of the image. Without room for them the commit is
    // not decided.
    let answer =
        format!("<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"><!-- {} --></unattend>", "x".repeat(300_000));
    let answer = bench.write("answer.xml", answer.as_bytes());
    let line = ["generalize", &copy, "--in-place", "--json", "--unattend", &answer].into_iter().chain(FIXED);
    let journal = reseal(line).exits(0).json()["journal_bytes"].as_u64().unwrap();
    let (old, new) = (rig::hash(&gold), rig::hash(&copy));
    assert_ne!(old, new);

    let mut outcomes = BTreeSet::new();
    let pages = journal.div_ceil(4096);
    for free in [0, 1, pages / 2, pages - 1, pages, pages + 1, pages + 4, pages + 16, 2 * pages + 64] {
        let Some((words, said)) = run(&bench, &gold, free * 4096) else { return };
        let [sealed, inspected, between, recovered, after, names @ ..] = words.as_slice() else { panic!("{words:?}") };
        println!("{free} pages free of {pages} for the journal: {sealed}, {inspected}, {recovered}");
        assert_eq!(names, ["image"], "{free}: {said}");
        match sealed.as_str() {
            "0" => assert!([between, after].iter().all(|hash| **hash == new), "{said}"),
            "1" => {
                assert!([between, after].iter().all(|hash| **hash == old), "{said}");
                assert!(said.contains("untouched") && said.contains("No space left"), "{said}");
            }
            _ => panic!("{words:?}: {said}"),
        }
        assert_eq!((inspected.as_str(), recovered.as_str()), ("0", "5"), "nothing is left to recover");
        outcomes.insert(sealed.clone());
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["0", "1"]);
}
