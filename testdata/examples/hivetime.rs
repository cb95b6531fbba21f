//! Times hive calls: `cargo run --release -p reseal-testdata --example hivetime HIVE`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example prints")]
use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let map = reseal_sid::SidMap::new([(
        reseal_testdata::machine_sid(),
        reseal_dtyp::DomainSid([3623811015, 3361044348, 30300820]),
    )])
    .unwrap();
    for _ in 0..3 {
        let t = Instant::now();
        let bytes = std::fs::read(&path).unwrap();
        let read = t.elapsed();
        let t = Instant::now();
        let n = map.find(&bytes).count();
        let find = t.elapsed();
        let t = Instant::now();
        let mut hive = reseal_hive::Hive::open_vec(bytes, &[], reseal_hive::Recover::AsIs).unwrap();
        let open = t.elapsed();
        let t = Instant::now();
        hive.rewrite_sids(&map).unwrap();
        let rewrite = t.elapsed();
        let t = Instant::now();
        let f = hive.check().len();
        let check = t.elapsed();
        let t = Instant::now();
        let b = hive.to_bytes();
        let to = t.elapsed();
        println!(
            "{} bytes: read {read:?} find {n} {find:?} open {open:?} rewrite {rewrite:?} check {f} {check:?} to_bytes {to:?}",
            b.len()
        );
    }
}
