//! Hives that Windows wrote: opened, walked, given back.

mod real_data;

use real_data::hives;
use reseal_hive::{Hive, LoadState, Recover};
use std::time::Instant;

#[test]
fn survey() {
    for hive in hives() {
        let logs: Vec<&[u8]> = hive.logs.iter().map(Vec::as_slice).collect();
        let start = Instant::now();
        let opened = Hive::open(&hive.bytes, &logs, Recover::Replay);
        let took = start.elapsed();
        match opened {
            Err(e) => {
                println!("{} {}: {e}", hive.name, logs.len());
                for f in Hive::check_bytes(&hive.bytes).iter().take(4) {
                    println!("   {f}");
                }
            }
            Ok(h) => {
                let f = h.check();
                for f in f.iter().take(4) {
                    println!("   {f}");
                }
                let start = Instant::now();
                let d = h.dump().map(|d| d.len());
                println!(
                    "{} {:?} {took:?} dump {:?} {:?}",
                    hive.name,
                    h.state(),
                    d.map_err(|e| e.to_string()),
                    start.elapsed()
                );
                if *h.state() == LoadState::Clean {
                    assert!(h.to_bytes() == hive.bytes);
                }
            }
        }
    }
}
