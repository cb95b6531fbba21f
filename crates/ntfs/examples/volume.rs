//! Looks at a volume: `volume IMAGE OFFSET info|ls PATH|cat PATH|stat PATH|scan|check|preflight|sids OLD NEW [COPY]`.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "../tests/rig/image.rs"]
#[allow(dead_code)]
mod image;

use reseal_ntfs::{Scanned, Volume};
use reseal_sid::SidMap;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, path, offset, command, rest @ ..] = &args[..] else { panic!("volume IMAGE OFFSET COMMAND [PATH]") };
    let image = Arc::new(image::Image::open(path.as_ref(), offset.parse().unwrap()).unwrap());
    let start = Instant::now();
    let mut volume = Volume::open(image.clone()).unwrap();
    let opened = start.elapsed();
    if command == "sids" {
        let map = SidMap::new([(rest[0].parse().unwrap(), rest[1].parse().unwrap())]).unwrap();
        println!("{:?}", volume.rewrite_sids(&map).unwrap());
        println!("open {opened:?}, all {:?}, {} bytes dirty", start.elapsed(), image.dirty());
        if let Some(copy) = rest.get(2) {
            image.save(copy.as_ref()).unwrap();
        }
        return;
    }
    let target = || volume.resolve(&rest[0]).unwrap().expect("no such file");
    match command.as_str() {
        "check" | "preflight" => {
            let found = if command == "check" { volume.check() } else { volume.preflight() };
            found.unwrap().iter().for_each(|finding| println!("{finding}"));
        }
        "info" => println!("{:#?}\nfree {}", volume.info(), volume.free_clusters().unwrap()),
        "ls" => {
            for entry in volume.entries(target()).unwrap() {
                let name = String::from_utf16_lossy(&entry.name);
                println!("{} {:?} {} {name}", entry.reference, entry.namespace, entry.size);
            }
        }
        "cat" => {
            use std::io::Write;
            std::io::stdout().write_all(&volume.read(target(), &[]).unwrap()).unwrap();
        }
        "stat" => println!("{:#?}", volume.stat(target()).unwrap()),
        "scan" => {
            let counts = volume.scan(
                || (0u64, 0u64, 0u64),
                |state, scanned| match scanned {
                    Scanned::Record(record) => {
                        state.0 += 1;
                        state.1 += record.names().count() as u64;
                    }
                    Scanned::Damaged { .. } => state.2 += 1,
                },
            );
            let sum = counts.unwrap().into_iter().fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
            println!("records, names, damaged: {sum:?}");
        }
        other => panic!("unknown command {other}"),
    }
    println!("open {opened:?}, all {:?}", start.elapsed());
}
