//! Looks at a volume: `volume IMAGE OFFSET info|ls PATH|cat PATH|stat PATH|scan|check|preflight`, or changes a copy of it:
//! `sids OLD NEW [COPY]|put PATH FILE [COPY]|rm PATH [COPY]|mv PATH NAME [COPY]|churn FOLDER COUNT [COPY]`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "an example")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "an example")]

#[path = "../tests/rig/image.rs"]
#[allow(dead_code)]
mod image;

use reseal_dtyp::FileTime;
use reseal_ntfs::{FileReference, Scanned, Security, Volume};
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
    if let Some(copy) = change(&mut volume, command, rest) {
        println!("open {opened:?}, all {:?}, {} bytes dirty", start.elapsed(), image.dirty());
        volume.check().unwrap().iter().for_each(|finding| println!("{finding}"));
        if let Some(copy) = copy {
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

/// Runs a command that changes the volume; gives the argument behind its own, where the copy lies.
fn change<'a>(volume: &mut Volume, command: &str, rest: &'a [String]) -> Option<Option<&'a String>> {
    let now = FileTime::from_unix(1_700_000_000);
    let target = |volume: &Volume| volume.resolve(&rest[0]).unwrap();
    match command {
        "sids" => {
            let map = SidMap::new([(rest[0].parse().unwrap(), rest[1].parse().unwrap())]).unwrap();
            println!("{:?}", volume.rewrite_sids(&map).unwrap());
            Some(rest.get(2))
        }
        "put" => {
            let data = std::fs::read(&rest[1]).unwrap();
            if let Some(file) = target(volume) {
                volume.replace(file, &[], &data, now).unwrap();
            } else {
                let (parent, name) = rest[0].rsplit_once('/').unwrap();
                let parent = volume.resolve(parent).unwrap().unwrap();
                volume.create_file(parent, name, &data, Security::Inherit, now).unwrap();
            }
            Some(rest.get(2))
        }
        "rm" => {
            let file = target(volume).unwrap();
            volume.remove(file, now).unwrap();
            Some(rest.get(1))
        }
        "mv" => {
            let file = target(volume).unwrap();
            let names = volume.names_of(file).unwrap();
            let old = names.iter().find(|n| rest[0].ends_with(&String::from_utf16_lossy(&n.name))).unwrap();
            volume.rename(file, old, &rest[1].encode_utf16().collect::<Vec<_>>(), now).unwrap();
            Some(rest.get(2))
        }
        "churn" => {
            churn(volume, target(volume).unwrap(), rest[1].parse().unwrap(), now);
            Some(rest.get(2))
        }
        _ => None,
    }
}

/// Makes files in a folder, replaces some, removes a third, renames a fifth.
fn churn(volume: &mut Volume, folder: FileReference, count: usize, now: FileTime) {
    let files: Vec<_> = (0..count)
        .map(|i| {
            let data = vec![i as u8; i * 97 % 20_000];
            volume.create_file(folder, &format!("churned file number {i}.text"), &data, Security::Inherit, now).unwrap()
        })
        .collect();
    for (i, &file) in files.iter().enumerate() {
        match i % 5 {
            0 => volume.replace(file, &[], &vec![1; i * 331 % 50_000], now).unwrap(),
            1 | 3 if i % 3 == 0 => volume.remove(file, now).unwrap(),
            2 => {
                let old = volume.names_of(file).unwrap().remove(0);
                let new: Vec<u16> = format!("{i} renamed").encode_utf16().collect();
                volume.rename(file, &old, &new, now).unwrap();
            }
            _ => {}
        }
    }
}
