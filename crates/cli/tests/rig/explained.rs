//! Holds the differences between an image and its sealed self against the plan, both ways.

use super::reseal;
use serde_json::Value;
use std::collections::BTreeSet;

/// How much was held against each other.
pub(crate) struct Counts {
    pub(crate) planned: usize,
    pub(crate) found: usize,
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// A path from a volume's root, with the partition before it where that is not Windows' own.
fn is_path(text: &str) -> bool {
    text.starts_with('\\') || text.starts_with("partition ")
}

/// Whether `path` is `top` or lies below it.
fn is_below(path: &str, top: &str) -> bool {
    let (path, top) = (path.to_lowercase(), top.to_lowercase());
    path.strip_prefix(&top).is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
}

/// The key of an entry below its hive's root.
fn key_below_root(entry: &Value) -> String {
    let key = word(entry, "key");
    let roots = [r"HKEY_CURRENT_USER\Software\Classes", "HKEY_CURRENT_USER"];
    if let Some(rest) = roots.iter().find_map(|root| key.strip_prefix(root)) {
        return rest.trim_start_matches('\\').to_owned();
    }
    key.splitn(3, '\\').nth(2).unwrap_or_default().to_owned()
}

/// A SID before or after.
struct Sid {
    text: String,
    utf16: Vec<u8>,
    binary: Vec<u8>,
}

impl Sid {
    fn new(text: &str) -> Sid {
        let numbers = text.split('-').skip(4).flat_map(|n| n.parse::<u32>().unwrap().to_le_bytes());
        let binary = [21u32.to_le_bytes().to_vec(), numbers.collect()].concat();
        let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        Sid { text: text.to_lowercase(), utf16, binary }
    }

    /// Whether text, or the bytes that `.reg` notation says, hold it in any form.
    fn is_in(&self, shown: &str) -> bool {
        let lower = shown.to_lowercase();
        let bytes: Vec<u8> = match lower.split_once(':').filter(|(head, _)| head.starts_with("hex")) {
            Some((_, list)) => list.split(',').filter_map(|b| u8::from_str_radix(b.trim(), 16).ok()).collect(),
            None => Vec::new(),
        };
        let has = |part: &[u8]| bytes.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part));
        lower.contains(&self.text) || has(&self.binary) || has(&self.utf16) || has(self.text.as_bytes())
    }
}

struct Plan<'a> {
    changes: &'a [Value],
    /// Before and after: of the machine, of a domain that it leaves.
    sids: Vec<[Sid; 2]>,
}

impl Plan<'_> {
    fn targets(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let kind = kind.to_owned();
        self.changes.iter().filter(move |c| c["target"]["kind"] == kind.as_str())
    }

    fn edits_hive(&self, path: &str) -> bool {
        let is_wiped =
            |c: &Value| word(&c["target"], "place").split_once(": ").is_some_and(|(hive, _)| same(hive, path));
        self.changes.iter().any(|c| same(word(&c["target"], "hive"), path) || is_wiped(c))
    }

    /// A file change names the file as it was; a rename says in before and after where it lay and lies.
    fn names_file(&self, path: &str) -> bool {
        self.targets("folder").any(|c| c["after"].is_null() && is_below(path, word(&c["target"], "path")))
            || self.targets("file").any(|c| {
                let path_of = |text: &str| is_path(text).then(|| text.to_owned());
                let places = [
                    Some(word(&c["target"], "path").to_owned()),
                    path_of(word(c, "before")),
                    path_of(word(c, "after")),
                ];
                let is_removed_or_renamed = path_of(word(c, "after")).is_some() || c["after"].is_null();
                places.iter().flatten().any(|p| if is_removed_or_renamed { is_below(path, p) } else { same(path, p) })
            })
    }

    /// Whether what stood before holds an old SID, or what stands there now the new one.
    fn is_sid_change(&self, entry: &Value) -> bool {
        let (before, after) = (word(entry, "before"), word(entry, "after"));
        let place = [word(entry, "path"), word(entry, "key"), word(entry, "name")];
        self.sids.iter().any(|[old, new]| match word(entry, "what") {
            "removed" => old.is_in(before) || place.iter().any(|p| old.is_in(p)),
            "added" => new.is_in(after) || place.iter().any(|p| new.is_in(p)),
            _ => old.is_in(before) && new.is_in(after),
        })
    }

    fn explains(&self, entry: &Value) -> bool {
        let path = word(entry, "path");
        let in_hive = |kind: &str| self.targets(kind).any(|c| same(word(&c["target"], "hive"), path));
        match word(entry, "kind") {
            "value" => {
                let key = key_below_root(entry);
                let is_it = |c: &Value| {
                    let t = &c["target"];
                    same(word(t, "hive"), path)
                        && same(word(t, "key"), &key)
                        && same(word(t, "name"), word(entry, "name"))
                };
                self.targets("value").any(is_it)
                    || self.removes_key(path, &key)
                    || in_hive("hive-sids") && self.is_sid_change(entry)
            }
            "key" | "key-descriptor" | "class" => {
                self.removes_key(path, &key_below_root(entry)) || in_hive("hive-sids") && self.is_sid_change(entry)
            }
            "hive-log" | "hive-state" | "hive-bytes" => {
                let hive = path.trim_end_matches(".LOG1").trim_end_matches(".LOG2").trim_end_matches(".LOG");
                self.edits_hive(hive)
            }
            "file" | "stream" | "links" | "short-name" | "attributes" => self.names_file(path),
            "descriptor" => {
                let of_store = self.targets("descriptors").next().is_some() && self.is_sid_change(entry);
                of_store || self.names_file(path)
            }
            "volume" => word(entry, "name") == "flags" && self.names_file(r"\$Volume"),
            _ => false,
        }
    }

    fn removes_key(&self, hive: &str, key: &str) -> bool {
        self.targets("key").any(|c| same(word(&c["target"], "hive"), hive) && is_below(key, word(&c["target"], "key")))
    }
}

/// Whether a planned change shows among the differences.
fn shows(change: &Value, entries: &[Value], descriptors_removed: u64) -> bool {
    let target = &change["target"];
    let of_hive = |e: &&Value| same(word(e, "path"), word(target, "hive"));
    match word(target, "kind") {
        "value" => entries.iter().filter(of_hive).any(|e| {
            e["kind"] == "value"
                && same(&key_below_root(e), word(target, "key"))
                && same(word(e, "name"), word(target, "name"))
        }),
        "key" => {
            entries.iter().filter(of_hive).any(|e| e["kind"] == "key" && same(&key_below_root(e), word(target, "key")))
        }
        // SIDs in free space leave no trace but in the bytes.
        "hive-sids" => entries.iter().any(|e| of_hive(&e)),
        "descriptors" => descriptors_removed > 0,
        // Of the volume, what belongs to nothing is in no file; of a hive, its bytes show it.
        "unused" => match word(target, "place").split_once(": ") {
            Some((hive, _)) => entries.iter().any(|e| {
                is_below(&word(e, "path").to_lowercase(), &hive.to_lowercase())
                    || word(e, "path").to_lowercase().starts_with(&hive.to_lowercase())
            }),
            None => true,
        },
        // The caller has looked for it among the volume's own streams.
        "shadow-header" => true,
        "file" if same(word(target, "path"), r"\$Volume") => entries.iter().any(|e| e["kind"] == "volume"),
        // A rename's own path has no entry when a folder above was renamed, too: what it became has one.
        "file" | "folder" => {
            let renamed = Some(word(change, "after")).filter(|after| is_path(after));
            let path = renamed.unwrap_or_else(|| word(target, "path"));
            entries.iter().any(|e| is_below(word(e, "path"), path))
        }
        other => panic!("an unknown target `{other}`: {change}"),
    }
}

/// What differs on a volume; on one that is not Windows' own, with the volume before the path, as plans name it.
fn entries_of(volume: &Value, windows: &str) -> Vec<Value> {
    let mut out = volume["entries"].as_array().unwrap().clone();
    for entry in out.iter_mut().filter(|e| word(volume, "volume") != windows && e["kind"] != "system-stream") {
        entry["path"] = format!("{}: {}", word(volume, "volume"), word(entry, "path")).into();
    }
    out
}

/// Every difference is explained by the plan, and every planned change is a difference.
#[track_caller]
pub(crate) fn assert_plan_is_diff(gold: &str, sealed: &str, report: &Value) -> Counts {
    let document = differences(gold, sealed, report);
    let system: BTreeSet<&str> =
        document.entries.iter().filter(|e| e["kind"] == "system-stream").map(|e| word(e, "path")).collect();
    // The volume's own bookkeeping follows from what is written.
    assert!(system.contains(r"\$MFT"), "{system:?}");
    let planned = report["plan"]["changes"].as_array().unwrap();
    let boot_area = planned.iter().any(|c| c["target"]["kind"] == "shadow-header");
    assert_eq!(system.contains(r"\$Boot"), boot_area, "{system:?}");
    hold(document, &report["plan"])
}

/// The same for an image of a WIM, `install.wim:2` and `sealed.wim:2`, whose plan is this.
#[track_caller]
pub(crate) fn assert_plan_is_diff_of_wim(gold: &str, sealed: &str, report: &Value, plan: &Value) -> Counts {
    let document = differences(gold, sealed, report);
    assert!(!document.entries.iter().any(|e| e["kind"] == "system-stream"), "a WIM has none");
    hold(document, plan)
}

struct Document {
    entries: Vec<Value>,
    /// Unique descriptors that are gone.
    removed: u64,
}

#[track_caller]
fn differences(gold: &str, sealed: &str, report: &Value) -> Document {
    let document = reseal(["diff", gold, sealed, "--json", "--full", "--secrets", "--raw"]).exits(4).json();
    let volumes = document["volumes"].as_array().unwrap();
    let entries = volumes.iter().flat_map(|v| entries_of(v, word(&report["plan"], "partition"))).collect();
    Document { entries, removed: volumes.iter().filter_map(|v| v["descriptors"]["removed"].as_u64()).sum() }
}

#[track_caller]
fn hold(document: Document, plan: &Value) -> Counts {
    let Document { mut entries, removed } = document;
    entries.retain(|e| e["kind"] != "system-stream");
    let sid = &plan["sid"];
    let pairs = [[&sid["old"], &sid["new"]], [&sid["left_domain"][0], &sid["left_domain"][1]]];
    let texts = pairs.into_iter().filter_map(|[old, new]| Some([Sid::new(old.as_str()?), Sid::new(new.as_str()?)]));
    let sids = texts.collect();
    let plan = Plan { changes: plan["changes"].as_array().unwrap(), sids };
    let unexplained: Vec<&Value> = entries.iter().filter(|e| !plan.explains(e)).collect();
    assert!(unexplained.is_empty(), "{} differences that were not planned: {unexplained:#?}", unexplained.len());
    let missing: Vec<&Value> = plan.changes.iter().filter(|c| !shows(c, &entries, removed)).collect();
    assert!(missing.is_empty(), "{} planned changes that don't show: {missing:#?}", missing.len());
    Counts { planned: plan.changes.len(), found: entries.len() }
}
